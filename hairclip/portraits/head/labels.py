"""Tell which part of a person each pixel shows, with the ids of CelebAMask-HQ."""

from __future__ import annotations

import numpy as np

from hairclip.common.face_labels import CELEBAMASK_CLASSES
from hairclip.portraits.drawing.raster import ByteArray, FloatArray
from hairclip.portraits.drawing.scene import smoothstep
from hairclip.portraits.head.mesh import BODY, EYE, TEETH
from hairclip.portraits.head.skin import LIP_LINE, Surface, mouth_mask

# Left and right as seen in the image.
SKIN, NOSE, LEFT_EYE, RIGHT_EYE = map(CELEBAMASK_CLASSES.index, ("skin", "nose", "l_eye", "r_eye"))
LEFT_BROW, RIGHT_BROW, LEFT_EAR, RIGHT_EAR = map(CELEBAMASK_CLASSES.index, ("l_brow", "r_brow", "l_ear", "r_ear"))
MOUTH, UPPER_LIP, LOWER_LIP = map(CELEBAMASK_CLASSES.index, ("mouth", "u_lip", "l_lip"))
NECK, CLOTH = map(CELEBAMASK_CLASSES.index, ("neck", "cloth"))


def body_labels(surface: Surface, cloth: FloatArray) -> ByteArray:
    """Return the CelebAMask-HQ ids (N,) of the body pixels."""
    x, y, z = surface.rest.T
    left = x < 0  # the person's right side is on the left of the image
    body = surface.part == BODY
    out = np.full(len(x), SKIN, np.uint8)
    out[body & (surface.face < 0.45) & (y < 6.75) & (z < 1.4) & (y - 0.55 * z < 6.35)] = NECK
    out[body & (surface.ears > 0.4) & left] = LEFT_EAR
    out[body & (surface.ears > 0.4) & ~left] = RIGHT_EAR
    width = 0.09 + 0.12 * smoothstep(7.15, 6.95, y)
    out[body & (np.abs(x) < width) & (y > 6.84) & (y < 7.3) & (z > 1.36) & (surface.face > 0.5)] = NOSE
    out[(mouth_mask(surface)) | (surface.part == TEETH)] = MOUTH
    out[body & (surface.lips > 0.5) & (y >= LIP_LINE)] = UPPER_LIP
    out[body & (surface.lips > 0.5) & (y < LIP_LINE)] = LOWER_LIP
    out[(surface.part == EYE) & left] = LEFT_EYE
    out[(surface.part == EYE) & ~left] = RIGHT_EYE
    out[cloth > 0.5] = CLOTH
    return out


def majority(labels: ByteArray, factor: int) -> ByteArray:
    """Return the most frequent label of each block of factor x factor pixels: (H, W) to (H / factor, W / factor)."""
    counts = np.zeros((len(CELEBAMASK_CLASSES), labels.shape[0] // factor, labels.shape[1] // factor), np.uint8)
    for i in range(factor):
        for j in range(factor):
            block = labels[i::factor, j::factor]
            for label in range(len(CELEBAMASK_CLASSES)):
                counts[label] += block == label
    return counts.argmax(0).astype(np.uint8)
