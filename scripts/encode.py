"""Encode a folder of photos into W+ codes, to train on.

python scripts/encode.py --images photos --bundle ffhq --out codes.safetensors
python scripts/encode.py --images ffhq/images1024x1024 --aligned --bundle ffhq --out codes.safetensors --crops crops
torchrun --nproc-per-node 8 scripts/encode.py --images photos --bundle ffhq --out codes.safetensors
"""

from hairclip.cli.main import script

if __name__ == "__main__":
    raise SystemExit(script("encode"))
