"""What a portrait shows, as numbers: the input of a generator in training.

The renderer's parameters say who is seen, how lit, in which hairstyle and hair color (as in Dosovitskiy et al. 2015,
"Learning to Generate Chairs"), so that styles and colors are well apart in the generator's codes from the start.
Principal components of a *sketch*, the small picture with its hair cut out and the hair's outline beside it, say what
is where, whatever the hair's color: a generator that reads them learns faster.
"""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from hairclip.common.face_labels import HAIR
from hairclip.common.images import Latents
from hairclip.portraits.fit.data import Quads, images_at, labels_at
from hairclip.portraits.spec import PortraitSpec
from hairclip.portraits.vocabulary import BACKGROUNDS, CLOTHES, STYLE_NAMES

VARIATIONS = ("length", "volume", "parting", "curl", "fringe")
POSE = ("yaw", "pitch", "roll", "smile", "mouth_open", "brows_up", "eyes_closed")
LIGHT = ("light_azimuth", "light_elevation", "light_strength", "light_warmth", "fill", "rim", "ambient")
FACE = ("male", "age", "weight", "beard", "freckles", "lipstick", "brow_thickness", "brow_height", "brow_arch")
TINTS = ("skin", "eye", "lip_color", "brow_color")
SKETCH_PIXELS = 32
_TINY = 1e-6


def quad_traits(
    quads: Quads, *, sketch_components: int = 160, shape_components: int = 48
) -> Float[Tensor, "portraits traits"]:
    """Return one row per portrait: components of its sketch, the strongest first, then parameters, the hair color last.

    Sketch components keep their natural scale, so that what fills the picture weighs most; parameters have a spread of
    about one.

    Args:
        sketch_components: how many of the sketch's principal components.
        shape_components: how many of those of the morph targets' weights.
    """
    specs = [PortraitSpec.from_dict(p) for quad in quads.metadata for row in quad for p in row]
    names = sorted({name for spec in specs for name in spec.identity.shape})
    shapes = np.array([[spec.identity.shape.get(name, 0.0) for name in names] for spec in specs], np.float32)
    chunks = np.array_split(np.arange(len(specs)), max(1, len(specs) // 256))
    sketches = torch.cat([_sketch(quads, chunk) for chunk in chunks]).numpy()
    shape = _components(shapes, shape_components)
    columns = [
        _components(sketches, sketch_components),
        shape / np.sqrt(shape.std(0) + _TINY),
        _standard(np.array([_numbers(spec) for spec in specs], np.float32)),
        np.stack([_hair(spec) for spec in specs]),
        _standard(_display(np.array([spec.color.rgb for spec in specs], np.float32))),
    ]
    return torch.from_numpy(np.concatenate(columns, axis=1).astype(np.float32))


class TraitCoder(nn.Module):
    """Traits to latents w: a linear map, and what a small perceptron adds.

    It begins as the strongest components of the sketch, as they are, with a little of every other trait.
    """

    def __init__(self, traits: int, w_dim: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(traits, w_dim)
        nn.init.normal_(self.linear.weight, std=0.3 * w_dim**-0.5)
        with torch.no_grad():
            self.linear.weight += torch.eye(w_dim, traits)
        self.correction = nn.Sequential(nn.Linear(traits, width), nn.LeakyReLU(0.2), nn.Linear(width, w_dim))

    def forward(self, traits: Float[Tensor, "batch traits"]) -> Latents:
        return (self.linear(traits) + self.correction(traits)).float()


def _sketch(quads: Quads, index: np.ndarray) -> Float[Tensor, "portraits values"]:
    device = torch.device("cpu")
    images, hair = images_at(quads, index, device), (labels_at(quads, index, device) == HAIR)[:, None].float()
    factor = max(1, quads.size // SKETCH_PIXELS)
    return torch.cat([F.avg_pool2d(images * (1 - hair), factor), F.avg_pool2d(hair, factor)], dim=1).flatten(1)


def _numbers(spec: PortraitSpec) -> list[float]:
    person, scene = spec.identity, spec.scene
    values = [float(getattr(person, name)) for name in FACE] + [float(getattr(scene, name)) for name in POSE + LIGHT]
    for name in TINTS:
        values += _display(np.array(getattr(person, name), np.float32)).tolist()
    values += _display(np.array(scene.clothes_color, np.float32)).tolist()
    values += [person.lipstick * value for value in person.lip_color] + [scene.neckline]
    values += [float(scene.clothes == name) for name in CLOTHES]
    return values + [float(scene.background == name) for name in BACKGROUNDS]


def _hair(spec: PortraitSpec) -> np.ndarray:
    """Return a table with a row per style, flattened: the portrait's own row holds its variations, the others 0."""
    table = np.zeros((len(STYLE_NAMES), 1 + len(VARIATIONS)), np.float32)
    row = [2.0, *(getattr(spec.hair, name) for name in VARIATIONS)]
    table[STYLE_NAMES.index(spec.hair.style)] = row
    return table.ravel()


def _components(values: np.ndarray, count: int, sample: int = 4000) -> np.ndarray:
    """Return coordinates along the strongest principal components of a sample, in units of the third one's spread."""
    chosen = np.random.default_rng(0).permutation(len(values))[:sample]
    mean = values[chosen].mean(0)
    _, spread, directions = np.linalg.svd(values[chosen] - mean, full_matrices=False)
    unit = spread[min(2, len(spread) - 1)] / len(chosen) ** 0.5 + _TINY
    return (values - mean) @ directions[:count].T / unit


def _standard(values: np.ndarray) -> np.ndarray:
    return (values - values.mean(0)) / (values.std(0) + _TINY)


def _display(linear: np.ndarray) -> np.ndarray:
    """Return about how bright linear light looks."""
    return np.clip(linear, 0, None) ** (1 / 2.2)
