"""Serve the page of `python -m hairclip demo` as a Hugging Face Space, whose environment says where to listen."""

import os

from hairclip.cli.main import main

if __name__ == "__main__":
    host, port = os.environ.get("GRADIO_SERVER_NAME", "0.0.0.0"), os.environ.get("GRADIO_SERVER_PORT", "7860")
    raise SystemExit(main(["demo", "--host", host, "--port", port]))
