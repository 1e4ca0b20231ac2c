"""Read the YAML of a run into typed models, with ``key=value`` overrides from the command line.

A model refuses unknown keys and converts no types. Every mistake of a user becomes a `HairclipError` that names the
file, the key, what is allowed there and the nearest spelling. A test holds the defaults and choices of constructors to
those of this file.
"""

from __future__ import annotations

import json
import re
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo

from hairclip.common.errors import HairclipError
from hairclip.common.names import nearest
from hairclip.common.yaml import kind_of, parse_yaml, read_yaml

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Weight = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(ge=1)]
Word = Annotated[str, Field(min_length=1)]
Precision = Literal["float32", "bfloat16", "float16"]

TRAINED_WITH = ("generator", "clip", "parser", "identity")
"""The frozen networks that training needs."""


class Section(BaseModel):
    """A part of the configuration: strict types, no unknown keys, immutable, finite numbers."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class NetworksConfig(Section):
    """The frozen networks. Each is a name such as `portraits/clip` or a file."""

    bundle: str = Field(default="portraits", description="name or file of the bundle that gives the networks left null")
    generator: str | None = Field(default=None, description="StyleGAN2 generator; null: the bundle's")
    clip: str | None = Field(default=None, description="CLIP; null: the bundle's")
    parser: str | None = Field(default=None, description="face parser, which finds the hair; null: the bundle's")
    identity: str | None = Field(default=None, description="face recognition network; null: the bundle's")
    enlarging: Literal["bilinear", "official"] = Field(
        default="bilinear",
        description="how pictures smaller than the parser or the identity network sees are enlarged while training: "
        "bilinear, or by repeating pixels as in HairCLIP",
    )
    architectures: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="constructor arguments of each network, for dry_run alone"
    )

    @model_validator(mode="after")
    def _known_architectures(self) -> NetworksConfig:
        for name in self.architectures:
            if name not in TRAINED_WITH:
                raise ValueError(f"architectures: {_unknown(name, TRAINED_WITH)}")
        return self


class DataConfig(Section):
    """The W+ codes to train on, the words of the prompts and the reference pictures."""

    latents: str = Field(
        default="portraits/latents",
        description="name or file of the W+ codes to train on; sampled: codes drawn from the generator, without any "
        "file, as the official code does where it has none",
    )
    validation_latents: str | None = Field(
        default=None,
        description="codes to validate on, in the same forms; null: the `val` split of `latents`, or other codes drawn "
        "from the generator",
    )
    sampled_count: Count = Field(default=5000, description="number of codes that `latents: sampled` draws to train on")
    sampled_validation_count: Count = Field(
        default=1000, description="number of codes that are drawn to validate on; none of them is trained on"
    )
    sampled_truncation: Probability = Field(
        default=0.7, description="factor by which drawn codes are pulled to the generator's average; 1: not at all"
    )
    hairstyles: list[Word] = Field(
        default_factory=list,
        description="hairstyles of the texts; empty: those that label the latents, else the bundle's, else all 44",
    )
    colors: list[Word] = Field(
        default_factory=list,
        description="colors of the texts; empty: those that label the latents, else the bundle's, else all 12",
    )
    hairstyle_images: str | None = Field(
        default=None,
        description="folder of hairstyle references; null: pictures made of the latents",
    )
    hairstyle_folders: str | None = Field(
        default=None,
        description="folder that holds '<hairstyle> hairstyle/' folders, for references of a hairstyle drawn by name; "
        "python -m hairclip references makes them; a hairstyle without a folder is not drawn by name",
    )
    color_images: str | None = Field(
        default=None, description="folder of color references; null: pictures made of the latents"
    )
    color_folders: str | None = Field(
        default=None,
        description="folder that holds '<color> hair/' folders, for references of a color drawn by name; python -m "
        "hairclip references makes them",
    )
    validation_hairstyle_images: str | None = Field(
        default=None, description="folder of hairstyle references for validation; null: the training's references"
    )
    validation_color_images: str | None = Field(
        default=None, description="folder of color references for validation; null: the training's references"
    )
    reference_pool: Count = Field(
        default=512, description="largest number of references taken from one folder, or made of the latents"
    )
    minimum_hair: Probability = Field(
        default=0.005,
        description="share of hair below which a color reference changes no color; HairCLIP: 0, so such a reference "
        "asks for the color of almost nothing",
    )
    cache_sources: bool = Field(
        default=False, description="keep source pictures and their features, instead of computing them at every step"
    )
    cache_budget_gb: Annotated[float, Field(gt=0.0)] | None = Field(
        default=None, description="largest size of that cache in GB; null: no limit"
    )
    cache_folder: str | None = Field(
        default=None,
        description="folder for that cache and for encoded references, which later runs use too; null: in memory",
    )
    prefetch: bool = Field(default=False, description="make the next batch while a step runs")


class TasksConfig(Section):
    """Probabilities of the training requests, HairCLIP's (section 4.1). The first four must add up to 1."""

    hairstyle: Probability = Field(default=0.5, description="a new hairstyle alone")
    color: Probability = Field(default=0.2, description="a new color alone")
    both: Probability = Field(default=0.27, description="a new hairstyle and a new color")
    none: Probability = Field(default=0.03, description="no change")
    hairstyle_text: Probability = Field(default=0.5, description="the hairstyle is a text rather than a reference")
    color_text: Probability = Field(default=0.5, description="the color is a text rather than a reference")
    hairstyle_in_domain: Probability = Field(
        default=0.5,
        description="with data.hairstyle_folders: a hairstyle reference is drawn by a hairstyle's name rather than "
        "from the other hairstyle references",
    )
    color_in_domain: Probability = Field(
        default=0.5, description="a color reference is drawn by a color's name rather than from all color references"
    )

    @model_validator(mode="after")
    def _adds_up(self) -> TasksConfig:
        total = self.hairstyle + self.color + self.both + self.none
        if abs(total - 1.0) > 1e-6:
            raise ValueError(f"hairstyle + color + both + none must be 1, but they add up to {total:g}")
        return self


