"""Faces in a photo: found by MTCNN (Zhang et al. 2016), chosen, and judged for whether they can be edited."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from PIL import Image

from hairclip.common.errors import HairclipError
from hairclip.common.framing import FFHQ, Framing, Points
from hairclip.editing.photo.align import FaceSquare, crop_face, face_square

__all__ = ["Face", "FaceChoice", "FaceFinder", "as_choice", "check_face", "choose_faces"]

FaceChoice: TypeAlias = Literal["largest", "left", "right", "all"] | int | str
"""Which faces of a photo: a word, or a number from 1, counted from left to right."""

LARGEST_SIDE = 1024
"""Photos are searched on a copy of at most this many pixels, and on one of twice that where it shows no face."""
SMALLEST_SQUARE, MOST_OUTSIDE, TOLD_OUTSIDE = 64, 0.5, 0.15
TOO_TURNED, TOLD_TURNED = 1.0, 0.6

_CERTAIN = 0.9995
"""MTCNN is as sure as this of nearly every upright face, and of no other: those it finds too, with wrong landmarks."""
_QUARTERS = {1: Image.Transpose.ROTATE_90, 2: Image.Transpose.ROTATE_180, 3: Image.Transpose.ROTATE_270}


@dataclass(frozen=True)
class Face:
    """A face in a photo; coordinates in its pixels, (0, 0) the centre of the top left one."""

    landmarks: Points
    """Image-left eye, image-right eye, nose, image-left and image-right mouth corner, (5, 2) float64."""
    box: tuple[float, float, float, float]
    """Left, top, right, bottom."""
    confidence: float

    def square(self, framing: Framing = FFHQ) -> FaceSquare:
        """The square that is cut out for it."""
        return face_square(self.landmarks, framing)

    @property
    def turned(self) -> float:
        """How far the head is turned: 0 looks at the camera, at 1 the nose reaches an eye, sign by direction."""
        left, right, nose = self.landmarks[:3]
        across = right - left
        return float(2.0 * np.dot(nose - left, across) / max(float(np.dot(across, across)), 1e-9) - 1.0)

    def outside(self, photo: tuple[int, int], framing: Framing = FFHQ) -> float:
        """Share of its square that lies beyond the edges of a photo of that width and height."""
        corners, steps = self.square(framing).corners, (np.arange(64) + 0.5) / 64
        right, down = corners[3] - corners[0], corners[1] - corners[0]
        points = corners[0] + steps[:, None, None] * right + steps[None, :, None] * down
        inside = ((points >= -0.5) & (points <= np.array(photo) - 0.5)).all(axis=-1)
        return float(1.0 - inside.mean())


class FaceFinder:
    """MTCNN's three networks, loaded when first needed; their weights come with facenet-pytorch.

    Args:
        device: where they run.
        confidence: a face of which the last network is less sure is none.
    """

    def __init__(self, device: str | torch.device = "cpu", confidence: float = 0.9) -> None:
        device = torch.device(device)
        # MPS has no adaptive pooling between sizes that do not divide each other, which MTCNN's pyramid is made by.
        self.device = torch.device("cpu") if device.type == "mps" else device
        self.confidence = confidence

    @cached_property
    def networks(self) -> Any:
        """facenet_pytorch's MTCNN."""
        from facenet_pytorch import MTCNN

        return MTCNN(keep_all=True, select_largest=False, device=self.device)

    def __call__(self, photo: Image.Image) -> list[Face]:
        """All faces of a photo, from left to right.

        A photo in which none is surely upright is searched again lying on its sides and on its head: cameras forget to
        write how they were held.
        """
        largest = max(photo.size)
        for side in (LARGEST_SIDE, 2 * LARGEST_SIDE):
            scale = min(1.0, side / largest)
            size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
            small = photo if scale == 1.0 else photo.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
            small = small if small.mode == "RGB" else small.convert("RGB")
            faces = self._any_way_up(small)
            if faces:
                faces = [_enlarged(face, photo.size, size) for face in faces]
                return sorted(faces, key=lambda face: face.box[0] + face.box[2])
            if scale == 1.0:
                break
        return []

    def centred(self, photo: Image.Image, face: Face, size: int = 256) -> Face:
        """The same face with the landmarks that it has in its own crop, upright and always of one scale.

        MTCNN places landmarks a little differently in every scale and rotation: corners of the square vary by 1.6 % of
        its side, and by 0.3 % where they are measured in the crop, as the mean over three that are turned a little.
        Returns the face as it is where the crops show none.
        """
        square = face.square()
        middle = square.corners.mean(axis=0)
        measured = []
        for angle in np.radians([0.0, 10.0, -10.0]):
            turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            turned = FaceSquare((square.corners - middle) @ turn.T + middle)
            found = self._in(crop_face(photo, turned, size, size))
            if found:
                best = min(found, key=lambda other: float(np.abs(other.landmarks.mean(axis=0) - size / 2).sum()))
                a, b, c, d, e, f = turned.coefficients(size, photo.size)
                back = np.linalg.inv(np.array([[a, b], [d, e]]))
                measured.append((best.landmarks + 0.5 - np.array([c, f])) @ back.T - 0.5)
        if not measured:
            return face
        landmarks = np.mean(measured, axis=0)
        off = float(np.abs(landmarks - face.landmarks).max())
        return Face(landmarks, face.box, face.confidence) if off < 0.15 * square.size else face

    def _any_way_up(self, picture: Image.Image) -> list[Face]:
        """Faces of the picture as it is, if one of them is certain, else those of the turn with the surest one."""
        best: list[Face] = []
        for quarters in range(4):
            turned = picture.transpose(_QUARTERS[quarters]) if quarters else picture
            faces = [_turned_back(face, quarters, picture.size) for face in self._in(turned)]
            best = max(best, faces, key=lambda faces: max((face.confidence for face in faces), default=0.0))
            if quarters == 0 and any(face.confidence > _CERTAIN for face in faces):
                break
        return best

    def _in(self, picture: Image.Image) -> list[Face]:
        """Faces of a picture as it is."""
        if min(picture.size) < 20:  # MTCNN's smallest face
            return []
        try:
            boxes, scores, points = self.networks.detect(np.array(picture), landmarks=True)
        except RuntimeError as error:
            if "non-empty list" in str(error):  # facenet-pytorch's answer where the first network proposes nothing
                return []
            raise
        if boxes is None:
            return []
        faces = []
        for box, score, landmarks in zip(boxes, scores, points, strict=True):
            if score is not None and float(score) >= self.confidence:
                left, top, right, bottom = (float(edge) for edge in box)
                faces.append(Face(np.asarray(landmarks, np.float64), (left, top, right, bottom), float(score)))
        return faces


