"""Asking the surface: shares, regret, what to buy, and what published evidence says first."""
