"""Results become one table: a row a model, a column a task's score.

In the order in which it happens: `selection` says which results may stand side by side,
`make_board` makes columns, values and differences of them, `published_rows` adds what others
published, `board` is the table and its text for a terminal, `formats` are its other formats,
and `page` is one file for a browser.
"""
