"""Train the small networks of `data/portraits/` from rendered portraits, one recipe a file.

The command `train-portrait-networks` runs them in this order: parser, judge, identity, clip, then generator and encoder
with the latents. The command `train-photo-parser` trains the parser of photos.
"""
