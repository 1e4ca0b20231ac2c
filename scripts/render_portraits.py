"""Render synthetic portraits.

python scripts/render_portraits.py --count 1000 --seed 0 --size 128 --out runs/portraits --workers 2
python scripts/render_portraits.py --quads --count 5000 --seed 0 --split train --out runs/quads --workers 2
"""

from hairclip.cli.main import script

if __name__ == "__main__":
    raise SystemExit(script("render-portraits"))
