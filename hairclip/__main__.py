"""The command line: ``python -m hairclip train|edit|evaluate|download|export|doctor``; what scripts/ call.

A user's mistake is one sentence on stderr and exit code 2.
"""

import argparse
import errno
import os
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hairclip import __version__, weight_commands
from hairclip.errors import HairclipError

if TYPE_CHECKING:
    from hairclip.edit import HairEditor

_ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "34359738368", "MALLOC_TOP_PAD_": "268435456"}
"""glibc's settings that keep freed memory: on a CPU, page faults otherwise cost a third of a training step."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; `arguments` None takes those of the process. Returns the exit code."""
    options = build_parser().parse_args(arguments)
    if options.command == "train" and arguments is None:
        _restart_with_allocator()
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
        dest="command", required=True, metavar="train|edit|evaluate|download|export|doctor"
    )
    _add_train(commands)
    _add_edit(commands)
    _add_evaluate(commands)
    weight_commands.add_commands(commands)
    doctor = commands.add_parser("doctor", help="say what is there and what is missing, or what a weight file is")
    doctor.add_argument("--file", help="a weight file, or a name such as portraits/generator: say what it is")
    doctor.add_argument("--config", action="append", default=[], help="look at this YAML instead of the shipped ones")
    doctor.set_defaults(run=_doctor)
    return parser


def _add_train(commands: Any) -> None:
    train = commands.add_parser(
        "train",
        help="train a mapper",
        description="Train a mapper. At first it restarts itself once with glibc settings that make training on a CPU "
        "faster; HAIRCLIP_NO_REEXEC=1 keeps it from that.",
    )
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


def _add_edit(commands: Any) -> None:
    edit = commands.add_parser("edit", help="edit one portrait")
    edit.add_argument("--image", required=True, help="the portrait, cropped to the face")
    edit.add_argument("--text", help="hairstyle and colour in words, such as 'red bob cut'")
    edit.add_argument("--hairstyle", help="a hairstyle in words, or a picture that shows it")
    edit.add_argument("--color", help="a colour in words, or a picture that shows it")
    edit.add_argument("--strength", type=float, default=1.0, help="0 (nothing) to 2, default 1")
    edit.add_argument("--seed", type=int, default=0)
    edit.add_argument("--out", default="edited.png", help="the picture to write (default edited.png)")
    edit.add_argument(
        "--compare",
        nargs="?",
        const=True,
        metavar="PATH",
        help="write source, inversion and edit as one picture: to PATH beside --out, or without PATH to --out itself",
    )
    edit.add_argument(
        "--grid",
        action="store_true",
        help="write a contact sheet, hairstyles times colours, to --out; --hairstyle and --color may list words, comma "
        "between them (default: all that the bundle knows)",
    )
    edit.add_argument("--method", choices=("mapper", "optimize"), default="mapper")
    edit.add_argument("--steps", type=int, default=100, help="steps of --method optimize, default 100")
    edit.add_argument("--bundle", default="portraits", help="name or folder of the networks")
    edit.add_argument("--mapper", help="a mapper's file, such as runs/portraits/mapper.safetensors")
    edit.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    edit.set_defaults(run=_edit)


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


def _edit(options: argparse.Namespace) -> None:
    from hairclip.edit import compare
    from hairclip.images import check_image_path, save_image
    from hairclip.pretrained import BUNDLES
    from hairclip.prompts import split_prompt

    _within("--steps", options.steps, 1)
    _within("--seed", options.seed, 0)
    for path in (options.out, options.compare):  # before the work, not after it
        if isinstance(path, str):
            check_image_path(path)
    hairstyle, color = options.hairstyle, options.color
    _tell_unknown(hairstyle, color, several=options.grid)
    if options.text is not None:
        styles = _listed(None, options.bundle, "hairstyle") if options.bundle in BUNDLES else []
        parsed = split_prompt(options.text, known=[style for style in styles if style is not None] or None)
        print(parsed.message)
        hairstyle, color = hairstyle or parsed.hairstyle, color or parsed.color
    settings = {
        "strength": options.strength,
        "seed": options.seed,
        "method": options.method,
        "steps": options.steps,
        "progress": options.method == "optimize",
    }
    editor = _editor(options.bundle, options.mapper, options.device)
    if options.grid:
        styles, colors = _listed(hairstyle, options.bundle, "hairstyle"), _listed(color, options.bundle, "color")
        save_image(editor.grid(options.image, styles, colors, **settings), options.out)
    else:
        result = editor.edit(options.image, hairstyle=hairstyle, color=color, **settings)
        save_image(compare(result) if options.compare is True else result.image, options.out)
        if isinstance(options.compare, str):
            save_image(compare(result), options.compare)
            print(f"wrote {options.compare}")
    print(f"wrote {options.out}")


