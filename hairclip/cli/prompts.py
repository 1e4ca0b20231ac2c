"""The command `python -m hairclip prompts`: say how texts about hair are understood."""

import argparse
import json
from typing import Any

from hairclip.conditions.prompts import read_request


def add_command(commands: Any) -> None:
    """Add `prompts` to the subcommands of a parser."""
    prompts = commands.add_parser(
        "prompts",
        help="say how texts about hair are understood, as JSON",
        description="Print what each text asks for, as one line of JSON. No network is loaded.",
    )
    prompts.add_argument("texts", nargs="+", metavar="TEXT", help="what a person may ask for, in English or Chinese")
    prompts.add_argument(
        "--bundle",
        help="name or path of a bundle: leave out what its networks cannot do, and say so. Without it, every word of "
        "the vocabulary counts, and any color on any part of the hair",
    )
    prompts.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    known: dict[str, Any] = {"any_color": True}
    if options.bundle is not None:
        from hairclip.pretrained.bundle import load_bundle

        words = load_bundle(options.bundle).known_words()
        known = {"hairstyles": words.hairstyles, "colors": words.colors, "free": words.hairstyles is None}
    for text in options.texts:
        print(json.dumps(read_request(text, **known).as_dict(), ensure_ascii=False))
