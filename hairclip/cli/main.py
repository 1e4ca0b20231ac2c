"""The command line: ``python -m hairclip COMMAND``, what scripts/ call; ``--help`` lists the commands.

A user's mistake is one sentence on stderr and exit code 2.
"""

import argparse
import ctypes
import errno
import os
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hairclip.cli import edit as edit_command
from hairclip.cli import evaluate_photos as photo_command
from hairclip.cli import portraits as portrait_commands
from hairclip.cli import weights as weight_commands
from hairclip.cli.benchmark import add_command as add_benchmark
from hairclip.common.errors import HairclipError, check_range
from hairclip.common.version import __version__

_MALLOPT = {-4: 0, -1: -1, -2: 256 * 2**20}
"""For glibc's mallopt: M_MMAP_MAX none, M_TRIM_THRESHOLD never, M_TOP_PAD 256 MiB."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; `arguments` None takes those of the process. Returns the exit code."""
    options = build_parser().parse_args(arguments)
    if arguments is None:
        _keep_freed_memory()
    return exit_code(lambda: options.run(options))


def exit_code(run: Callable[[], int | None]) -> int:
    """Run something for the command line; a user's mistake becomes one sentence on stderr and 2, Ctrl-C 130."""
    try:
        return run() or 0
    except HairclipError as error:
        print(f"hairclip: error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.filename is None and error.errno != errno.ENOSPC:
            raise
        place = "the output" if error.filename is None else error.filename
        print(f"hairclip: error: {place}: {error.strerror}: check the path, its rights, the disk.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("hairclip: interrupted", file=sys.stderr)
        return 130


def script(command: str) -> int:
    """What ``scripts/COMMAND.py`` runs: the command of that name with the script's arguments."""
    sys.argv.insert(1, command)
    return main()


def build_parser() -> argparse.ArgumentParser:
    """The arguments of every command."""
    parser = argparse.ArgumentParser(prog="hairclip", description="Edit hair by text and by reference pictures.")
    parser.add_argument("--version", action="version", version=f"hairclip {__version__}")
    commands = parser.add_subparsers(
        dest="command",
        required=True,
        metavar="COMMAND",
    )
    _add_train(commands)
    edit_command.add_command(commands)
    _add_evaluate(commands)
    photo_command.add_command(commands)
    add_benchmark(commands)
    weight_commands.add_commands(commands)
    portrait_commands.add_commands(commands)
    doctor = commands.add_parser("doctor", help="say what is there and what is missing, or what a weight file is")
    doctor.add_argument("--file", help="a weight file, or a name such as portraits/generator: say what it is")
    doctor.add_argument("--config", action="append", default=[], help="look at this YAML instead of the shipped ones")
    doctor.set_defaults(run=_doctor)
    return parser


def _add_train(commands: Any) -> None:
    train = commands.add_parser("train", help="train a mapper")
    train.add_argument("--config", required=True, help="a YAML file, such as configs/portraits.yaml")
    train.add_argument("--out", help="folder of the run (default: runs/NAME, NAME being the config's)")
    train.add_argument(
        "--resume",
        default="auto",
        metavar="auto|never|PATH",
        help="auto (default) continues the run in --out, never starts it anew and replaces it, PATH goes on from there",
    )
    train.add_argument("overrides", nargs="*", metavar="key=value", help="for example training.steps=100")
    train.set_defaults(run=_train)


def _add_evaluate(commands: Any) -> None:
    evaluate = commands.add_parser("evaluate", help="measure edits of held-out people against the rendered truth")
    evaluate.add_argument("--config", required=True, help="a YAML file, such as configs/portraits.yaml")
    evaluate.add_argument("--count", type=int, default=200, help="edits, default 200")
    evaluate.add_argument("--out", help="folder of the report (default: runs/NAME/evaluation)")
    evaluate.add_argument(
        "--method",
        choices=("mapper", "optimize", "both"),
        default="both",
        help="mapper alone, or also optimisation: on a subset (both, default) or on every case (optimize)",
    )
    evaluate.add_argument("--mapper", help="a mapper's file (default: that of the run, else the bundle's)")
    evaluate.add_argument("--seed", type=int, default=0, help="of the cases")
    evaluate.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that render")
    evaluate.add_argument("overrides", nargs="*", metavar="key=value")
    evaluate.set_defaults(run=_evaluate)


def _train(options: argparse.Namespace) -> None:
    from hairclip.config import load_config
    from hairclip.training.trainer import train

    config = load_config(options.config, options.overrides)
    run = Path(options.out or Path("runs") / config.name)
    mapper = train(config, run, resume=options.resume)
    if os.environ.get("RANK", "0") == "0":
        print(f"mapper: {mapper}")


def _evaluate(options: argparse.Namespace) -> None:
    from hairclip.common.device import pick_device
    from hairclip.config import load_config
    from hairclip.evaluation.edit_report import evaluate_editor
    from hairclip.evaluation.subject import configured_editor, measuring_networks
    from hairclip.pretrained.loaders import load_mapper

    check_range("--count", options.count, 1)
    check_range("--workers", options.workers, 0)
    check_range("--seed", options.seed, 0)
    config = load_config(options.config, options.overrides)
    device = pick_device(config.device)
    if config.dry_run:
        raise HairclipError(f"{options.config}: dry_run asks for random networks, which edit nothing: set it to false.")
    networks = measuring_networks(config, device, named=options.config)
    trained = Path("runs") / config.name / "mapper.safetensors"
    mapper = options.mapper or (trained if trained.is_file() else networks.sources.get("mapper"))
    if mapper is None:
        raise HairclipError(f"there is no mapper {trained} and none in {config.networks.bundle}: give one as --mapper.")
    print(f"mapper: {mapper}")
    editor = configured_editor(config, networks, load_mapper(mapper, device))
    optimize_count = {"mapper": 0, "both": 24, "optimize": options.count}[options.method]
    evaluate_editor(
        editor,
        networks.judge,
        options.out or Path("runs") / config.name / "evaluation",
        count=options.count,
        optimize_count=min(optimize_count, options.count),
        seed=options.seed,
        workers=options.workers,
    )


def _doctor(options: argparse.Namespace) -> None:
    if options.file is None:
        from hairclip.cli.doctor import examine

        examine(options.config)
        return
    from hairclip.pretrained.inspect import describe_file
    from hairclip.pretrained.loaders import resolve

    print("\n".join(describe_file(resolve(options.file))))


def _keep_freed_memory() -> None:
    """Have glibc keep freed memory for what comes next, unless the user tells it otherwise by MALLOC_ variables.

    Giving pages back and having them anew costs a third of a training step on a CPU and a fifth of an edit at 1024 px.
    """
    if platform.libc_ver()[0] == "glibc" and not any(key.startswith("MALLOC_") for key in os.environ):
        libc = ctypes.CDLL(None)
        for parameter, value in _MALLOPT.items():
            libc.mallopt(parameter, value)
