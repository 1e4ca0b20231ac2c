"""Write a stand-in for the official files: their formats, names and tensors, filled with random numbers.

    python -m tests.helpers.official_stand_in FOLDER             # 64 px: 0.2 GB, in seconds; --size 1024: 4 GB
    python -m tests.helpers.official_stand_in FOLDER --serve     # offers the files to `hairclip download`

Both print the environment variables with which hairclip takes the stand-in for the official files. FOLDER/files holds
the files, FOLDER/home/weights the same as if they had been fetched. Their pictures are noise. At 1024 px the tensors
have the names, shapes and types of the official files. Networks at 64 px have a quarter of the width and fewer layers.
"""

import argparse
import json
import math
import mmap
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pooch
import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

from hairclip.networks.stylegan2 import Generator
from hairclip.pretrained.registry import REGISTRY, WEIGHTS
from tests.golden import fill
from tests.helpers.foreign import build
from tests.helpers.local_server import Reply, Server, serving

OFFICIAL = 1024
Tensors = dict[str, Tensor]

_VOCABULARY = 49408
_CODE_SPREAD = 0.5
"""Standard deviation of the codes around their mean; that of the random generator's mapped z is about as large."""
_CONTRAST = 0.4
"""What the colors are multiplied by, so that most of them lie in [-1, 1]."""


