"""Encode a folder of photos: every face becomes a W+ code in one file that training reads."""
