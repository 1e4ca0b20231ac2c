"""Write edited faces as reference pictures for training, a folder per word.

python scripts/references.py --out references --count 20
python scripts/references.py --out references --kind color --colors "red, blond" --mapper runs/mine/mapper.safetensors
torchrun --nproc-per-node 2 scripts/references.py --bundle ffhq --latents celeba-hq-train --out pretrained/references
"""

from hairclip.cli.main import script

if __name__ == "__main__":
    raise SystemExit(script("references"))
