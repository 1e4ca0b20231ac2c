"""Train the small networks of the portraits world from rendered portraits.

    python scripts/render_portraits.py --quads --split train --count 6400 --size 128 --out runs/quads
    python scripts/train_portrait_networks.py --quads runs/quads --out runs/networks [--only parser judge ...]

Every network resumes from its checkpoint in --out; finished ones are written to --install as float16 safetensors.
The table of hair colours follows from the renderer alone: evaluate_portrait_networks.py --calibrate-colors writes it.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

from hairclip.cli.main import exit_code
from hairclip.common.device import pick_device
from hairclip.common.errors import check_range
from hairclip.portraits.fit.clip import fit_clip
from hairclip.portraits.fit.data import Quads, load_quads
from hairclip.portraits.fit.generator import GeneratorFit, GeneratorRecipe
from hairclip.portraits.fit.identity import fit_identity
from hairclip.portraits.fit.judge import fit_judge
from hairclip.portraits.fit.latents import encode_all, fit_mapping
from hairclip.portraits.fit.likeness import Recognisers
from hairclip.portraits.fit.parser import fit_parser
from hairclip.pretrained import load_clip, load_identity, load_parser, save_latents, save_network

RECOGNISERS = {"parser": fit_parser, "judge": fit_judge, "identity": fit_identity, "clip": fit_clip}
TEACHERS = {"parser": load_parser, "clip": load_clip, "identity": load_identity}
NETWORKS = (*RECOGNISERS, "generator")


def main(arguments: list[str] | None = None) -> int:
    """Train; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quads", type=Path, required=True, help="folder of rendered training quads")
    parser.add_argument("--out", type=Path, default=Path("runs/networks"), help="folder of the checkpoints")
    parser.add_argument("--install", type=Path, default=Path("data/portraits"), help="folder of the finished weights")
    parser.add_argument("--only", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--steps", type=int, help="steps of each recogniser (default: its recipe's)")
    parser.add_argument("--latents", type=int, default=3200, help="training latents to ship")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--threads", type=int, help="processor threads")
    parser.add_argument("--compile", action="store_true", help="fuse the generator's kernels; needs a C++ compiler")
    return exit_code(lambda: fit(parser.parse_args(arguments)))


def fit(options: argparse.Namespace) -> None:
    """Check the options and train one network after another."""
    for name in ("steps", "latents", "threads"):
        if getattr(options, name) is not None:
            check_range(f"--{name}", getattr(options, name), 1)
    if options.threads:
        torch.set_num_threads(options.threads)
    device = pick_device(options.device)
    quads = load_quads(options.quads)
    options.install.mkdir(parents=True, exist_ok=True)
    for name in options.only:
        if name == "generator":
            train_generator(
                quads, options.out, options.install, device, count=options.latents, compiled=options.compile
            )
        else:
            arguments = {} if options.steps is None else {"steps": options.steps}
            network = RECOGNISERS[name](quads, options.out, device, **arguments)
            # CLIP's large matrices lose nothing measurable in float8, and are most of all the weights together.
            quarter = 200_000 if name == "clip" else None
            save_network(options.install / f"{name}.safetensors", name, network, half=True, quarter_above=quarter)


def train_generator(
    quads: Quads, folder: Path, install: Path, device: torch.device, *, count: int, compiled: bool
) -> None:
    """Generator and encoder, then what follows from them: mapping network, average latent, latents."""
    recognisers = Recognisers(*(load(install / f"{name}.safetensors") for name, load in TEACHERS.items()))
    recipe = GeneratorRecipe(size=quads.size)
    training = GeneratorFit(quads, recipe, recognisers, folder, device, compiled=compiled)
    networks = training.fit()
    encoder, generator = networks.encoder, networks.generator
    codes = encode_all(encoder, quads, device)
    fit_mapping(generator.mapping.cpu().requires_grad_(True), training.told_latents(), generator.z_dim, folder)
    generator.latent_avg = generator.mean_latent(generator=torch.Generator().manual_seed(0))
    save_network(install / "generator.safetensors", "generator", generator, half=True)
    # Its filters lose nothing measurable in float8, what reads the components 0.01 dB.
    encoder_file = install / "encoder.safetensors"
    save_network(encoder_file, "encoder", encoder, half=True, quarter_above=140_000, spared=["linear.weight"])

    # At most one portrait of each quad, so that nobody is in both splits.
    turn = np.arange(min(count, len(quads)))
    chosen, held_out = turn * 4 + turn % 4, len(turn) // 12
    portraits = [p for quad in quads.metadata for row in quad for p in row]
    labels = {
        "hairstyle": [portraits[i]["hair"]["style"] for i in chosen],
        "color": [portraits[i]["color"]["name"] for i in chosen],
        "split": ["train"] * (len(chosen) - held_out) + ["val"] * held_out,
    }
    save_latents(install / "latents.safetensors", codes[torch.from_numpy(chosen)], labels, half=True, components=192)
    print(json.dumps({"latents": len(chosen), "styles": sorted(set(labels["hairstyle"]))}))


if __name__ == "__main__":
    sys.exit(main())
