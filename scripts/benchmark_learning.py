"""Train with this library's step and with the official step, and compare what each learned.

python scripts/benchmark_learning.py --config configs/portraits.yaml --seeds 3 training.steps=450
python scripts/benchmark_learning.py --config configs/portraits.yaml --against float32 --edits 600
"""

from hairclip.cli.main import script

if __name__ == "__main__":
    raise SystemExit(script("benchmark-learning"))
