"""The web page on which a person edits the hair in a photo."""
