"""The YAML of a run as typed models, its loader, and ``key=value`` overrides from the command line.

Every model forbids unknown keys and never converts types silently; whatever a user can get wrong ends in a
`HairclipError` that names the file, the key path, what is allowed there and the nearest spelling.
"""

from __future__ import annotations

import difflib
import re
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hairclip.common.errors import HairclipError
from hairclip.common.yaml import kind_of, parse_yaml, read_yaml

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Weight = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(ge=1)]
Word = Annotated[str, Field(min_length=1)]

TRAINED_WITH = ("generator", "clip", "parser", "identity")
"""The frozen networks that training needs."""


class Section(BaseModel):
    """Base of every part of the configuration: strict types, no unknown keys, immutable, finite numbers."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class NetworksConfig(Section):
    """The frozen networks, each a name such as ``portraits/clip`` or a file; null takes the bundle's own part."""

    bundle: str = "portraits"
    generator: str | None = None
    clip: str | None = None
    parser: str | None = None
    identity: str | None = None
    architectures: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="constructor arguments per network, read only by a dry run"
    )

    @model_validator(mode="after")
    def _known_architectures(self) -> NetworksConfig:
        for name in self.architectures:
            if name not in TRAINED_WITH:
                raise ValueError(f"architectures: {_unknown(name, TRAINED_WITH)}")
        return self


class DataConfig(Section):
    """W+ codes to train on, the words of the prompts and where reference images come from."""

    latents: str = "portraits/latents"
    validation_latents: str | None = Field(default=None, description="null: the `val` split of `latents`")
    hairstyles: list[Word] = Field(
        default_factory=list, description="empty: names labelled in the latents, else all 44"
    )
    colors: list[Word] = Field(default_factory=list, description="empty: names labelled in the latents, else all 12")
    hairstyle_images: str | None = Field(default=None, description="folder of hairstyle references; null: the latents")
    color_images: str | None = Field(default=None, description="folder of colour references; null: the latents")
    color_folders: str | None = Field(
        default=None, description="folder holding '<colour> hair/' of in-domain references"
    )
    reference_pool: Count = Field(default=512, description="how many references are drawn from (each encoded once)")
    cache_sources: bool = Field(default=False, description="keep the source image and its features")
    cache_budget_gb: Annotated[float, Field(gt=0.0)] | None = Field(
        default=None, description="largest size of that cache; what does not fit is computed anew each time"
    )
    cache_folder: str | None = Field(
        default=None,
        description="where it and encoded references lie, for later runs too; null: in memory, for this run",
    )
    prefetch: bool = Field(default=False, description="make the next batch while the step runs")


class TasksConfig(Section):
    """HairCLIP's task probabilities (section 4.1 and its published code). The first four must add up to one."""

    hairstyle: Probability = 0.5
    color: Probability = 0.2
    both: Probability = 0.27
    none: Probability = 0.03
    hairstyle_text: Probability = Field(default=0.5, description="text rather than a reference image")
    color_text: Probability = Field(default=0.5, description="text rather than a reference image")
    color_in_domain: Probability = Field(default=0.5, description="colour reference of a colour named first")

    @model_validator(mode="after")
    def _adds_up(self) -> TasksConfig:
        total = self.hairstyle + self.color + self.both + self.none
        if abs(total - 1.0) > 1e-6:
            raise ValueError(f"hairstyle + color + both + none must be 1, but they add up to {total:g}")
        return self


class MapperConfig(Section):
    """The HairMapper that is trained; its sizes come from the generator and CLIP."""

    groups: list[Count] = Field(default=[4, 8], min_length=2, max_length=2)
    absent: Literal["passthrough", "zero"] = "passthrough"
    scale: Annotated[float, Field(gt=0.0)] = 0.1
    pixel_norm: Literal["layer", "feature"] = "layer"
    output: Literal["leaky_relu", "linear"] = Field(
        default="leaky_relu", description="how a sub-mapper ends; the published activation hardly lets codes go down"
    )
    references: Literal["whole", "separated"] = Field(
        default="whole", description="what CLIP sees of reference pictures: the hair; or its shape and colour apart"
    )
    coarse: bool = True
    medium: bool = True
    fine: bool = True


