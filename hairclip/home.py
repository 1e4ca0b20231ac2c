"""Where hairclip keeps what it fetched, built or rendered: HAIRCLIP_HOME, or a folder in the user's cache."""

import os
from pathlib import Path


def home_folder() -> Path:
    """HAIRCLIP_HOME; where it is not set, ``hairclip`` in XDG_CACHE_HOME or else in ``~/.cache``."""
    home = os.environ.get("HAIRCLIP_HOME")
    if home:
        return Path(home).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "hairclip"
