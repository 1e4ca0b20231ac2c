"""Turn words and reference pictures into the conditions of the mapper."""
