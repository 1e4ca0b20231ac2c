"""Measure how fast training and editing are, also against a plain formulation of the official training step."""