class LossConfig(Section):
    """Weights of the terms, HairCLIP's as defaults (paper section 3.3)."""

    text: Weight = 2.0
    contrast: Weight = Field(default=0.0, description="what is asked rather than the other words; HairCLIP has none")
    image_hairstyle: Weight = 5.0
    image_color: Weight = 0.02
    identity: Weight = 0.3
    maintain_color: Weight = 0.02
    background: Weight = 1.0
    latent: Weight = 0.8
    extra: dict[Word, Weight] = Field(
        default_factory=dict, description="further terms: name, or module:function of your own, and weight"
    )
    text_pixels: Literal["official", "normalized"] = "official"
    gamma: Literal["none", "srgb"] = Field(default="none", description="how colours become Lab; HairCLIP: none")
    resolution: Annotated[int, Field(ge=32)] | None = Field(
        default=None, description="pixels to which pictures are reduced once for all losses; null: the generator's own"
    )
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32", description="autocast of CLIP, parser and identity network while they judge"
    )

    @property
    def weights(self) -> dict[str, float]:
        """Weight of every term by its key, the extra ones included. All numbers with a fraction here are weights."""
        return {**{key: value for key, value in self if isinstance(value, float)}, **self.extra}

    @model_validator(mode="after")
    def _once(self) -> LossConfig:
        for key in self.extra:
            if key in type(self).model_fields:
                raise ValueError(f"extra: '{key}' has a key of its own: write losses.{key}")
        return self


class OptimizerConfig(Section):
    """The optimizer of the mapper and its learning-rate schedule."""

    name: Word = Field(
        default="adam",
        description="adam, ranger (HairCLIP's), any class of torch.optim or pytorch_optimizer, or module:MyOptimizer",
    )
    options: dict[str, Any] = Field(default_factory=dict, description="arguments of its class beside lr")
    lr: Annotated[float, Field(gt=0.0)] = Field(default=5e-4, description="peak learning rate")
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    grad_clip: Annotated[float, Field(gt=0.0)] | None = Field(default=None, description="largest gradient norm")
    ema: Annotated[float, Field(gt=0.0, lt=1.0)] | None = Field(default=None, description="decay per step")


class TrainingConfig(Section):
    """How long and how fast."""

    steps: Count = 1000
    batch_size: Count = Field(default=16, description="over all processes together")
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32", description="autocast; on the CPU only bfloat16, and only in the generator"
    )
    float32_until: Annotated[int, Field(ge=0)] = Field(
        default=0, description="resolution up to which the generator stays out of autocast; costs little at 32 or less"
    )
    accumulate: Count = Field(default=1, description="parts a batch is taken in, for memory; the gradient is the same")
    checkpoint_activations: bool = Field(
        default=False, description="compute the generator's activations twice, for memory; the gradient is the same"
    )
    compile: bool = Field(default=False, description="torch.compile of the generator; takes a minute or two at first")
    cuda_graphs: bool = Field(default=False, description="with compile on a CUDA device: fewer launches, more memory")
    channels_last: bool = Field(default=False, description="weights of the frozen networks in that layout, for CUDA")
    tf32: bool = Field(default=False, description="float32 matrix products in TF32 on CUDA; convolutions always are")
    checkpoint_every: Count = 200
    keep_checkpoints: Count = 2


class ValidationConfig(Section):
    """Deterministic validation: a fixed list of tasks on held-out codes, fixed noise.

    The mapper with the lowest loss is kept as ``mapper-best.safetensors`` beside the latest, ``mapper.safetensors``.
    """

    every: Count = 200
    count: Count = 64
    batch_size: Count = 16
    seed: Annotated[int, Field(ge=0)] = 1234


class LoggingConfig(Section):
    """What a run writes while it goes."""

    every: Count = 10
    images_every: Count = 200
    image_rows: Count = 6
    tensorboard: bool = True


