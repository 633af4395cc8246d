"""Models meet tasks: what is to be run, what is missing, and the running of it."""
