"""What a run leaves behind.

`schema` is a result, `store` its file and its outcomes, `provenance` where it came from; `checks`
says whether a file is right, `exchange` compares and merges those of several machines.
"""