class Config(Section):
    """A whole run."""

    name: str = "run"
    seed: Annotated[int, Field(ge=0)] = 0
    device: str = Field(default="auto", description="auto | cpu | cuda | cuda:N | mps")
    dry_run: bool = Field(
        default=False, description="no files: random networks of `networks.architectures`, and random codes"
    )
    networks: NetworksConfig = Field(default_factory=NetworksConfig)
    data: DataConfig = Field(default_factory=DataConfig)
    tasks: TasksConfig = Field(default_factory=TasksConfig)
    mapper: MapperConfig = Field(default_factory=MapperConfig)
    losses: LossConfig = Field(default_factory=LossConfig)
    optimizer: OptimizerConfig = Field(default_factory=OptimizerConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    validation: ValidationConfig = Field(default_factory=ValidationConfig)
    logging: LoggingConfig = Field(default_factory=LoggingConfig)

    @model_validator(mode="after")
    def _can_run(self) -> Config:
        missing = [name for name in TRAINED_WITH if name not in self.networks.architectures]
        if self.dry_run and missing:
            raise ValueError(f"dry_run needs networks.architectures to describe {', '.join(missing)}")
        return self


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read one YAML file and apply ``key=value`` overrides (dotted keys, values in YAML) in order."""
    values = read_yaml(path)
    overridden: set[tuple[str, ...]] = set()
    for override in overrides:
        keys, value = _parse_override(override)
        _set(values, keys, value, override=override)
        overridden.add(keys)
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise HairclipError(_explain(error, path=path, overridden=overridden)) from None


def dump_config(config: Config) -> str:
    """The resolved configuration as YAML that `load_config` reads back to the same values."""
    return yaml.safe_dump(config.model_dump(), sort_keys=False, allow_unicode=True)


def _parse_override(override: str) -> tuple[tuple[str, ...], Any]:
    key, equals, value = override.partition("=")
    keys = tuple(key.strip().split("."))
    if not equals or not all(keys):
        raise HairclipError(
            f"command line: '{override}' is not an override; write key=value, such as optimizer.lr=1e-4."
        )
    return keys, parse_yaml(value, where=f"command line: {override}")


def _set(values: dict[str, Any], keys: tuple[str, ...], value: Any, *, override: str) -> None:
    for depth, key in enumerate(keys[:-1]):
        inner = values.setdefault(key, {})
        if inner is None:
            inner = values[key] = {}
        if not isinstance(inner, dict):
            raise HairclipError(f"command line: {override}: '{'.'.join(keys[: depth + 1])}' holds a value, not keys.")
        values = inner
    values[keys[-1]] = value


# -------------------------------------------------------------------------------------------- errors


def _explain(error: ValidationError, *, path: str | Path, overridden: set[tuple[str, ...]]) -> str:
    """One sentence about the first thing wrong, and how many more there are."""
    details = error.errors()
    first = details[0]
    location = tuple(str(part) for part in first["loc"])
    from_command_line = any(location[: len(keys)] == keys or keys[: len(location)] == location for keys in overridden)
    place = "command line" if from_command_line else str(path)
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    key = "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in location).lstrip(".")
    return f"{place}: {key + ': ' if key else ''}{_reason(first, location)}{more}."


def _reason(detail: Any, location: tuple[str, ...]) -> str:
    value, kind = detail["input"], detail["type"]
    if kind == "extra_forbidden":
        return _unknown(location[-1], _keys_at(location[:-1]))
    if kind == "literal_error":
        choices = [choice.strip("'") for choice in re.split(r", | or ", detail["ctx"]["expected"])]
        return f"{value!r} is not a choice here; choose {_one_of(choices)}{_nearest(str(value), choices)}"
    if kind.endswith("_type") or kind in ("int_from_float", "int_parsing", "float_parsing", "bool_parsing"):
        expected = {"int": "a whole number", "float": "a number", "bool": "true or false", "string": "text"}
        expected |= {"list": "a list", "dict": "a mapping of keys", "model": "a mapping of keys"}
        wanted = expected.get(kind.split("_")[0], detail["msg"])
        return f"expected {wanted}, but it is the {kind_of(value)} {value!r}"
    if kind == "value_error":
        return str(detail["ctx"]["error"])
    message = detail["msg"].replace(" after validation", "")
    return f"{message[0].lower() + message[1:]}, but it is {value!r}"


def _unknown(key: str, known: Sequence[str]) -> str:
    return f"unknown key '{key}'{_nearest(key, known)}; the keys here are {', '.join(known)}"


def _one_of(choices: Sequence[str]) -> str:
    return f"one of {', '.join(choices)}" if len(choices) > 1 else choices[0]


def _nearest(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.5)
    return f" (did you mean {close[0]}?)" if close else ""


def _keys_at(location: tuple[str, ...]) -> list[str]:
    """The keys that the section at this path has."""
    model: type[BaseModel] = Config
    for key in location:
        annotation = model.model_fields[key].annotation
        options = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
        model = next(option for option in options if isinstance(option, type) and issubclass(option, BaseModel))
    return list(model.model_fields)
