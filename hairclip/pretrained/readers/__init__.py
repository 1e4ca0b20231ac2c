"""Readers of foreign file formats that run nothing of what they read."""
