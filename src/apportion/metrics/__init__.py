"""Pure scoring functions, and what a score can tell."""
