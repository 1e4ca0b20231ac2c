"""Find faces with MTCNN (Zhang et al. 2016, "Joint Face Detection and Alignment"), as facenet-pytorch has it."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from hairclip.common.framing import Points
from hairclip.editing.photo.align import FaceSquare
from hairclip.editing.photo.faces import Face, FaceFinder

__all__ = ["MtcnnFinder"]

_LARGEST_SIDE = 1024
"""Photos are searched on a copy of at most this many pixels, and on one of twice that where it shows no face."""
_CERTAIN = 0.9995
"""MTCNN is as sure as this of nearly every upright face, and of no other. It finds others too, with wrong landmarks."""
_QUARTERS = {1: Image.Transpose.ROTATE_90, 2: Image.Transpose.ROTATE_180, 3: Image.Transpose.ROTATE_270}


class MtcnnFinder(FaceFinder):
    """MTCNN's three networks, loaded when they are first needed. Their weights come with facenet-pytorch.

    Args:
        device: where the networks run.
        confidence: the least probability of a face, in [0, 1].
    """

    def __init__(self, device: str | torch.device = "cpu", confidence: float = 0.9) -> None:
        device = torch.device(device)
        # MPS has no adaptive pooling between sizes that do not divide each other; MTCNN's pyramid is made with it.
        self.device = torch.device("cpu") if device.type == "mps" else device
        self.confidence = confidence

    @cached_property
    def networks(self) -> Any:
        """The MTCNN of facenet_pytorch."""
        from facenet_pytorch import MTCNN

        return MTCNN(keep_all=True, select_largest=False, device=self.device)

    def load(self) -> None:
        """Load the networks now."""
        _ = self.networks

    def __call__(self, photo: Image.Image) -> list[Face]:
        """Return all faces of a photo, from left to right.

        Cameras may not have written how they were held. A photo without a certainly upright face is therefore searched
        again lying on its sides and on its head.
        """
        largest = max(photo.size)
        for side in (_LARGEST_SIDE, 2 * _LARGEST_SIDE):
            scale = min(1.0, side / largest)
            size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
            small = photo if scale == 1.0 else photo.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
            small = small if small.mode == "RGB" else small.convert("RGB")
            faces = self._find_any_way_up(small)
            if faces:
                faces = [_enlarge(face, photo.size, size) for face in faces]
                return sorted(faces, key=lambda face: face.box[0] + face.box[2])
            if scale == 1.0:
                break
        return []

    def refine(self, photo: Image.Image, face: Face) -> Face:
        """Return the face with the landmarks that MTCNN finds in its own crop, upright and of one scale.

        MTCNN places landmarks a little differently in every scale and rotation, so the corners of the square vary by
        1.6 % of its side. Measured in the crop, as the mean over three slightly rotated ones, they vary by 0.3 %.
        The face is returned unchanged if its crops show none.
        """
        size, square = 256, face.square()
        around = _Surroundings.of(photo, square, 2 * size)
        middle = square.corners.mean(axis=0)
        measured = []
        for angle in np.radians([0.0, 10.0, -10.0]):
            turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            corners = (square.corners - middle) @ turn.T + middle
            found = self._find_upright(around.cut(corners, size))
            if found:
                best = min(found, key=lambda other: float(np.abs(other.landmarks.mean(axis=0) - size / 2).sum()))
                ways = np.stack([corners[3] - corners[0], corners[1] - corners[0]]) / size
                measured.append(corners[0] + (best.landmarks + 0.5) @ ways)
        if not measured:
            return face
        landmarks = np.mean(measured, axis=0)
        off = float(np.abs(landmarks - face.landmarks).max())
        return Face(landmarks, face.box, face.confidence) if off < 0.15 * square.size else face

    def _find_any_way_up(self, picture: Image.Image) -> list[Face]:
        """Return the faces of the picture as it is if one is certain, else those of the turn with the surest face."""
        best: list[Face] = []
        for quarters in range(4):
            turned = picture.transpose(_QUARTERS[quarters]) if quarters else picture
            faces = [_turn_back(face, quarters, picture.size) for face in self._find_upright(turned)]
            best = max(best, faces, key=lambda faces: max((face.confidence for face in faces), default=0.0))
            if quarters == 0 and any(face.confidence > _CERTAIN for face in faces):
                break
        return best

    def _find_upright(self, picture: Image.Image) -> list[Face]:
        """Return the faces of a picture as it is."""
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


@dataclass(frozen=True)
class _Surroundings:
    """The part of a photo around a face, reduced. Beyond the photo its borders are mirrored.

    `crop_face` blurs and fades such borders, as generators know them. That takes a second, and no landmark needs it.

    Attributes:
        picture: mode "RGB".
        origin: where the upper left corner of the picture lies in the photo, in pixels from the photo's corner.
        scale: pixels of the picture per pixel of the photo, across and down.
    """

    picture: Image.Image
    origin: Float[np.ndarray, " 2"]
    scale: Float[np.ndarray, " 2"]

    @classmethod
    def of(cls, photo: Image.Image, square: FaceSquare, side: int) -> "_Surroundings":
        """Return what turned versions of a square may show, with at most `side` pixels for the square's side."""
        middle, reach, size = square.corners.mean(axis=0) + 0.5, 0.72 * square.size, np.array(photo.size)
        low = np.floor(middle - reach).astype(int).clip(0, size - 1)
        high = np.ceil(middle + reach).astype(int).clip(low + 1, size)
        width, height = (max(1, round(float(length))) for length in (high - low) * min(1.0, side / square.size))
        box = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
        part = photo.resize((width, height), Image.Resampling.BILINEAR, box=box, reducing_gap=2.0).convert("RGB")
        scale = np.array([width, height]) / (high - low)
        before, after = (
            np.ceil(one.clip(0) * scale).astype(int) for one in (low - (middle - reach), middle + reach - high)
        )
        pixels = np.pad(np.asarray(part), ((before[1], after[1]), (before[0], after[0]), (0, 0)), "symmetric")
        return cls(Image.fromarray(pixels), low - before / scale, scale)

    def cut(self, corners: Points, size: int) -> Image.Image:
        """Return a turned square of the photo at `size` pixels; its corners count from the first pixel's center."""
        quad = tuple(float(value) for value in ((corners + 0.5 - self.origin) * self.scale).ravel())
        return self.picture.transform((size, size), Image.Transform.QUAD, quad, Image.Resampling.BILINEAR)


