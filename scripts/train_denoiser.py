"""Train the denoiser of the editing method diffusion.

python scripts/render_portraits.py --quads --count 2050 --out runs/quads
python scripts/train_denoiser.py --quads runs/quads --out data/portraits/denoiser.safetensors
"""

from hairclip.cli.main import script

if __name__ == "__main__":
    raise SystemExit(script("train-denoiser"))
