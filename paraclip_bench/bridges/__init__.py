"""To other benchmarks: our models as theirs."""
