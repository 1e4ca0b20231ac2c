"""Measure edits of whole photos: people composed into scenes of which the true edit is known.

python scripts/evaluate_photos.py
python scripts/evaluate_photos.py --count 48 --invert encoder pivotal --out runs/photos
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hairclip.cli.main import script

if __name__ == "__main__":
    sys.exit(script("evaluate-photos"))