class MapperConfig(Section):
    """The mapper that is trained. Its sizes come from the generator and CLIP."""

    groups: list[Count] = Field(
        default=[4, 8], min_length=2, max_length=2, description="number of the first medium and of the first fine layer"
    )
    absent: Literal["passthrough", "zero"] = Field(
        default="passthrough",
        description="an absent condition moves its layers a little, as in HairCLIP (passthrough), or not at all (zero)",
    )
    scale: Annotated[float, Field(gt=0.0)] = Field(default=0.1, description="factor on the change of the code")
    pixel_norm: Literal["layer", "feature"] = Field(
        default="layer", description="axis of the first normalization: over the layers, as in HairCLIP, or the features"
    )
    output: Literal["leaky_relu", "linear"] = Field(
        default="leaky_relu",
        description="how a sub-mapper ends: HairCLIP's leaky_relu hardly makes a code smaller; linear can",
    )
    references: Literal["whole", "separated"] = Field(
        default="whole",
        description="what CLIP sees of a reference: its hair, as in HairCLIP (whole), or its shape and its color apart",
    )
    coarse: bool = Field(default=True, description="whether there is a sub-mapper for the coarse layers")
    medium: bool = Field(default=True, description="whether there is a sub-mapper for the medium layers")
    fine: bool = Field(default=True, description="whether there is a sub-mapper for the fine layers")


