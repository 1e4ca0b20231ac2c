"""Train StyleCLIP's latent mappers of all words of a bundle, for the editing method styleclip-mapper.

python scripts/train_style_mappers.py --steps 400 --color-samples 2 --gain 1.2 --out runs/style_mappers.safetensors
"""

from hairclip.cli.main import script

if __name__ == "__main__":
    raise SystemExit(script("train-style-mappers"))
