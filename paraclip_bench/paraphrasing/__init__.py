"""Two-step paraphrases T -> T' -> T'' of captions, by an LLM service; nothing is lost by a kill.

In the order in which it happens: `captions` reads and filters the input, `job` is one call's
settings, `paraphrase` asks a `service` (`endpoint`, with the rate limits and retry policy of
`retrying`, or `batch_files`) with the templates of `prompts/`, `journal` keeps every answer,
`tidying` and `answers` say which are taken, `export` writes the output.

Afterwards: `pairs_file` reads, writes and converts it, `pairs_report` describes it,
`retrieval_set` makes a test set of it.
"""
