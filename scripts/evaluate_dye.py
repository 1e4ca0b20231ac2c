"""Measure how near dyed hair comes to colors that no word of the vocabulary names.

python scripts/evaluate_dye.py --count 6
"""

from hairclip.cli.main import script

if __name__ == "__main__":
    raise SystemExit(script("evaluate-dye"))
