"""To and from mteb.

`mteb` makes an encoder of mteb's of any model, `mteb_task` a task of ours of any task of mteb's,
`mteb_export` files of mteb's of our results.
"""
