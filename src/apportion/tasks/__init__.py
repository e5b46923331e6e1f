"""Tasks: columns, prompt format and metric."""
