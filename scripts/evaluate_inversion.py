"""Measure how well each method of inversion rebuilds held-out portraits, and what it costs.

python scripts/evaluate_inversion.py --count 24
python scripts/evaluate_inversion.py --count 8 --steps 200 --methods optimize pivotal
"""

from hairclip.cli.main import script

if __name__ == "__main__":
    raise SystemExit(script("evaluate-inversion"))
