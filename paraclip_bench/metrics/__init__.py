"""Pure functions of numbers; none of them sees a model.

`metric` says what a metric is. `accuracy`, `agreement`, `correlation`, `ranking` and `similarity`
are the metrics; `inference` gives them intervals, and
`comparison_tests` says whether two models differ.
"""
