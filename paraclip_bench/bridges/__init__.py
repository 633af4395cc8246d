"""To and from mteb, and results for other programs.

`mteb` makes an encoder of mteb's of any model, `mteb_task` a task of ours of any task of mteb's,
`mteb_export` files of mteb's of our results. `trec_export` writes rankings as TREC runs and qrels,
`table_export` results as one table.
"""
