"""Grow the generator of the portraits world to 256 px, with strands of hair.

python scripts/render_portraits.py --quads --size 256 --count 2000 --out runs/quads256
python scripts/train_strands.py --quads runs/quads256 --out runs/generator_256.safetensors
"""

from hairclip.cli.main import script

if __name__ == "__main__":
    raise SystemExit(script("train-strands"))
