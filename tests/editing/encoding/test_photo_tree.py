"""Photos in folders of folders, and in the layouts of known data sets."""

import os
import sys
from pathlib import Path

import pytest

from hairclip.common.errors import HairclipError
from hairclip.editing.encoding.photo_tree import find_photos


def make(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def test_photos_of_all_folders_are_found_in_natural_order(tmp_path: Path):
    make(
        tmp_path,
        "10.jpg",
        "2.JPG",
        "a/1.png",
        "a b/x.webp",
        ".hidden.png",
        ".git/y.png",
        "notes.txt",
        "a/.thumbs/1.png",
    )
    make(tmp_path, "2/1.png", "010.jpg")
    assert find_photos(tmp_path).names == ["2/1.png", "2.JPG", "010.jpg", "10.jpg", "a/1.png", "a b/x.webp"]


def test_the_layout_of_ffhq_gives_each_person_once(tmp_path: Path):
    numbers = ("00000/00000.png", "00000/00999.png", "01000/01000.png")
    make(tmp_path, *(f"images1024x1024/{name}" for name in numbers), "images1024x1024/00000/LICENSE.txt")
    make(tmp_path, *(f"thumbnails128x128/{name}" for name in numbers), "in-the-wild-images/00000/00000.png")
    found = find_photos(tmp_path)
    assert found.names == [f"images1024x1024/{name}" for name in numbers]
    assert sorted(found.left_out) == [
        "in-the-wild-images holds the people of images1024x1024 once more.",
        "thumbnails128x128 holds the people of images1024x1024 once more.",
    ]
    assert find_photos(tmp_path / "images1024x1024").names == list(numbers)
    assert find_photos(tmp_path / "in-the-wild-images").names == ["00000/00000.png"]


def test_the_layout_of_celebamask_hq_gives_no_masks(tmp_path: Path):
    root = tmp_path / "data" / "CelebAMask-HQ"
    make(root, "CelebA-HQ-img/0.jpg", "CelebA-HQ-img/2.jpg", "CelebA-HQ-img/10.jpg", "CelebA-HQ-to-CelebA-mapping.txt")
    make(root, "CelebAMask-HQ-mask-anno/0/00000_hair.png", "CelebAMaskHQ-mask/0.png", "CelebAMask-HQ-mask-color/0.png")
    for folder, start in ((tmp_path / "data", "CelebAMask-HQ/"), (root, "")):
        found = find_photos(folder)
        assert found.names == [f"{start}CelebA-HQ-img/{name}.jpg" for name in (0, 2, 10)]
        assert len(found.left_out) == 3
        assert f"{start}CelebAMask-HQ-mask-anno holds masks, not photos." in found.left_out


def test_the_layout_of_celeba_hq_is_a_folder_like_others(tmp_path: Path):
    make(tmp_path, "train/female/000002.jpg", "train/male/000012.jpg", "val/male/000001.jpg")
    assert len(find_photos(tmp_path).names) == 3


@pytest.mark.skipif(sys.platform == "win32", reason="makes links")
def test_links_to_folders_are_followed_once_and_never_in_circles(tmp_path: Path):
    make(tmp_path / "in", "a/1.jpg", "2.jpg")
    make(tmp_path / "far", "3.jpg")
    (tmp_path / "in" / "far").symlink_to(tmp_path / "far")
    (tmp_path / "in" / "a" / "up").symlink_to(tmp_path / "in")
    (tmp_path / "far" / "again").symlink_to(tmp_path / "in" / "a")
    found = find_photos(tmp_path / "in")
    assert found.names == ["2.jpg", "a/1.jpg", "far/3.jpg"]
    assert found.left_out == [
        f"a/up is the folder {tmp_path / 'in'} once more.",
        "far/again is the folder a once more.",
    ]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser reads everything")
def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path):
    make(tmp_path, "a/1.jpg", "2.jpg")
    (tmp_path / "a").chmod(0)
    found = find_photos(tmp_path)
    (tmp_path / "a").chmod(0o700)
    assert (found.names, found.unreadable) == (
        ["2.jpg"],
        {"a": "cannot be read (Permission denied): check its rights."},
    )


def test_a_folder_without_photos_is_refused(tmp_path: Path):
    make(tmp_path, "notes.txt", "empty.jpg/notes.txt")
    with pytest.raises(HairclipError, match="there is no picture in the folder"):
        find_photos(tmp_path)
    with pytest.raises(HairclipError, match="notes.txt is a file: give a folder"):
        find_photos(tmp_path / "notes.txt")
    with pytest.raises(HairclipError, match="nowhere is not there: give a folder"):
        find_photos(tmp_path / "nowhere")
