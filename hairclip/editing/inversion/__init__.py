"""Invert pictures: find their W+ codes and say how well these rebuild the pictures."""
