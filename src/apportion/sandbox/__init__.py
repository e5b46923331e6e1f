"""Generated tasks and tiny models: real training in small, no evidence about real models."""