class LossConfig(Section):
    """Weights of the loss terms, HairCLIP's as defaults (section 4.1), and how pictures are judged."""

    text: Weight = Field(default=2.0, description="CLIP's distance of the picture from a hairstyle's or a color's text")
    contrast: Weight = Field(
        default=0.0, description="how far CLIP's choice among all words is from the wanted word; HairCLIP has none"
    )
    image_hairstyle: Weight = Field(default=5.0, description="CLIP's distance of the hair from the reference's hair")
    image_color: Weight = Field(default=0.02, description="Lab difference of the hair's color from the reference's")
    identity: Weight = Field(default=0.3, description="how much less the face is recognized as the same person")
    maintain_color: Weight = Field(
        default=0.02, description="Lab change of the hair's color where only the hairstyle is new"
    )
    background: Weight = Field(default=1.0, description="squared change of the pixels outside the hair")
    latent: Weight = Field(default=0.8, description="squared change of the code")
    extra: dict[Word, Weight] = Field(
        default_factory=dict,
        description="weights of further terms: name, or module:function of your own (hairclip/losses/README.md)",
    )
    text_pixels: Literal["official", "normalized"] = Field(
        default="official",
        description="pixels that CLIP sees in the text terms: in [-1, 1], as in HairCLIP, or normalized",
    )
    gamma: Literal["none", "srgb"] = Field(
        default="none", description="how pixels become Lab: as if linear, as in HairCLIP, or decoded from sRGB"
    )
    resolution: Annotated[int, Field(ge=32)] | None = Field(
        default=None, description="pixels to which pictures are reduced once for all terms; null: the generator's size"
    )
    precision: Precision = Field(
        default="float32", description="precision of CLIP, parser and identity network in the losses"
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
    options: dict[str, Any] = Field(default_factory=dict, description="arguments of that class beside lr")
    lr: Annotated[float, Field(gt=0.0)] = Field(default=5e-4, description="highest learning rate")
    schedule: Literal["constant", "cosine"] = Field(
        default="constant", description="the rate after the warm-up: constant, or half a cosine down to a fiftieth"
    )
    warmup_steps: Annotated[int, Field(ge=0)] = Field(default=0, description="steps in which the rate rises from 0")
    grad_clip: Annotated[float, Field(gt=0.0)] | None = Field(
        default=None, description="largest norm of the gradient; null: no limit"
    )
    ema: Annotated[float, Field(gt=0.0, lt=1.0)] | None = Field(
        default=None, description="decay per step of a moving average of the weights; null: no average"
    )


class TrainingConfig(Section):
    """Length and speed. The keys from `precision` on change speed and memory, and results only as far as said."""

    steps: Count = Field(default=1000, description="optimizer steps")
    batch_size: Count = Field(default=16, description="samples in a step, over all processes together")
    init: str | None = Field(
        default=None,
        description="mapper to start from: a name, a file, or an official hairclip.pt; null: random weights",
    )
    teacher: str | None = Field(
        default=None,
        description="text encoder from which the mapper learns before the first step: a name or a file; null: none, as "
        "in HairCLIP",
    )
    teacher_steps: Count = Field(default=1000, description="steps of learning from the teacher; they draw no picture")
    checkpoint_every: Count = Field(default=200, description="steps between two checkpoints")
    keep_checkpoints: Count = Field(default=2, description="how many checkpoints are kept, the newest")
    precision: Precision = Field(
        default="float32", description="precision of the generator; on a CPU float32 or bfloat16; changes rounding"
    )
    float32_until: Annotated[int, Field(ge=0)] = Field(
        default=0, description="resolution up to which the generator stays in float32 whatever `precision` says"
    )
    tf32: bool = Field(
        default=False, description="float32 matrix products in TF32 on CUDA, as convolutions always; changes rounding"
    )
    compile: bool = Field(default=False, description="torch.compile of the generator; the first step takes minutes")
    cuda_graphs: bool = Field(default=False, description="with compile on CUDA: fewer launches, more memory")
    channels_last: bool = Field(default=False, description="memory layout of the frozen networks, for CUDA")
    accumulate: Count = Field(
        default=1, description="parts into which a batch is cut to save memory; the gradient is the same"
    )
    checkpoint_activations: bool = Field(
        default=False, description="compute the generator's activations twice to save memory; the gradient is the same"
    )


class ValidationConfig(Section):
    """Validation on a fixed list of requests for held-out codes, with fixed noise.

    The mapper with the lowest loss is kept as `mapper-best.safetensors` beside the latest, `mapper.safetensors`.
    """

    every: Count = Field(default=200, description="steps between two validations")
    count: Count = Field(default=64, description="requests in the list")
    batch_size: Count = Field(default=16, description="samples judged at once")
    seed: Annotated[int, Field(ge=0)] = Field(default=1234, description="seed of the list")


class LoggingConfig(Section):
    """What a run writes while it trains."""

    every: Count = Field(default=10, description="steps between two lines of metrics.jsonl")
    images_every: Count = Field(default=200, description="steps between two pictures of edits")
    image_rows: Count = Field(default=6, description="edits in such a picture")
    tensorboard: bool = Field(default=True, description="whether figures and pictures also go to TensorBoard")
    trackers: list[Word] = Field(
        default_factory=list, description="further trackers: wandb, or a class of your own as module:attribute"
    )

    @property
    def all_trackers(self) -> list[str]:
        """Names of the trackers, TensorBoard's included."""
        return [*(["tensorboard"] if self.tensorboard else []), *self.trackers]


class Config(Section):
    """A whole run."""

    name: str = Field(default="run", description="name of the run; its folder is runs/NAME")
    seed: Annotated[int, Field(ge=0)] = Field(default=0, description="seed of weights, requests and order")
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:N or mps; auto: a GPU where there is one")
    dry_run: bool = Field(
        default=False,
        description="read no files: random codes, and random networks as networks.architectures describes",
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
    """Read a YAML file, put it over its `base`, and apply overrides.

    Args:
        path: the file. Its key `base` may name another one, relative to its own folder, whose keys it changes.
        overrides: ``key=value`` each, with dotted keys and values in YAML, applied in order.

    Raises:
        HairclipError: that names the file or the override, the key, what is wrong and what is allowed.
    """
    values = _read_with_base(Path(path))
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
    """Return the whole configuration as YAML, which `load_config` reads back to the same values."""
    return yaml.safe_dump(config.model_dump(), sort_keys=False, allow_unicode=True)


def describe_keys() -> str:
    """Return every key of the YAML as tables in Markdown: type, default, description."""
    plain = {name: field for name, field in Config.model_fields.items() if not _section(field)}
    sections = {name: found for name, field in Config.model_fields.items() if (found := _section(field))}
    base = "| `base` | text or null | `null` | another YAML file, relative to this one, whose keys this one changes |"
    text = f"## The run\n\n{_table(plain)}\n{base}\n"
    for name, section in sections.items():
        summary = (section.__doc__ or "").strip().splitlines()[0]
        text += f"\n## {name}\n\n{summary}\n\n{_table(section.model_fields, prefix=f'{name}.')}\n"
    return text


def _table(fields: Mapping[str, FieldInfo], prefix: str = "") -> str:
    rows = ["| key | type | default | what it is |", "|---|---|---|---|"]
    for name, field in fields.items():
        default = json.dumps(field.get_default(call_default_factory=True)).strip('"')
        rows.append(
            f"| `{prefix}{name}` | {_type(field.annotation, field.metadata)} | `{default}` | {field.description} |"
        )
    return "\n".join(rows)


def _type(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """Return the type of a key in words, with its choices and bounds."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _type(parts[0], [bound for extra in parts[1:] for bound in getattr(extra, "metadata", [extra])])
    if origin is Literal:
        return f"one of {', '.join(map(str, parts))}"
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_type(part, metadata if part is not type(None) else ()) for part in parts)
    if origin is list:
        return f"list of {_type(parts[0])}"
    if origin is dict:
        return f"mapping to {_type(parts[1])}"
    words = {int: "whole number", float: "number", str: "text", bool: "true or false", type(None): "null"}
    signs = (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))
    bounds = [f"{sign} {getattr(bound, name):g}" for bound in metadata for name, sign in signs if hasattr(bound, name)]
    return " ".join([words.get(annotation, "values"), ", ".join(bounds)]).strip()


def _section(field: FieldInfo) -> type[Section] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


def _read_with_base(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read a file and merge it into its base. `above` are the files that have this one as a base."""
    values = read_yaml(path)
    base = values.pop("base", None)
    if base is None:
        return values
    if not isinstance(base, str):
        raise HairclipError(f"{path}: base: expected the name of a YAML file, but it is the {kind_of(base)} {base!r}.")
    if path.resolve() in above:
        raise HairclipError(f"{path}: base: this file is a base of itself: remove one of the two keys.")
    return _merged(_read_with_base(path.parent / base, (*above, path.resolve())), values)


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with the keys of `changes`, mappings merged key by key."""
    merged = dict(base)
    for key, value in changes.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _parse_override(override: str) -> tuple[tuple[str, ...], Any]:
    """Return the keys and the value of ``key.key=value``."""
    key, equals, value = override.partition("=")
    keys = tuple(key.strip().split("."))
    if not equals or not all(keys):
        raise HairclipError(
            f"command line: '{override}' is not an override; write key=value, such as optimizer.lr=1e-4."
        )
    return keys, parse_yaml(value, where=f"command line: {override}")


def _set(values: dict[str, Any], keys: tuple[str, ...], value: Any, *, override: str) -> None:
    """Set a value below nested mappings, which are made where they are missing."""
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
    """Return one sentence about the first mistake, and the number of further ones."""
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
        return f"{value!r} is not a choice here; choose {_one_of(choices)}{nearest(str(value), choices)}"
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
    return f"unknown key '{key}'{nearest(key, list(known))}; the keys here are {', '.join(known)}"


def _one_of(choices: Sequence[str]) -> str:
    return f"one of {', '.join(choices)}" if len(choices) > 1 else choices[0]


def _keys_at(location: tuple[str, ...]) -> list[str]:
    """Return the keys of the section at a path."""
    model: type[BaseModel] = Config
    for key in location:
        annotation = model.model_fields[key].annotation
        options = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
        model = next(option for option in options if isinstance(option, type) and issubclass(option, BaseModel))
    return list(model.model_fields)
