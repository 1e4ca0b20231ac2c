"""The setting of a benchmark: the networks, mapper and data of a training configuration, and tasks to run on them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from hairclip.common.device import pick_device
from hairclip.common.errors import HairclipError
from hairclip.config import TRAINED_WITH, Config, load_config
from hairclip.networks.face_parser import HAIR, UNetParser
from hairclip.pretrained.mapper import HairMapper
from hairclip.training.data import Networks
from hairclip.training.setup import PRECISIONS, Parts, build_parts
from hairclip.training.tasks import Task

__all__ = ["Kind", "Setting", "build_setting"]

Kind = Literal["text", "reference", "both", "mix"]
"""Kinds of tasks: a hairstyle by text; a hairstyle by picture; a hairstyle by text and a color by picture; as training
draws them."""

_ENOUGH_HAIR = 0.05


@dataclass(frozen=True)
class Setting:
    """A configuration with the networks and the data that it describes.

    Attributes:
        config: the configuration, with the measured resolution, batch and precision.
        parts: its networks, mapper, losses and data.
        device: device of the networks.
        is_random: whether the networks have random weights.
    """

    config: Config
    parts: Parts
    device: torch.device
    is_random: bool

    def with_precision(self, name: str) -> "Setting":
        """Return the setting with another precision of the generator, a name of `PRECISIONS`; networks are shared."""
        return self._with(precision=name)

    def uncompiled(self) -> "Setting":
        """Return the setting without `training.compile`: torch cannot count the operations of compiled kernels."""
        return self._with(compile=False)

    def with_mapper(self, mapper: HairMapper) -> "Setting":
        """Return the setting with another mapper to start from; networks and data are shared."""
        return replace(self, parts=replace(self.parts, mapper=mapper))

    def _with(self, **training: Any) -> "Setting":
        changed = self.config.training.model_copy(update=training)
        return replace(self, config=self.config.model_copy(update={"training": changed}))

    @property
    def is_exact(self) -> bool:
        """Whether the step computes the same as the official step, up to the last digits of float32."""
        losses = self.config.losses
        in_float32 = self.config.training.precision == losses.precision == "float32"
        return in_float32 and losses.resolution is None

    def tasks(self, kind: Kind, count: int) -> list[Task]:
        """Return `count` tasks of one kind, of different people; the same tasks at every call."""
        if kind == "mix":
            return self.parts.sampler.sample(count, self.config.seed, 0, 0)
        sampler = self.parts.sampler
        words = [sampler.hairstyles[i % len(sampler.hairstyles)] for i in range(count)]
        tasks = []
        for number in range(count):
            latent, picture = number % sampler.latents, number % sampler.hairstyle_references
            if kind == "both":
                tasks.append(Task(latent, words[number], self._color_reference(number)))
            else:
                tasks.append(Task(latent, words[number] if kind == "text" else picture, None))
        return tasks

    def _color_reference(self, number: int) -> int:
        """Return the first reference from `number` on that shows hair: a picture without hair has no color to take."""
        references = self.parts.training.color_references
        for offset in range(len(references)):
            candidate = (number + offset) % len(references)
            if float(references[candidate].hair_share) >= _ENOUGH_HAIR:
                return candidate
        raise HairclipError("no reference picture shows hair, so no color can be taken from one: give another parser.")


def build_setting(
    path: str,
    overrides: Sequence[str] = (),
    *,
    resolution: int | None = None,
    batch: int | None = None,
    dtype: str | None = None,
    device: str = "auto",
) -> Setting:
    """Return the setting that a configuration describes.

    Networks get random weights if the configuration describes their architectures, as in a dry run. Otherwise they are
    loaded.

    Args:
        path: the YAML file of the configuration.
        overrides: changes of the configuration, each "key=value".
        resolution: height and width of the pictures in pixels; None takes the configuration's.
        batch: samples in a step; None takes the configuration's.
        dtype: a name of `PRECISIONS`; None takes the configuration's.
        device: see `hairclip.common.device.pick_device`.

    Raises:
        HairclipError: if the configuration, the sizes or the device do not go together.
    """
    if resolution is not None and (resolution < 8 or resolution & (resolution - 1)):
        raise HairclipError(f"resolution {resolution}: a generator's size is a power of two, 8 or more.")
    chosen = pick_device(device)
    config = load_config(path, overrides)
    _check_dtype(dtype or config.training.precision, chosen)
    is_random = set(TRAINED_WITH) <= set(config.networks.architectures)
    changes = [f"device={chosen}"]
    changes += [f"training.batch_size={batch}"] if batch is not None else []
    changes += [f"training.precision={dtype}"] if dtype is not None else []
    changes += ["dry_run=true"] if is_random else []
    if is_random and resolution is not None:
        changes.append(f"networks.architectures.generator.size={resolution}")
    config = load_config(path, [*overrides, *changes])
    parts = build_parts(config, chosen)
    size = parts.networks.generator.size
    if resolution not in (None, size):
        raise HairclipError(
            f"resolution {resolution}: the generator of {path} makes {size} px; others need a configuration with "
            "networks.architectures, such as configs/hairclip.yaml."
        )
    if is_random:
        _make_lifelike(parts.networks)
    return Setting(config, parts, chosen, is_random)


def _check_dtype(name: str, device: torch.device) -> None:
    """Refuse a precision that there is not, or in which the device cannot compute."""
    if name not in PRECISIONS:
        raise HairclipError(f"dtype {name}: choose one of {', '.join(PRECISIONS)}.")
    if name == "float16" and device.type != "cuda":
        raise HairclipError(f"dtype float16 needs a CUDA device, not {device}: choose bfloat16 or float32.")
    if name == "bfloat16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise HairclipError(f"dtype bfloat16 is not supported by {torch.cuda.get_device_name(device)}: take float16.")


@torch.no_grad()
def _make_lifelike(networks: Networks) -> None:
    """Bend random networks so that no term is empty: pictures in about [-1, 1] with noise, hair on half of each."""
    generator, parser = networks.generator, networks.parser
    for name, parameter in generator.named_parameters():
        if name.endswith("noise_strength"):
            parameter.fill_(0.05)
        if name.startswith("to_rgb") and name.count(".") == 2 and name.endswith("weight"):
            parameter.mul_(0.5 / len(generator.to_rgb) ** 0.5)
    if isinstance(parser, UNetParser):
        random = torch.Generator().manual_seed(0)
        z = torch.randn(1, generator.z_dim, generator=random).to(generator.constant.device)
        weight, bias = parser.final.parameters()
        weight[HAIR] *= 30
        logits = parser.logits(generator(generator.expand(generator.mapping(z))))
        others = torch.cat([logits[:, :HAIR], logits[:, HAIR + 1 :]], dim=1).amax(dim=1)
        bias[HAIR] -= (logits[:, HAIR] - others).median()
