"""Numbers that others published, to set beside those that are measured here.

`schema` is what a file of results/reference/ holds, `files` reads them, `identity` says which
published model a measured one is, and `compare` sets a result beside its published numbers.
"""
