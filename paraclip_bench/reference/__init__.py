"""Numbers that others published, to set beside those that are measured here.

`published_numbers` reads the files of results/reference/, `identity` says which published model a
measured one is, `comparison` sets a result beside its published numbers.
"""
