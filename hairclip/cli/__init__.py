"""The commands of ``python -m hairclip``, one file each."""