def _turn_back(face: Face, quarters: int, size: tuple[int, int]) -> Face:
    """Return where a face lies in a picture, found after that picture was turned.

    Args:
        face: in pixels of the turned picture.
        quarters: quarter turns, counterclockwise.
        size: width and height of the picture before it was turned.
    """
    points = np.concatenate([face.landmarks, np.array(face.box).reshape(2, 2)])
    right, bottom = size[0] - 1.0, size[1] - 1.0
    x, y = points.T
    if quarters == 1:
        points = np.stack([right - y, x], axis=1)
    elif quarters == 2:
        points = np.stack([right - x, bottom - y], axis=1)
    elif quarters == 3:
        points = np.stack([y, bottom - x], axis=1)
    return _as_face(points, face.confidence)


def _enlarge(face: Face, photo: tuple[int, int], small: tuple[int, int]) -> Face:
    """Return a face that was found in a reduced copy, in pixels of the photo; both sizes are width and height."""
    points = np.concatenate([face.landmarks, np.array(face.box).reshape(2, 2)])
    return _as_face((points + 0.5) * (np.array(photo) / np.array(small)) - 0.5, face.confidence)


def _as_face(points: Points, confidence: float) -> Face:
    """Return the face of five landmarks and two opposite corners of its box, (7, 2)."""
    (left, top), (right, bottom) = points[5:].min(axis=0), points[5:].max(axis=0)
    return Face(points[:5].copy(), (float(left), float(top), float(right), float(bottom)), confidence)
