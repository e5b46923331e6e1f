"""Decoding with vLLM, on a GPU: an engine in a process of its own, and what it is told."""
