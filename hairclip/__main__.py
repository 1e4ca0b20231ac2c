"""Run the command line: ``python -m hairclip COMMAND``."""

import sys

from hairclip.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
