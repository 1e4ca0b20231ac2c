"""Compare editing methods on the same people and requests, in one table with ground truth.

python scripts/compare.py --count 200 --out runs/compare
python scripts/compare.py --methods mapper,styleclip-optimize --count 40
python scripts/compare.py --sweep styleclip-optimize steps=40,100,300
python scripts/compare.py --study runs/study
python scripts/compare.py --study runs/study --study-answers answers/*.json
"""

from hairclip.cli.main import script

if __name__ == "__main__":
    raise SystemExit(script("compare"))
