"""Measure how fast training and editing are, against a plain formulation of the official training step.

python scripts/benchmark.py --config configs/portraits.yaml
python scripts/benchmark.py --config configs/hairclip.yaml --resolution 256 --speedup --tasks text
python scripts/benchmark.py --config configs/hairclip.yaml --batch 16 --dtype bfloat16 --device cuda --speedup
"""

from hairclip.cli.main import script

if __name__ == "__main__":
    raise SystemExit(script("benchmark"))
