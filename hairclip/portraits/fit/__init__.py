"""How the small networks in ``data/portraits/`` are trained from rendered portraits, one recipe per file.

``python scripts/train_portrait_networks.py`` runs them in order: parser, judge, identity, clip, generator (with its
encoder), latents.
"""
