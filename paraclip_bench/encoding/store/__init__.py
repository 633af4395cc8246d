"""Vectors on disk: one SQLite file in the user's cache, shared by runs and processes."""
