"""Files, images and the hub, as rows. Nothing here knows a task.

`data_set` says what a data set is, `source` where its examples are: `hub` and `snapshot` for the
hub's copies, a folder in the layout of --data-dir else. `row_files` reads TSV, JSON and Parquet,
`images` is a reference to an image, `tar_files` and `gallery` find images in shards and folders,
`training_rows` reads what `finetune` trains on. `digest_cache` remembers digests of large files.
"""
