"""What a run leaves behind: the result's schema, its files, and where it came from."""
