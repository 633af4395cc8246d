"""Pure functions of numbers; none of them sees a model.

`metric` says what a metric is. `accuracy`, `agreement`, `correlation`, `ranking` and `similarity`
are the metrics; `resampling` gives them intervals and paired differences.
"""
