"""Compute the global directions of a generator, for the editing method styleclip-global.

python scripts/directions.py --images 100 --precision bfloat16 --out runs/directions.safetensors
"""

from hairclip.cli.main import script

if __name__ == "__main__":
    raise SystemExit(script("directions"))
