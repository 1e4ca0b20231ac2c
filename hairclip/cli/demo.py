"""The command `python -m hairclip demo`: edit photos in a web page."""

import argparse
import importlib.util
import signal
from typing import Any

from hairclip.cli.shared_arguments import DEVICE_HELP
from hairclip.common.errors import HairclipError, check_range


def add_command(commands: Any) -> None:
    """Add `demo` to the subcommands of a parser."""
    demo = commands.add_parser(
        "demo",
        help="edit photos in a web page",
        description="Serve a page on which a person edits the hair in a photo. It is reached from this computer alone "
        "unless --host says otherwise. Photos are deleted after an hour, and when the server ends.",
    )
    demo.add_argument("--port", type=int, default=7860, metavar="N", help="0 takes a free one (default 7860)")
    demo.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS", help="where to listen; 0.0.0.0 serves all networks"
    )
    demo.add_argument(
        "--bundle",
        default="auto",
        metavar="NAME",
        help="name or folder of the networks; auto (default) takes portraits for rendered people, "
        "portraits-256 where these are large, and ffhq for real photos where it is fetched",
    )
    demo.add_argument("--device", default="auto", metavar="NAME", help=DEVICE_HELP)
    demo.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    check_range("--port", options.port, 0, 65535)
    if importlib.util.find_spec("gradio") is None:
        raise HairclipError('the page needs gradio: install it with pip install "hairclip[demo]".')
    from hairclip.demo.server import start

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a service that is stopped deletes photos, too
    with start(options.port, options.host, bundle=options.bundle, device=options.device) as server:
        print(f"the page is at {server.url} (Ctrl-C ends it)", flush=True)
        server.wait()
