"""The commands `download` and `export` of `python -m hairclip`: fetch weights, and write mappers for other code."""

import argparse
import difflib
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hairclip.common.errors import HairclipError
from hairclip.pretrained import registry
from hairclip.pretrained.bundle_files import list_bundles, read_bundle


def add_command(commands: Any) -> None:
    """Add `download` and `export` to the subcommands of a parser."""
    download = commands.add_parser(
        "download",
        help="fetch weights of other projects",
        description="Fetch weights by name into the cache (HAIRCLIP_HOME, else ~/.cache/hairclip). Without a name, "
        "list all weights with their sizes and licenses.",
    )
    download.add_argument(
        "names", nargs="*", metavar="NAME", help="weights such as hairclip, or a bundle such as ffhq for all its parts"
    )
    download.add_argument("--all", action="store_true", help="fetch all weights of the list")
    download.add_argument("--yes", action="store_true", help="fetch a bundle or all weights without asking first")
    download.add_argument(
        "--from-file", metavar="PATH", help="take the file of the one NAME from PATH, verify it and keep a copy"
    )
    download.set_defaults(run=_download)

    export = commands.add_parser("export", help="write a mapper for other code")
    export.add_argument(
        "--to",
        required=True,
        choices=("hairclip", "huggingface"),
        help="hairclip: a checkpoint that HairCLIP's own code loads; huggingface: a folder with weights and model card",
    )
    export.add_argument(
        "--mapper", required=True, help="a mapper's file or name, such as runs/hairclip/mapper.safetensors"
    )
    export.add_argument("--out", required=True, help="the file (hairclip) or folder (huggingface) to write")
    export.set_defaults(run=_export)


def _download(options: argparse.Namespace) -> None:
    from hairclip.pretrained.download import adopt, obtain

    weights = _wanted(options)
    if options.from_file is not None:
        if len(weights) != 1:
            raise HairclipError(f"--from-file {options.from_file}: give the one NAME whose file it is.")
        print(adopt(weights[0], Path(options.from_file)))
        return
    if not options.names and not options.all:
        print(registry.table())
        return
    if not options.yes and (options.all or any(name in list_bundles() for name in options.names)):
        _confirm(weights)
    failures: list[HairclipError] = []
    for weight in weights:
        try:
            print(f"{weight.name}: {obtain(weight)}")
        except HairclipError as error:  # the others may still come
            failures.append(error)
    if len(failures) > 1:
        raise HairclipError(f"{len(failures)} of {len(weights)} could not be fetched; the first: {failures[0]}")
    if failures:
        raise failures[0]


def _wanted(options: argparse.Namespace) -> list[registry.Weight]:
    """Return the weights that the names mean, each once; those of a bundle's parts for the name of a bundle."""
    if options.all:
        return list(registry.WEIGHTS.values())
    names: list[str] = []
    for name in options.names:
        if name in list_bundles():
            fetched = [str(source) for source in read_bundle(name).parts.values() if str(source) in registry.WEIGHTS]
            if not fetched:
                print(f"{name}: all its parts come with hairclip")
            names += fetched
        elif name not in registry.WEIGHTS and _nearest(name) in list_bundles():
            raise HairclipError(f"there are no weights and no bundle named {name} (did you mean {_nearest(name)}?).")
        else:
            names.append(registry.find(name).name)
    return [registry.WEIGHTS[name] for name in dict.fromkeys(names)]


def _nearest(name: str) -> str | None:
    """Return the known name of weights or of a bundle that is most like another name."""
    return next(iter(difflib.get_close_matches(name, [*registry.WEIGHTS, *list_bundles()], n=1, cutoff=0.5)), None)


def _confirm(weights: Sequence[registry.Weight]) -> None:
    """Print what would be fetched, how large it is and under which licenses, and ask whether to go on.

    Raises:
        HairclipError: if the disk is too small, the answer is no, or nobody can answer.
    """
    from hairclip.pretrained.download import weight_path, weights_folder

    missing = [weight for weight in weights if not weight_path(weight).is_file()]
    if not missing:
        return
    for weight in missing:
        print(f"{weight.name}: {weight.about}, {registry.megabytes(weight.size)}; license: {weight.license}")
    folder = next(place for place in (weights_folder(), *weights_folder().parents) if place.is_dir())
    total, free = sum(weight.size or 0 for weight in missing), shutil.disk_usage(folder).free
    print(f"together {registry.total_size(missing)}; free on the disk of {folder}: {registry.megabytes(free)}")
    if total > free:
        raise HairclipError(
            f"{folder} has room for {registry.megabytes(free)} of {registry.megabytes(total)}: free space, or set "
            "HAIRCLIP_HOME to a folder on another disk."
        )
    if not sys.stdin.isatty():
        raise HairclipError("nobody can be asked here whether to fetch these weights: add --yes to agree.")
    if input("Fetch them? [y/N] ").strip().lower() not in ("y", "yes"):
        raise HairclipError("nothing was fetched: answer y, or add --yes.")


def _export(options: argparse.Namespace) -> None:
    from hairclip.pretrained.loaders import load_hairclip, load_mapper
    from hairclip.pretrained.official_export import save_hairclip

    if options.to == "huggingface":
        out = Path(options.out)
        if out.is_file():
            raise HairclipError(f"--out {out} is a file: give a folder.")
        load_mapper(options.mapper).save_pretrained(out)
    else:
        save_hairclip(options.out, *load_hairclip(options.mapper))
    print(f"wrote {options.out}")
