"""The command line ``python -m hairclip COMMAND``, which scripts/ call too; ``--help`` lists the commands.

A user's mistake is one sentence on stderr and exit code 2.
"""

import argparse
import ctypes
import errno
import importlib
import os
import platform
import sys
from collections.abc import Callable, Sequence

from hairclip.common.errors import HairclipError
from hairclip.common.version import __version__

COMMANDS = {
    "train": "train",
    "encode": "encode",
    "edit": "edit",
    "composite": "composite",
    "figure": "figure",
    "demo": "demo",
    "references": "references",
    "prompts": "prompts",
    "evaluate": "evaluate",
    "evaluate-photos": "evaluate",
    "evaluate-inversion": "evaluate",
    "compare": "compare",
    "benchmark": "benchmark",
    "benchmark-learning": "benchmark",
    "download": "weights",
    "export": "weights",
    "render-portraits": "portraits",
    "train-portrait-networks": "portraits",
    "train-strands": "portraits",
    "evaluate-portrait-networks": "portraits",
    "train-photo-parser": "photo_parser",
    "train-text-encoder": "text_encoder",
    "evaluate-photo-parser": "photo_parser",
    "evaluate-hair-mask": "photo_parser",
    "train-denoiser": "denoiser",
    "hair-priors": "tokens",
    "train-tokens": "tokens",
    "directions": "styleclip",
    "train-style-mappers": "styleclip",
    "evaluate-dye": "photo_parser",
    "doctor": "doctor",
}
"""Name of a command -> the module of `hairclip.cli` that adds it, by its `add_command`."""

_MALLOPT = {-4: 0, -1: -1, -2: 256 * 2**20}
"""For glibc's mallopt: M_MMAP_MAX none, M_TRIM_THRESHOLD never, M_TOP_PAD 256 MiB."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code.

    Args:
        arguments: the command and its arguments; None takes those of the process.
    """
    given = sys.argv[1:] if arguments is None else arguments

    def run() -> int | None:
        options = build_parser(given[0] if given else None).parse_args(given)
        if arguments is None:
            _keep_freed_memory()
        code: int | None = options.run(options)
        return code

    try:
        return exit_code(run)
    finally:
        _flush()  # argparse ends the process after --help


def exit_code(run: Callable[[], int | None]) -> int:
    """Run a function and return its exit code.

    The code is 2 for a user's mistake, with one sentence on stderr, 130 for Ctrl-C, and 141, as shells have it for
    SIGPIPE, where nobody reads the output any longer, as after ``| head -1``.
    """
    code = _run(run)
    return code if _flush() else code or 141


def _run(run: Callable[[], int | None]) -> int:
    """Run a function and return its exit code, see `exit_code`. Output that is still kept back is not written."""
    try:
        return run() or 0
    except HairclipError as error:
        print(f"hairclip: error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # a command writes to no pipe but its output
        return 141
    except OSError as error:
        if error.filename is None and error.errno != errno.ENOSPC:
            raise
        place = "the output" if error.filename is None else error.filename
        print(f"hairclip: error: {place}: {error.strerror}: check the path, its rights, the disk.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("hairclip: interrupted", file=sys.stderr)
        return 130


def _flush() -> bool:
    """Write output that is kept back, and return whether that worked.

    Without a reader, what is left goes nowhere: Python would write it, and complain, when it ends.
    """
    is_read = True
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:  # as under pythonw
                stream.flush()
        except BrokenPipeError:
            with open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())
            is_read = False
    return is_read


def script(command: str) -> int:
    """Run the command of that name with the process's arguments, as ``scripts/COMMAND.py`` does."""
    sys.argv.insert(1, command)
    return main()


def build_parser(command: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of the command line.

    Args:
        command: the only command that is needed; the others are then not imported. None, or an unknown name, adds all.
    """
    parser = argparse.ArgumentParser(prog="hairclip", description="Edit hair by text and by reference pictures.")
    parser.add_argument("--version", action="version", version=f"hairclip {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    modules = [COMMANDS[command]] if command in COMMANDS else list(dict.fromkeys(COMMANDS.values()))
    for module in modules:
        importlib.import_module(f"hairclip.cli.{module}").add_command(commands)
    return parser


def _keep_freed_memory() -> None:
    """Have glibc keep freed memory for what comes next, unless the user tells it otherwise by MALLOC_ variables.

    Giving pages back and having them anew costs a third of a training step on a CPU and a fifth of an edit at 1024 px.
    """
    if platform.libc_ver()[0] == "glibc" and not any(key.startswith("MALLOC_") for key in os.environ):
        libc = ctypes.CDLL(None)
        for parameter, value in _MALLOPT.items():
            libc.mallopt(parameter, value)
