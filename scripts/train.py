"""Train a mapper.

python scripts/train.py --config configs/portraits.yaml
python scripts/train.py --config configs/portraits.yaml --out runs/mine --resume auto optimizer.lr=1e-4
torchrun --nproc-per-node 8 scripts/train.py --config configs/hairclip.yaml training.batch_size=8
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hairclip.cli.main import script

if __name__ == "__main__":
    sys.exit(script("train"))
