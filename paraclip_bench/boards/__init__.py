"""Results become one table: a row a model, a column a task's score."""
