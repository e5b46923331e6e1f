"""Losses, batches and the native training loop."""
