"""Measure how good edits, inversions and networks are, and how fast training and editing are."""
