"""Train a mapper.

python scripts/train.py --config configs/portraits.yaml
python scripts/train.py --config configs/portraits.yaml --out runs/mine --resume auto optimizer.lr=1e-4
torchrun --nproc-per-node 8 scripts/train.py --config configs/hairclip.yaml training.batch_size=8
"""

from hairclip.cli.main import script

if __name__ == "__main__":
    raise SystemExit(script("train"))
