"""Measure the portrait networks on held-out rendered people and print the table of what they must reach.

python scripts/evaluate_portrait_networks.py
python scripts/evaluate_portrait_networks.py --bundle runs/networks --count 50 --optimize-count 8
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hairclip.cli.main import exit_code
from hairclip.common.color import save_named_colors
from hairclip.common.device import pick_device
from hairclip.common.errors import check_range
from hairclip.common.files import data_folder
from hairclip.evaluation.cases import calibrate_colors
from hairclip.evaluation.portrait_networks import evaluate_networks
from hairclip.pretrained import load_bundle


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and run; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="portraits", help="bundle name, or a folder of weight files")
    parser.add_argument("--count", type=int, default=200, help="held-out people, three portraits each")
    parser.add_argument("--optimize-count", type=int, default=24, help="portraits inverted by optimisation too")
    parser.add_argument("--optimize-steps", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that render")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--out", type=Path, default=Path("runs/evaluate_networks"), help="folder of the report")
    parser.add_argument(
        "--calibrate-colors",
        action="store_true",
        help="only measure reference hair colours on training people and write data/portraits/colors.json",
    )
    return exit_code(lambda: evaluate(parser.parse_args(arguments)))


def evaluate(options: argparse.Namespace) -> int:
    """Check the options and measure; 1 where a network misses what it must reach."""
    for name, least in (("count", 2), ("optimize_count", 0), ("optimize_steps", 1), ("seed", 0), ("workers", 0)):
        check_range(f"--{name.replace('_', '-')}", getattr(options, name), least)
    if options.calibrate_colors:
        path = data_folder() / "portraits" / "colors.json"
        save_named_colors(calibrate_colors(workers=options.workers, progress=True), path)
        print(f"wrote {path}")
        return 0
    report = evaluate_networks(
        load_bundle(options.bundle, pick_device(options.device)),
        options.out,
        count=options.count,
        optimize_count=options.optimize_count,
        optimize_steps=options.optimize_steps,
        seed=options.seed,
        workers=options.workers,
    )
    return 0 if all(passed is not False for passed in report["passed"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
