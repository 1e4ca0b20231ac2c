"""Measure edits of whole photos: rendered people in scenes whose true edit is known.

python scripts/evaluate_photos.py
python scripts/evaluate_photos.py --count 48 --inversion encoder pivotal --out runs/photos
"""

from hairclip.cli.main import script

if __name__ == "__main__":
    raise SystemExit(script("evaluate-photos"))
