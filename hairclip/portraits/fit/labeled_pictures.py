"""Pictures whose hairstyle, color and labels are known: what networks that paint pixels learn from.

The generator makes most of them from labeled codes. Half of those take their fine layers, and so their color, from
another code: few codes give many pictures. Rendered quads add what the generator does not paint, sharp strands.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from hairclip.common.errors import HairclipError
from hairclip.common.face_labels import HAIR
from hairclip.common.images import Images, Masks, WPlus, from_uint8, resize_area, to_uint8
from hairclip.common.progress import progress_bar
from hairclip.networks.face_parser import FaceParser
from hairclip.networks.stylegan2 import Generator
from hairclip.portraits.fit.data import read_shard
from hairclip.portraits.fit.mixture import FIRST_FINE
from hairclip.portraits.vocabulary import BALD
from hairclip.pretrained.bundle import Networks
from hairclip.pretrained.loaders import Source, load_latent_labels, load_latents
from hairclip.pretrained.weight_files import read_safetensors, write_safetensors

__all__ = ["LabeledPictures", "generate_pictures", "labeled_pictures", "rendered_pictures"]

Rows: TypeAlias = Sequence[int] | np.ndarray | Tensor | slice
"""Which pictures of a set are meant."""

_KIND = "labeled pictures"


@dataclass(frozen=True)
class LabeledPictures:
    """Square pictures of one size with what they show.

    Attributes:
        pixels: (N, 3, size, size), sRGB.
        labels: (N, size, size), CelebAMask-HQ ids.
        hairstyles: N names.
        colors: N names. Bald heads have one too, which nobody sees.
    """

    pixels: UInt8[Tensor, "count 3 size size"]
    labels: UInt8[Tensor, "count size size"]
    hairstyles: tuple[str, ...]
    colors: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.pixels)

    def images(self, rows: Rows) -> Images:
        """Return some pictures, (B, 3, size, size) in [-1, 1]."""
        return self.pixels[rows].float() / 127.5 - 1

    def hair(self, rows: Rows) -> Masks:
        """Return where some pictures show hair, (B, 1, size, size)."""
        return self.labels[rows][:, None] == HAIR

    def joined(self, other: "LabeledPictures") -> "LabeledPictures":
        """Return these pictures followed by others of the same size."""
        return LabeledPictures(
            torch.cat([self.pixels, other.pixels]),
            torch.cat([self.labels, other.labels]),
            self.hairstyles + other.hairstyles,
            self.colors + other.colors,
        )

    def save(self, path: Path) -> None:
        """Write the pictures to a safetensors file."""
        names = json.dumps({"hairstyle": self.hairstyles, "color": self.colors})
        tensors = {"pixels": self.pixels, "labels": self.labels}
        write_safetensors(path, tensors, {"hairclip_kind": _KIND, "names": names})

    @classmethod
    def load(cls, path: Path) -> "LabeledPictures":
        """Read what `save` wrote.

        Raises:
            HairclipError: if the file holds something else.
        """
        metadata, tensors = read_safetensors(path)
        if metadata.get("hairclip_kind") != _KIND:
            raise HairclipError(f"{path} holds no {_KIND}: delete it, so that they are made again.")
        names = json.loads(metadata["names"])
        return cls(tensors["pixels"], tensors["labels"], tuple(names["hairstyle"]), tuple(names["color"]))


@torch.no_grad()
def generate_pictures(
    generator: Generator,
    parser: FaceParser,
    codes: WPlus,
    hairstyles: Sequence[str],
    colors: Sequence[str],
    *,
    count: int,
    seed: int = 0,
    batch: int = 32,
    progress: bool = False,
) -> LabeledPictures:
    """Return pictures of labeled codes. Every second one takes its fine layers and its color from another code.

    Args:
        generator: makes the pictures.
        parser: finds their labels.
        codes: M codes (M, n_latent, w_dim).
        hairstyles: their hairstyles. A bald code lends its color to no other.
        colors: their hair colors.
        count: number of pictures. Each code is used about equally often.
        seed: of the order and of the exchange.
        batch: pictures that are made together.
        progress: show a progress bar.
    """
    random = np.random.default_rng([seed, 8])
    turns = [random.permutation(len(codes)) for _ in range(-(-count // len(codes)))]
    shapes = np.concatenate(turns)[:count]
    lenders = np.flatnonzero(np.array(hairstyles) != BALD)
    shades = np.where(np.arange(count) % 2 == 0, shapes, random.choice(lenders, count))
    device = next(generator.parameters()).device
    pixels, labels = [], []
    for first in progress_bar(range(0, count, batch), label="making pictures", show=progress):
        shape, shade = shapes[first : first + batch], shades[first : first + batch]
        mixed = torch.cat([codes[shape, :FIRST_FINE], codes[shade, FIRST_FINE:]], dim=1)
        images = from_uint8(to_uint8(generator(mixed.to(device)))).to(device)  # labels belong to what is kept
        pixels.append(_to_pixels(images))
        labels.append(parser.labels(images).byte().cpu())
    return LabeledPictures(
        torch.cat(pixels),
        torch.cat(labels),
        tuple(hairstyles[i] for i in shapes),
        tuple(colors[i] for i in shades),
    )


def rendered_pictures(folder: Path, size: int) -> LabeledPictures:
    """Return the portraits of a folder that the command `render-portraits --quads` wrote.

    Args:
        folder: where the quads are.
        size: height and width of the pictures in pixels. Quads are this large or an integer times larger.

    Raises:
        HairclipError: if the folder holds no quads of such a size, or if one of the files is damaged.
    """
    pixels, labels, hairstyles, colors = [], [], [], []
    for shard in sorted(folder.glob("*.npz")):
        images, classes, metadata = read_shard(shard)
        side = images.shape[-2]
        if side % size:
            raise HairclipError(f"{shard} holds pictures of {side} px, and {size} px or a multiple of it is needed.")
        step = side // size
        small = resize_area(from_uint8(images.reshape(-1, *images.shape[3:])), size)
        pixels.append(_to_pixels(small))
        flat = classes.reshape(-1, side, side)[:, step // 2 :: step, step // 2 :: step]
        labels.append(torch.from_numpy(np.ascontiguousarray(flat)))
        portraits = [portrait for quad in metadata for head in quad for portrait in head]
        hairstyles += [portrait["hair"]["style"] for portrait in portraits]
        colors += [portrait["color"]["name"] for portrait in portraits]
    if not pixels:
        raise HairclipError(
            f"no rendered quads in {folder}: render some with `python -m hairclip render-portraits --quads` first."
        )
    return LabeledPictures(torch.cat(pixels), torch.cat(labels), tuple(hairstyles), tuple(colors))


def labeled_pictures(
    path: Path,
    networks: Networks,
    latents: Source,
    *,
    count: int = 6400,
    quads: Path | None = None,
    seed: int = 0,
    progress: bool = False,
) -> LabeledPictures:
    """Return the pictures of a file. If there is no such file, make the pictures and write it.

    Args:
        path: the file, ending in ".safetensors".
        networks: generator and parser.
        latents: labeled codes. Only those of the split "train" are used, where splits are known.
        count: number of the generator's pictures.
        quads: folder of rendered quads, whose pictures follow those of the generator; None for none.
        seed: of the generator's pictures.
        progress: show a progress bar.

    Raises:
        HairclipError: if the latents have no names of hairstyles and colors.
    """
    if path.exists():
        return LabeledPictures.load(path)
    names = load_latent_labels(latents)
    if not isinstance(names, dict) or not {"hairstyle", "color"} <= names.keys():
        raise HairclipError(f"{latents} names no hairstyles and colors of its codes: give labeled latents.")
    splits = names.get("split") or ["train"] * len(names["color"])
    chosen = [row for row, split in enumerate(splits) if split == "train"]
    made = generate_pictures(
        networks.generator,
        networks.parser,
        load_latents(latents)[chosen],
        [names["hairstyle"][row] for row in chosen],
        [names["color"][row] for row in chosen],
        count=count,
        seed=seed,
        progress=progress,
    )
    if quads is not None:
        made = made.joined(rendered_pictures(quads, made.pixels.shape[-1]))
    made.save(path)
    return made


def _to_pixels(images: Images) -> UInt8[Tensor, "count 3 size size"]:
    return torch.from_numpy(to_uint8(images)).movedim(-1, 1).contiguous()
