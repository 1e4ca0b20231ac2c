"""Measure edits of held-out people against the rendered truth.

python scripts/evaluate.py --config configs/portraits.yaml
python scripts/evaluate.py --config configs/portraits.yaml --count 24 --mapper runs/mine/mapper.safetensors
"""

from hairclip.cli.main import script

if __name__ == "__main__":
    raise SystemExit(script("evaluate"))
