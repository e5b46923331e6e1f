"""Results from elsewhere: lm-eval's sample logs, TRL's runs, one's own tables."""
