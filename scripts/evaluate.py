"""Measure edits of held-out people against the rendered truth.

python scripts/evaluate.py --config configs/portraits.yaml
python scripts/evaluate.py --config configs/portraits.yaml --count 24 --mapper runs/mine/mapper.safetensors
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hairclip.cli.main import script

if __name__ == "__main__":
    sys.exit(script("evaluate"))
