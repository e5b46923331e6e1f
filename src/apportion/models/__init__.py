"""Models: which one, its tokens, its weights."""
