"""Measure how well the parser of photos finds hair: on renders, by random factor, and on photos with masks.

python scripts/evaluate_photo_parser.py --photos photos
"""

from hairclip.cli.main import script

if __name__ == "__main__":
    raise SystemExit(script("evaluate-photo-parser"))
