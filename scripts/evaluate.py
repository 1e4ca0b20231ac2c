"""Measure edits of held-out people: of rendered ones against the truth, or of real photos by the papers' protocol.

python scripts/evaluate.py --config configs/portraits.yaml
python scripts/evaluate.py --config configs/portraits.yaml --count 24 --mapper runs/mine/mapper.safetensors
python scripts/evaluate.py --photos photos --bundle ffhq --count 100 --out runs/photos_of_mine
"""

from hairclip.cli.main import script

if __name__ == "__main__":
    raise SystemExit(script("evaluate"))
