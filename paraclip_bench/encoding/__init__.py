"""Items become unit vectors, each distinct one once.

`engine` is what a task's `embed` is: it plans `batching`, has images opened by `prefetcher`, and
keeps vectors in `spaces`: in `vector_store` (the SQLite file of `database`, kept to a size by
`eviction`), or in memory where that cannot be.
"""
