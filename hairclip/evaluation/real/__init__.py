"""Measure edits of real photos, for which no true answer is known, by the protocol of the published comparisons."""
