"""Models meet tasks.

In the order in which it happens: `plan` names what is to be run, what is missing and what is done,
`run` goes through models and tasks and writes results, `scoring` makes scores of outcomes.
"""
