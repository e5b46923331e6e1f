"""The bridge to TRL: the same tokens, order and recipe, trained by TRL's own trainers."""
