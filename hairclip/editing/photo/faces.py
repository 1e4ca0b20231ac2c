"""Faces in photos: find them, choose among them, and judge whether they can be edited."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from PIL import Image

from hairclip.common.errors import HairclipError
from hairclip.common.framing import FFHQ, Framing, Points
from hairclip.common.names import NameTable
from hairclip.editing.photo.align import FaceSquare, face_square

__all__ = [
    "FINDERS",
    "Face",
    "FaceChoice",
    "FaceFinder",
    "as_choice",
    "check_face",
    "choose_faces",
    "describe_weaknesses",
]

FaceChoice: TypeAlias = Literal["largest", "left", "right", "all"] | int | str
"""Which faces of a photo: a word, or a number from 1, counted from left to right."""

_SMALLEST_SQUARE = 64  # pixels of a side
_MOST_OUTSIDE, _NOTED_OUTSIDE = 0.5, 0.15  # share of the square that lies beyond the photo's edges
_MOST_TURNED, _NOTED_TURNED = 1.0, 0.6  # see `Face.turned`


@dataclass(frozen=True)
class Face:
    """A face in a photo. Coordinates are in its pixels, (0, 0) is the center of the top left one.

    Attributes:
        landmarks: image-left eye, image-right eye, nose, image-left and image-right mouth corner, (5, 2) float64.
        box: left, top, right, bottom.
        confidence: probability that it is a face, in [0, 1].
    """

    landmarks: Points
    box: tuple[float, float, float, float]
    confidence: float

    def square(self, framing: Framing = FFHQ) -> FaceSquare:
        """Return the square that is cut out for this face."""
        return face_square(self.landmarks, framing)

    @property
    def turned(self) -> float:
        """How far the head is turned: 0 looks at the camera, at 1 or -1 the nose reaches an eye."""
        left, right, nose = self.landmarks[:3]
        across = right - left
        return float(2.0 * np.dot(nose - left, across) / max(float(np.dot(across, across)), 1e-9) - 1.0)

    def outside(self, photo: tuple[int, int], framing: Framing = FFHQ) -> float:
        """Return the share of its square that lies beyond the edges of a photo of that width and height."""
        corners, steps = self.square(framing).corners, (np.arange(64) + 0.5) / 64
        right, down = corners[3] - corners[0], corners[1] - corners[0]
        points = corners[0] + steps[:, None, None] * right + steps[None, :, None] * down
        inside = ((points >= -0.5) & (points <= np.array(photo) - 0.5)).all(axis=-1)
        return float(1.0 - inside.mean())


@runtime_checkable
class FaceFinder(Protocol):
    """Finds faces in pictures. A subclass needs `__call__`; the other methods may stay as they are."""

    def load(self) -> None:
        """Load networks now, so that the first photo does not wait for them."""

    def __call__(self, photo: Image.Image) -> list[Face]:
        """Return all faces of a picture of mode "RGB", in any order."""
        ...

    def refine(self, photo: Image.Image, face: Face) -> Face:
        """Return one of the faces with better landmarks, which decide where exactly the square lies."""
        return face


FINDERS: NameTable[Any] = NameTable("face finder", {"mtcnn": "hairclip.editing.photo.mtcnn:MtcnnFinder"})
"""Name -> class of a `FaceFinder`, made with a device."""


def choose_faces(faces: Sequence[Face], which: FaceChoice = "largest", name: str = "the picture") -> list[Face]:
    """Return the faces to edit.

    Args:
        faces: all faces of a photo.
        which: "largest", "left", "right", "all", or a number from 1, counted from left to right.
        name: what a message calls the photo.

    Raises:
        HairclipError: if there is no face, or none of that number.
    """
    which = as_choice(which)
    if not faces:
        raise HairclipError(
            f"no face was found in {name}: give a photo that shows one from the front. Where the picture is already "
            "cropped to the face, say so: aligned=True."
        )
    ordered = sorted(faces, key=lambda face: face.box[0] + face.box[2])
    if which == "largest":
        return [max(ordered, key=lambda face: (face.box[2] - face.box[0]) * (face.box[3] - face.box[1]))]
    if which == "all":
        return ordered
    if which in ("left", "right"):
        return [ordered[0 if which == "left" else -1]]
    if not 1 <= int(which) <= len(ordered):
        raise HairclipError(f"there is no face {which} in {name}: give 1 to {len(ordered)}, counted from the left.")
    return [ordered[int(which) - 1]]


def as_choice(which: FaceChoice) -> FaceChoice:
    """Return the word, or the whole number, that chooses faces.

    Raises:
        HairclipError: if it is neither.
    """
    if which in ("largest", "left", "right", "all"):
        return which
    try:
        return int(which)
    except (ValueError, TypeError):
        raise HairclipError(f"there is no face {which!r}: choose largest, left, right, all or a number.") from None


def check_face(face: Face, photo: tuple[int, int], name: str = "the picture", framing: Framing = FFHQ) -> None:
    """Refuse a face that cannot be edited.

    Args:
        face: the face.
        photo: width and height of the photo.
        name: what messages call the photo.
        framing: the crop that the networks were trained on.

    Raises:
        HairclipError: if the face is too small, seen from the side, or cut off by the photo's edge.
    """
    side, outside = face.square(framing).size, face.outside(photo, framing)
    if side < _SMALLEST_SQUARE:
        raise HairclipError(
            f"the face in {name} is too small, its crop has {side:.0f} pixels: give a photo in which it has "
            f"{_SMALLEST_SQUARE} or more."
        )
    if abs(face.turned) > _MOST_TURNED:
        raise HairclipError(f"the face in {name} is seen from the side: give a photo that shows both eyes.")
    beyond = (face.landmarks < -0.5).any() or (face.landmarks > np.array(photo) - 0.5).any()
    if outside > _MOST_OUTSIDE or beyond:
        raise HairclipError(
            f"the face in {name} is cut off by the photo's edge, {outside:.0%} of its crop lies outside: give a photo "
            "with room around the head."
        )


def describe_weaknesses(
    face: Face, photo: tuple[int, int], name: str = "the picture", framing: Framing = FFHQ
) -> list[str]:
    """Return a sentence for each thing about a face that will make its edit worse; arguments as of `check_face`."""
    outside = face.outside(photo, framing)
    notes = []
    if abs(face.turned) > _NOTED_TURNED:
        notes.append(f"the face in {name} is turned away: edits of faces that look at the camera are better.")
    if outside > _NOTED_OUTSIDE:
        notes.append(f"{outside:.0%} of the crop around the face in {name} lies outside the photo and was made up.")
    return notes
