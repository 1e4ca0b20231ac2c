"""How good edits and networks are, in figures and pictures, on rendered people nobody was trained on."""
