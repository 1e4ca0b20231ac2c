"""The command `python -m hairclip train`: train a mapper."""

import argparse
import os
import re
from pathlib import Path
from typing import Any

from hairclip.common.errors import HairclipError


def add_command(commands: Any) -> None:
    """Add `train` to the subcommands of a parser."""
    train = commands.add_parser("train", help="train a mapper")
    train.add_argument("--config", required=True, help="a YAML file, such as configs/portraits.yaml")
    train.add_argument("--help-config", action=_HelpConfig, help="list every key of the YAML and exit")
    train.add_argument("--out", help="folder of the run (default: runs/NAME, NAME being the config's)")
    train.add_argument(
        "--resume",
        default="auto",
        metavar="auto|never|PATH",
        help="auto (default) continues the run in --out, never starts it anew and replaces it, PATH goes on from there",
    )
    train.add_argument("overrides", nargs="*", metavar="key=value", help="for example training.steps=100")
    train.set_defaults(run=_train)


class _HelpConfig(argparse.Action):
    """Prints every key of the YAML and exits, like ``--help``."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(nargs=0, **settings)

    def __call__(self, parser: argparse.ArgumentParser, *unused: object) -> None:
        from hairclip.config import describe_keys

        print(describe_keys(), end="")
        parser.exit()


def _train(options: argparse.Namespace) -> int:
    from hairclip.common.distributed import Stopped
    from hairclip.config import load_config
    from hairclip.training.trainer import train

    config = load_config(options.config, options.overrides)
    run = Path(options.out or Path("runs") / config.name)
    try:
        mapper = train(config, run, resume=options.resume)
    except Stopped as stopped:
        return stopped.exit_code
    except HairclipError as error:
        raise HairclipError(re.sub(r'\bresume="([^"]*)"', r"--resume \1", str(error))) from None
    if os.environ.get("RANK", "0") == "0":
        print(f"mapper: {mapper}")
    return 0
