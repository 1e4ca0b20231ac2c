"""Find the photos of a folder and of its folders, also in the layouts of FFHQ, CelebA-HQ and CelebAMask-HQ."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from hairclip.common.errors import HairclipError
from hairclip.common.image_files import PICTURE_SUFFIXES

__all__ = ["PhotoTree", "find_photos"]

_MASKS = re.compile(r"celebamask-?hq-mask", re.IGNORECASE)
"""Begins the names of the folders in which CelebAMask-HQ, and its own scripts, keep masks."""
_FFHQ = "images1024x1024"
_COPIES_OF_FFHQ = ("thumbnails128x128", "in-the-wild-images")


@dataclass
class PhotoTree:
    """The photos of a folder.

    Attributes:
        folder: the folder.
        names: paths of the photos inside the folder, with "/" between their parts. Numbers in them count as numbers:
            2.jpg comes before 10.jpg.
        left_out: one sentence for each folder inside that was not searched, because it holds no photos of its own.
        unreadable: path of a folder inside -> why it could not be searched, one sentence.
    """

    folder: Path
    names: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)


def find_photos(folder: Path) -> PhotoTree:
    """Return the photos of a folder and of all folders inside, links to folders included.

    Names that begin with a dot are passed over. A folder that can be reached in two ways is searched once.

    Raises:
        HairclipError: if there is no such folder, it cannot be read, or it holds no photo.
    """
    if not folder.is_dir():
        told = "is a file" if folder.exists() else "is not there"
        raise HairclipError(f"the folder of photos {folder} {told}: give a folder.")
    tree = PhotoTree(folder)
    _search(tree, "", {})
    if "" in tree.unreadable:
        raise HairclipError(f"the folder {folder} {tree.unreadable['']}")
    if not tree.names and not tree.unreadable:
        raise HairclipError(f"there is no picture in the folder {folder}: give one of JPEG, PNG or WebP files.")
    tree.names.sort(key=_in_natural_order)
    return tree


def _search(tree: PhotoTree, inside: str, seen: dict[tuple[int, int], str]) -> None:
    """Add the photos of one folder to the tree.

    Args:
        tree: what was found so far.
        inside: the folder's path inside the tree, "" for the tree itself.
        seen: device and number of each folder that was searched -> its path inside the tree.
    """
    try:
        status = os.stat(tree.folder / inside)
        identity = (status.st_dev, status.st_ino)
        if identity in seen:
            tree.left_out.append(f"{inside} is the folder {seen[identity] or tree.folder} once more.")
            return
        seen[identity] = inside
        with os.scandir(tree.folder / inside) as entries:
            found = sorted((entry.name, entry.is_dir()) for entry in entries if not entry.name.startswith("."))
    except OSError as error:
        tree.unreadable[inside] = f"cannot be read ({error.strerror or error}): check its rights."
        return
    folders = [name for name, is_folder in found if is_folder]
    for name, is_folder in found:
        path = f"{inside}/{name}" if inside else name
        if not is_folder:
            if os.path.splitext(name)[1].lower() in PICTURE_SUFFIXES:
                tree.names.append(path)
        elif _MASKS.match(name):
            tree.left_out.append(f"{path} holds masks, not photos.")
        elif name in _COPIES_OF_FFHQ and _FFHQ in folders:
            tree.left_out.append(f"{path} holds the people of {_FFHQ} once more.")
        else:
            _search(tree, path, seen)


def _in_natural_order(name: str) -> list[tuple[str, int, str]]:
    """Return a key that sorts names by their parts, and numbers inside them by value."""
    parts = re.findall(r"(\D*)(\d*)", name.replace("/", "\0"))
    return [(text, int(number or -1), number) for text, number in parts]
