"""Train the small networks of the portraits world.

python scripts/train_portrait_networks.py --quads runs/quads --out runs/networks
python scripts/train_portrait_networks.py --quads runs/quads --out runs/networks --only parser judge
"""

from hairclip.cli.main import script

if __name__ == "__main__":
    raise SystemExit(script("train-portrait-networks"))