@dataclass(frozen=True)
class Scale:
    """How large the networks are.

    Attributes:
        size: pixels of the generator's pictures, a power of two.
    """

    size: int

    @property
    def narrower(self) -> int:
        """What the widths are divided by."""
        return 1 if self.size == OFFICIAL else 4

    @property
    def w_dim(self) -> int:
        return 512 // self.narrower

    @property
    def n_latent(self) -> int:
        return 2 * int(math.log2(self.size)) - 2

    def tensors(self, recipe: str, prefix: str = "") -> Tensors:
        """Return the tensors of a recipe's file at this scale, under their official names."""
        rows = json.loads((fill.HERE / "recipes" / f"{recipe}.json").read_text())
        kept = [row for row in rows if row[0].startswith(prefix) and not self._dropped(row[0])]
        found = {key[len(prefix) :]: fill.fill(key, self._shape(shape), *rest) for key, shape, *rest in kept}
        if self.narrower > 1 and not recipe.startswith("stylegan2"):  # that divides by the width itself
            for key, tensor in found.items():
                if tensor.ndim > 1 and "embedding" not in key and "linear" not in key:
                    tensor *= math.sqrt(self.narrower)  # the deviation of weights is that of fewer inputs
        return found

    def _shape(self, shape: list[int]) -> list[int]:
        """Return a tensor's shape at this scale: sides of kernels and pictures, and the words of CLIP, stay."""
        if self.narrower == 1:
            return shape
        spatial = shape[-2:] if len(shape) >= 4 else []
        widths = shape[: len(shape) - len(spatial)]
        stay = [side == _VOCABULARY or side % self.narrower != 0 for side in widths]
        return [side if same else side // self.narrower for side, same in zip(widths, stay)] + spatial

    def _dropped(self, key: str) -> bool:
        """Whether a tensor belongs to a layer that a smaller network does not have."""
        if self.narrower == 1:
            return False
        layer = re.search(r"resblocks\.(\d+)\.", key)
        style = re.match(r"styles\.(\d+)\.", key)
        return (layer is not None and int(layer[1]) > 1) or (style is not None and int(style[1]) >= self.n_latent)


# ------------------------------------------------------------------------------------------ the files


def write_generator(path: Path, scale: Scale) -> None:
    """Write a checkpoint of rosinality's trainer: generator, its average, discriminator, average code."""
    generator = _generator(scale)
    content = {"g": generator, "g_ema": generator, "d": _discriminator(scale), "latent_avg": _average_code(scale)}
    if scale.size == OFFICIAL:  # equal tensors would be stored once
        content["g"] = {key: value.clone() for key, value in generator.items()}
    torch.save(content, path, _use_new_zipfile_serialization=False)


def write_hairclip(path: Path, scale: Scale) -> None:
    """Write HairCLIP's checkpoint: mapper and CLIP in one, with the generator as its decoder."""
    state = {f"mapper.clip_model.{key}": value for key, value in scale.tensors("clip_vit_b_32").items()}
    state |= {f"mapper.{key}": value for key, value in scale.tensors("hair_mapper").items()}
    state |= {f"decoder.{key}": value for key, value in _generator(scale).items()}
    torch.save({"state_dict": state, "opts": {"stylegan_size": scale.size, "device": "cuda:0"}}, path)


def write_clip(path: Path, scale: Scale) -> None:
    """Write CLIP as open_clip's safetensors, float32."""
    save_file({key: value.float() for key, value in scale.tensors("clip_vit_b_32").items()}, path)


def write_parser(path: Path, scale: Scale) -> None:
    """Write the U-Net of CelebAMask-HQ."""
    torch.save(Scale(OFFICIAL).tensors("parsenet"), path, _use_new_zipfile_serialization=False)


def write_identity(path: Path, scale: Scale) -> None:
    """Write IR-SE50 without counters of batches."""
    torch.save(scale.tensors("ir_se50"), path, _use_new_zipfile_serialization=False)


def write_encoder(path: Path, scale: Scale) -> None:
    """Write e4e with its decoder and the average code, one row a layer."""
    state = {f"encoder.{key}": value for key, value in scale.tensors("e4e_encoder").items()}
    state |= {f"decoder.{key}": value for key, value in _generator(scale).items()}
    opts = {"encoder_type": "Encoder4Editing", "stylegan_size": scale.size, "start_from_latent_avg": True}
    torch.save({"state_dict": state, "opts": opts, "latent_avg": _average_code(scale).repeat(scale.n_latent, 1)}, path)


def write_codes(count: int) -> Callable[[Path, Scale], None]:
    """Return a function that writes one tensor of codes."""

    def write(path: Path, scale: Scale) -> None:
        number = count if scale.size == OFFICIAL else count // 100
        codes = fill.tensor(path.name, (number, scale.n_latent, scale.w_dim), 0.0, _CODE_SPREAD)
        torch.save(codes.add_(_average_code(scale)), path)

    return write


WRITERS: dict[str, Callable[[Path, Scale], None]] = {
    "hairclip": write_hairclip,
    "stylegan2-ffhq": write_generator,
    "clip-vit-b-32": write_clip,
    "parsenet": write_parser,
    "ir-se50": write_identity,
    "e4e-ffhq": write_encoder,
    "celeba-hq-train": write_codes(24_176),
    "celeba-hq-test": write_codes(2_824),
}
"""Name of weights in hairclip's registry -> what writes their stand-in."""


def _generator(scale: Scale) -> Tensors:
    state = scale.tensors(f"stylegan2_{scale.size}")
    for key, tensor in state.items():
        if re.fullmatch(r"to_rgbs?\d?\.?\d*\.(bias|conv\.weight)", key):
            tensor *= _CONTRAST
    return state


def _average_code(scale: Scale) -> Tensor:
    """Return the mean code of the generator's z, (w_dim,)."""
    generator = build({"g_ema": _generator(scale)}, "generator")
    assert isinstance(generator, Generator)
    return generator.mean_latent(1000, torch.Generator().manual_seed(0))


def _discriminator(scale: Scale) -> Tensors:
    """Return rosinality's discriminator, 64 tensors at 1024 px. Nothing reads it; it takes its room in the file."""
    channels = {4: 512, 8: 512, 16: 512, 32: 512, 64: 512, 128: 256, 256: 128, 512: 64, 1024: 32}
    width = {side: count // scale.narrower for side, count in channels.items()}
    size, shapes = scale.size, dict[str, tuple[int, ...]]()
    shapes |= {"convs.0.0.weight": (width[size], 3, 1, 1), "convs.0.1.bias": (width[size],)}
    for block, side in enumerate((2**i for i in range(int(math.log2(size)), 2, -1)), start=1):
        here, below = width[side], width[side // 2]
        shapes |= {f"convs.{block}.conv1.0.weight": (here, here, 3, 3), f"convs.{block}.conv1.1.bias": (here,)}
        shapes |= {f"convs.{block}.conv2.0.kernel": (4, 4), f"convs.{block}.conv2.1.weight": (below, here, 3, 3)}
        shapes |= {f"convs.{block}.conv2.2.bias": (below,), f"convs.{block}.skip.0.kernel": (4, 4)}
        shapes |= {f"convs.{block}.skip.1.weight": (below, here, 1, 1)}
    last = width[4]
    shapes |= {"final_conv.0.weight": (last, last + 1, 3, 3), "final_conv.1.bias": (last,)}
    shapes |= {"final_linear.0.weight": (last, last * 16), "final_linear.0.bias": (last,)}
    shapes |= {"final_linear.1.weight": (1, last), "final_linear.1.bias": (1,)}
    return {key: fill.tensor(f"d.{key}", shape) for key, shape in shapes.items()}


# ------------------------------------------------------------------------------------------ the folder


def write_stand_in(folder: Path, size: int = 64) -> None:
    """Write all files to FOLDER/files; those that are there already are kept.

    Args:
        folder: where to write.
        size: pixels of the generator's pictures, 64 or 1024.
    """
    files, scale = folder / "files", Scale(size)
    files.mkdir(parents=True, exist_ok=True)
    for name, write in WRITERS.items():
        path = files / WEIGHTS[name].file
        if not path.exists():
            write(path.with_name("unfinished"), scale)
            path.with_name("unfinished").rename(path)


def fetched_stand_in(folder: Path, home: Path) -> dict[str, str]:
    """Put the files of `write_stand_in` into a home as if they had been fetched.

    Returns:
        The environment in which hairclip takes them for the official files, and asks no network.
    """
    (home / "weights").mkdir(parents=True, exist_ok=True)
    for path in (folder / "files").iterdir():
        if not (home / "weights" / path.name).exists():
            os.link(path, home / "weights" / path.name)
    registry = _write_registry(folder, "http://127.0.0.1:9")
    return {"HAIRCLIP_HOME": str(home), REGISTRY: str(registry), "HAIRCLIP_OFFLINE": "1"}


@contextmanager
def serving_stand_in(folder: Path, home: Path) -> Iterator[tuple[Server, dict[str, str]]]:
    """Offer the files of `write_stand_in` at a local address.

    Yields:
        The server, whose replies a test may change, and the environment in which hairclip fetches from it into `home`.
    """
    with serving() as server:
        for path in sorted((folder / "files").iterdir()):
            with path.open("rb") as file:
                content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            server.replies[f"/{path.name}"] = Reply(content)
        registry = _write_registry(folder, server.url, name=f"registry_{server.url.rpartition(':')[2]}.yaml")
        yield server, {"HAIRCLIP_HOME": str(home), REGISTRY: str(registry), "HAIRCLIP_OFFLINE": "0"}
        registry.unlink()


def _write_registry(folder: Path, address: str, name: str = "registry.yaml") -> Path:
    """Write the YAML that HAIRCLIP_REGISTRY names, with sizes and checksums of the files."""
    entries: dict[str, Mapping[str, Any]] = {}
    for weights in WRITERS:
        path = folder / "files" / WEIGHTS[weights].file
        url = f"{address}/{path.name}"
        entries[weights] = {"url": url, "size": path.stat().st_size, "sha256": _checksum(path)}
    (folder / name).write_text(yaml.safe_dump(entries, sort_keys=False))
    return folder / name


def _checksum(path: Path) -> str:
    """Return a file's SHA-256, computed once."""
    known = path.parent.parent / "checksums" / f"{path.name}.txt"
    if not known.exists():
        known.parent.mkdir(exist_ok=True)
        known.write_text(pooch.file_hash(str(path)))
    return known.read_text()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, choices=(64, OFFICIAL), default=64)
    parser.add_argument("--serve", action="store_true", help="offer the files to `hairclip download` until Ctrl-C")
    options = parser.parse_args()
    write_stand_in(options.folder, options.size)
    if not options.serve:
        _print(fetched_stand_in(options.folder, options.folder / "home"))
        return
    with (
        serving_stand_in(options.folder, options.folder / "empty_home") as (_, environment),
        suppress(KeyboardInterrupt),
    ):
        _print(environment)
        threading.Event().wait()


def _print(environment: Mapping[str, str]) -> None:
    print(*(f"export {name}={value}" for name, value in environment.items()), sep="\n", flush=True)


if __name__ == "__main__":
    main()