def choose_faces(faces: Sequence[Face], which: FaceChoice = "largest", name: str = "the picture") -> list[Face]:
    """The faces to edit.

    Args:
        faces: all faces of a photo.
        which: "largest", "left", "right", "all", or a number from 1, counted from left to right.
        name: what a message calls the photo.

    Raises:
        HairclipError: if there is none, or none of that number.
    """
    which = as_choice(which)
    if not faces:
        raise HairclipError(
            f"no face was found in {name}: give a photo that shows one from the front, or --aligned where the picture "
            "is already cropped to the face."
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
    """The word or the number that names faces.

    Raises:
        HairclipError: if it is neither.
    """
    if which in ("largest", "left", "right", "all"):
        return which
    try:
        return int(which)
    except ValueError:
        raise HairclipError(f"there is no face {which!r}: choose largest, left, right, all or a number.") from None


def check_face(face: Face, photo: tuple[int, int], name: str = "the picture", framing: Framing = FFHQ) -> list[str]:
    """Refuse a face that cannot be edited, and return a sentence for each thing that will make its edit worse.

    Raises:
        HairclipError: if it is too small, seen from the side, or cut off by the photo's edge.
    """
    side, turned, outside = face.square(framing).size, abs(face.turned), face.outside(photo, framing)
    if side < SMALLEST_SQUARE:
        raise HairclipError(
            f"the face in {name} is too small, its crop has {side:.0f} pixels: give a photo in which it has "
            f"{SMALLEST_SQUARE} or more."
        )
    if turned > TOO_TURNED:
        raise HairclipError(f"the face in {name} is seen from the side: give a photo that shows both eyes.")
    beyond = (face.landmarks < -0.5).any() or (face.landmarks > np.array(photo) - 0.5).any()
    if outside > MOST_OUTSIDE or beyond:
        raise HairclipError(
            f"the face in {name} is cut off by the photo's edge, {outside:.0%} of its crop lies outside: give a photo "
            "with room around the head."
        )
    notes = []
    if turned > TOLD_TURNED:
        notes.append(f"the face in {name} is turned away: edits of faces that look at the camera are better.")
    if outside > TOLD_OUTSIDE:
        notes.append(f"{outside:.0%} of the crop around the face in {name} lies outside the photo and was made up.")
    return notes


def _turned_back(face: Face, quarters: int, size: tuple[int, int]) -> Face:
    """A face found after turning a picture of that width and height by quarters, anticlockwise, as it lies in it."""
    points = np.concatenate([face.landmarks, np.array(face.box).reshape(2, 2)])
    right, bottom = size[0] - 1.0, size[1] - 1.0
    x, y = points.T
    if quarters == 1:
        points = np.stack([right - y, x], axis=1)
    elif quarters == 2:
        points = np.stack([right - x, bottom - y], axis=1)
    elif quarters == 3:
        points = np.stack([y, bottom - x], axis=1)
    return _face(points, face.confidence)


def _enlarged(face: Face, photo: tuple[int, int], small: tuple[int, int]) -> Face:
    """A face found in a reduced copy, in pixels of the photo."""
    points = np.concatenate([face.landmarks, np.array(face.box).reshape(2, 2)])
    return _face((points + 0.5) * (np.array(photo) / np.array(small)) - 0.5, face.confidence)


def _face(points: Points, confidence: float) -> Face:
    """From five landmarks and two opposite corners of the box, (7, 2)."""
    (left, top), (right, bottom) = points[5:].min(axis=0), points[5:].max(axis=0)
    return Face(points[:5].copy(), (float(left), float(top), float(right), float(bottom)), confidence)
