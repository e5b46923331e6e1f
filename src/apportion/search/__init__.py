"""The adaptive search: which cells to run next, and when to stop."""
