"""Render synthetic portraits.

    python scripts/render_portraits.py --count 1000 --seed 0 --size 128 --out runs/portraits --workers 2
    python scripts/render_portraits.py --quads --count 5000 --seed 0 --split train --out runs/quads --workers 2

Writes PNG images and labels with metadata.jsonl, or (--quads) npz shards of two geometries times two hair colours.
Run again to continue: what is there is kept.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


from hairclip.cli.main import exit_code
from hairclip.common.errors import check_range
from hairclip.common.progress import progress_bar
from hairclip.portraits.dataset import DatasetSpec, render_dataset


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, required=True, help="portraits (or quads) to render")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=128, help="pixels, default 128")
    parser.add_argument("--out", type=Path, required=True, help="folder; is created, and continued if it exists")
    parser.add_argument("--split", choices=("train", "val", "test", "all"), help="whose people to show")
    parser.add_argument("--quads", action="store_true", help="npz shards of quads instead of PNG files")
    parser.add_argument("--workers", type=int, default=1, help="processes, default 1")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Render; returns the exit code."""
    options = parse_arguments(arguments)
    return exit_code(lambda: render(options))


def render(options: argparse.Namespace) -> None:
    """Check the options and render."""
    for name in ("count", "size", "workers"):
        check_range(f"--{name}", getattr(options, name), 1)
    dataset = DatasetSpec(
        count=options.count,
        seed=options.seed,
        size=options.size,
        split=options.split or ("train" if options.quads else "all"),
        mode="quads" if options.quads else "portraits",
    )
    unit = "quad" if options.quads else "portrait"
    with progress_bar(label=f"rendering {dataset.split}", total=options.count, unit=unit) as bar:
        for done in render_dataset(dataset, options.out, workers=options.workers):
            bar.update(done)


if __name__ == "__main__":
    raise SystemExit(main())
