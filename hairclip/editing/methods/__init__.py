"""The ways to edit a code."""
