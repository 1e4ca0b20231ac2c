"""Train the parser that finds the hair of real photos, from rendered people alone.

python scripts/render_portraits.py --quads --size 256 --count 5000 --out runs/quads
python scripts/train_photo_parser.py --quads runs/quads --steps 20000 --out runs/photo_parser.safetensors
"""

from hairclip.cli.main import script

if __name__ == "__main__":
    raise SystemExit(script("train-photo-parser"))
