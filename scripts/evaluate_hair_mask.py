"""Measure the soft hair mask of whole photos on composed scenes whose true hair is known.

python scripts/evaluate_hair_mask.py --count 24
"""

from hairclip.cli.main import script

if __name__ == "__main__":
    raise SystemExit(script("evaluate-hair-mask"))
