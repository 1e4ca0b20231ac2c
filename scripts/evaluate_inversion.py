"""Measure how well each inversion method rebuilds held-out portraits, and how long it takes.

python scripts/evaluate_inversion.py --count 24
python scripts/evaluate_inversion.py --count 8 --steps 200 --methods optimize pivotal
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hairclip.cli.main import exit_code
from hairclip.common.device import pick_device
from hairclip.common.errors import check_range
from hairclip.editing.editor import HairEditor
from hairclip.editing.inversion.invert import INVERSION_METHODS
from hairclip.evaluation.inversions import evaluate_inversions
from hairclip.pretrained import load_bundle


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and run; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="portraits", help="bundle name, or a folder of weight files")
    parser.add_argument("--count", type=int, default=24, help="held-out portraits, default 24")
    parser.add_argument("--steps", type=int, default=100, help="of the descent, and of the tuning, default 100")
    parser.add_argument(
        "--methods", nargs="+", choices=INVERSION_METHODS, default=list(INVERSION_METHODS), help="default: all"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the portraits")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that render")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--out", type=Path, default=Path("runs/evaluate_inversion"), help="folder of the report")
    return exit_code(lambda: evaluate(parser.parse_args(arguments)))


def evaluate(options: argparse.Namespace) -> None:
    """Check the options and measure."""
    for option, least in (("count", 1), ("steps", 1), ("seed", 0), ("workers", 0)):
        check_range(f"--{option}", getattr(options, option), least)
    networks = load_bundle(options.bundle, pick_device(options.device))
    evaluate_inversions(
        HairEditor(networks),
        networks.judge,
        options.out,
        count=options.count,
        steps=options.steps,
        methods=options.methods or INVERSION_METHODS,
        seed=options.seed,
        workers=options.workers,
    )


if __name__ == "__main__":
    sys.exit(main())
