"""Showing what was found: figures and one self-contained page."""
