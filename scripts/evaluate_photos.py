"""Measure edits of whole photos: people composed into scenes of which the true edit is known.

python scripts/evaluate_photos.py
python scripts/evaluate_photos.py --count 48 --invert encoder pivotal --out runs/photos
"""

from hairclip.cli.main import script

if __name__ == "__main__":
    raise SystemExit(script("evaluate-photos"))
