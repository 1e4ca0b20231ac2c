"""The commands of ``python -m hairclip`` about weight files: download, export, doctor."""

import argparse
from pathlib import Path
from typing import Any

from hairclip.common.errors import HairclipError
from hairclip.pretrained import registry


def add_command(commands: Any) -> None:
    """Add ``download``, ``export`` and ``doctor`` to the subcommands of a parser."""
    download = commands.add_parser(
        "download",
        help="fetch weights of other projects",
        description="Fetch weights by name into the cache (HAIRCLIP_HOME, else ~/.cache/hairclip); without a name, "
        "list them with their licences.",
    )
    download.add_argument("names", nargs="*", metavar="NAME", help="such as hairclip or stylegan2-ffhq")
    download.add_argument("--all", action="store_true", help="everything that the list names")
    download.add_argument(
        "--from-file", metavar="PATH", help="a file fetched by hand for the one NAME: verify, keep it"
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

    doctor = commands.add_parser("doctor", help="say what is there and what is missing, or what a weight file is")
    doctor.add_argument("--file", help="a weight file, or a name such as portraits/generator: say what it is")
    doctor.add_argument("--config", action="append", default=[], help="look at this YAML instead of the shipped ones")
    doctor.set_defaults(run=_doctor)


def _download(options: argparse.Namespace) -> None:
    from hairclip.pretrained.download import adopt, obtain

    weights = list(registry.WEIGHTS.values()) if options.all else [registry.find(name) for name in options.names]
    if options.from_file is not None:
        if len(weights) != 1:
            raise HairclipError(f"--from-file {options.from_file}: give the one NAME whose file it is.")
        print(adopt(weights[0], Path(options.from_file)))
        return
    if not weights:
        print(registry.table())
        return
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


def _doctor(options: argparse.Namespace) -> None:
    if options.file is None:
        from hairclip.cli.doctor import examine

        examine(options.config)
        return
    from hairclip.pretrained.inspect import describe_file
    from hairclip.pretrained.sources import resolve

    print("\n".join(describe_file(resolve(options.file))))
