"""From the options of the command ``edit`` to an editor and its settings, and from results to what is printed."""

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hairclip.editing.photo_editor import PhotoEditor
    from hairclip.editing.photo_result import PhotoResult

__all__ = ["beside", "changed", "editing", "inverting", "photo_editor", "slug", "timing"]


def photo_editor(options: argparse.Namespace) -> "PhotoEditor":
    """An editor whose parts fit each other."""
    from hairclip.common.device import pick_device
    from hairclip.common.framing import FFHQ, PORTRAITS
    from hairclip.editing.editor import HairEditor
    from hairclip.editing.inversion.cache import InversionCache
    from hairclip.editing.photo_editor import PhotoEditor

    cache = None if options.no_cache or options.invert == "encoder" else InversionCache()
    editor = HairEditor.from_bundle(
        options.bundle, device=pick_device(options.device), mapper=options.mapper, cache=cache
    )
    return PhotoEditor(editor, framing={"auto": None, "ffhq": FFHQ, "portraits": PORTRAITS}[options.framing])


def inverting(options: argparse.Namespace) -> dict[str, Any]:
    """Options of `HairEditor.prepare`."""
    return {
        "inversion": options.invert,
        "invert_steps": options.invert_steps,
        "seed": options.seed,
        "progress": options.invert != "encoder",
    }


def editing(options: argparse.Namespace) -> dict[str, Any]:
    """Options of `HairEditor.edit_prepared`."""
    return {
        "strength": options.strength,
        "seed": options.seed,
        "method": options.method,
        "steps": options.optimize_steps,
        "blend": not options.no_blend,
        "behind": options.behind,
        "strands": options.strands,
        **({} if options.blend is None else {"seam": options.blend}),
        "progress": options.method == "optimize",
    }


def slug(words: str) -> str:
    """Words as a part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")[:40] or "edit"


def beside(path: str | Path, added: str) -> Path:
    """The path with something added to its name before the suffix."""
    return Path(path).with_name(f"{Path(path).stem}{added}{Path(path).suffix}")


def changed(result: "PhotoResult") -> str:
    """The part of a photo that an edit changed, in words."""
    width, height = result.picture.size
    if result.rectangle is None:
        return f"none of its {width} x {height} pixels changed"
    left, top, right, bottom = result.rectangle
    place = f"from ({left}, {top}) to ({right - 1}, {bottom - 1})"
    return f"of its {width} x {height} pixels, only some {place} changed"


def timing(seconds: dict[str, float]) -> str:
    """The seconds of each stage in one line."""
    stages = ", ".join(f"{stage} {spent:.2f}" for stage, spent in seconds.items())
    return f"seconds: {stages}, together {sum(seconds.values()):.2f}"
