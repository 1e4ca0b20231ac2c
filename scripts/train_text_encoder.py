"""Train the text encoder, which the editing methods difference and tedigan need.

python scripts/train_text_encoder.py --out runs/text_encoder.safetensors
"""

from hairclip.cli.main import script

if __name__ == "__main__":
    raise SystemExit(script("train-text-encoder"))