def _evaluate(options: argparse.Namespace) -> None:
    from hairclip.config import load_config
    from hairclip.edit import HairEditor
    from hairclip.evaluation.report import evaluate_editor
    from hairclip.pretrained import Bundle, load_mapper
    from hairclip.training.distributed import pick_device
    from hairclip.training.parts import build_loss, network_sources

    _within("--count", options.count, 1)
    _within("--workers", options.workers, 0)
    _within("--seed", options.seed, 0)
    config = load_config(options.config, options.overrides)
    device, sources = pick_device(config.device), network_sources(config)
    if config.dry_run:
        raise HairclipError(f"{options.config}: dry_run asks for random networks, which edit nothing: set it to false.")
    missing = [part for part in ("encoder", "judge") if part not in sources]
    if missing:
        raise HairclipError(
            f"{options.config}: there is no {' and no '.join(missing)} among its networks, so nothing can be measured: "
            "use a configuration whose networks.bundle has them, such as configs/portraits.yaml."
        )
    trained = Path("runs") / config.name / "mapper.safetensors"
    mapper = options.mapper or (trained if trained.is_file() else sources.get("mapper"))
    if mapper is None:
        raise HairclipError(f"there is no mapper {trained} and none in {config.networks.bundle}: give one as --mapper.")
    print(f"mapper: {mapper}")
    networks = Bundle(sources, device)
    editor = HairEditor(
        networks,
        mapper=load_mapper(mapper, device).eval(),
        groups=(config.mapper.groups[0], config.mapper.groups[1]),
        loss=build_loss(config, networks),
    )
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
        from hairclip.doctor import examine

        examine(options.config)
        return
    from hairclip.identify import describe_file
    from hairclip.pretrained import resolve

    print("\n".join(describe_file(resolve(options.file))))


def _editor(bundle: str, mapper: str | None, device: str) -> "HairEditor":
    """An editor whose parts fit each other."""
    from hairclip.edit import HairEditor
    from hairclip.training.distributed import pick_device

    return HairEditor.from_bundle(bundle, device=pick_device(device), mapper=mapper)


def _listed(words: str | None, bundle: str, label: str) -> list[str | None]:
    """The rows or columns of a grid: what stays, then the words given, or all that label the bundle's latents."""
    from hairclip.pretrained import BUNDLES, load_latent_labels
    from hairclip.prompts import COLORS, HAIRSTYLES

    everything = list(HAIRSTYLES if label == "hairstyle" else COLORS)
    if words is not None:
        named = [word.strip() for word in words.split(",") if word.strip()]
        if not named:
            raise HairclipError(f"--{label} {words!r} names nothing: list words, comma between them, or leave it out.")
        return [None, *named]
    if BUNDLES.get(bundle, {}).get("latents", "").startswith(f"{bundle}/"):  # embedded: others have no labels
        labels = load_latent_labels(BUNDLES[bundle]["latents"])
        present = set((labels or {}).get(label) or everything)
        everything = [name for name in everything if name in present] + sorted(present - set(everything))
    return [None, *everything]


def _within(option: str, value: int, least: int) -> None:
    if not least <= value < 2**63:
        raise HairclipError(f"{option} {value}: give {f'{least} or more' if value < least else 'a smaller number'}.")


def _tell_unknown(hairstyle: str | None, color: str | None, *, several: bool) -> None:
    """Print which words of --hairstyle and --color no network was trained on: they may be mistyped."""
    from hairclip.edit import as_wish
    from hairclip.prompts import unknown_word

    for words, is_color in ((hairstyle, False), (color, True)):
        for word in (words.split(",") if several else [words]) if words else []:
            wish = as_wish(word) if word.strip() else None
            note = unknown_word(wish, "color" if is_color else "hairstyle") if isinstance(wish, str) else None
            if note is not None:
                print(note)


def _restart_with_allocator() -> None:
    """Start this process anew, once, with the allocator settings: glibc reads them before Python begins."""
    if platform.libc_ver()[0] != "glibc" or os.environ.get("HAIRCLIP_NO_REEXEC") == "1":
        return
    if any(key in os.environ for key in _ALLOCATOR):
        return
    os.execve(sys.executable, sys.orig_argv, {**os.environ, **_ALLOCATOR, "HAIRCLIP_NO_REEXEC": "1"})


if __name__ == "__main__":
    sys.exit(main())
