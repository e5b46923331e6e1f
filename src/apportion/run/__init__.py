"""Running a plan: stage bodies, the local executor, progress, estimates and results."""
