"""Describe what a portrait shows: person, scene, hairstyle and hair color, each sampled from one seed.

All specs are frozen dataclasses of plain numbers and strings, which JSON can hold (`to_dict`, `from_dict`). Colors and
lights are linear RGB.
"""

from __future__ import annotations

import colorsys
import hashlib
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np

from hairclip.common.errors import HairclipError
from hairclip.portraits.vocabulary import (
    BACKGROUNDS,
    CLOTHES,
    COLOR_NAMES,
    COLORS,
    DARK_EYES,
    FACE_OUTLINES,
    LIGHT_EYES,
    NARROW_AXES,
    NATURAL_COLORS,
    SKIN_TONES,
    STYLE_NAMES,
    WIDE_AXES,
    Rgb,
)

Split = Literal["train", "val", "test"]
Poses = Literal["narrow", "wide"]
"""How far scenes vary: as portraits that a generator can learn, or as snapshots do."""


@dataclass(frozen=True)
class IdentitySpec:
    """A person: everything that stays when light, expression and hair change.

    Attributes:
        seed: seed that the person was sampled from.
        male: 0 is a woman, 1 a man.
        age: 0 is young, 1 old.
        weight: 0 is thin, 1 heavy.
        ancestry: shares of African, Asian and Caucasian, which sum to 1.
        shape: weights of MakeHuman's morph targets, by name.
        skin: color of the skin, linear RGB.
        eye: color of the iris, linear RGB.
        lip_color: color of the lipstick, linear RGB.
        lipstick: how much of it there is, in [0, 1].
        brow_color: color of brows and beard, linear RGB.
        brow_thickness: thickness of the brows, 1 is thick.
        brow_height: shift of the brows upwards, in world units.
        brow_arch: how far brows are arched, about in [-0.2, 1].
        beard: density of the beard, in [0, 1].
        freckles: strength of freckles, in [0, 1].
        hairline: shift of the hairline, around 0.
        peak: height of a widow's peak, around 0.
    """

    seed: int
    male: float
    age: float
    weight: float
    ancestry: tuple[float, float, float]
    shape: dict[str, float]
    skin: Rgb
    eye: Rgb
    lip_color: Rgb
    lipstick: float
    brow_color: Rgb
    brow_thickness: float
    brow_height: float
    brow_arch: float
    beard: float
    freckles: float
    hairline: float
    peak: float


@dataclass(frozen=True)
class SceneSpec:
    """Pose, expression, light, background and clothes.

    Attributes:
        seed: seed that the scene was sampled from.
        yaw: turn of the head in radians.
        pitch: nod in radians.
        roll: tilt in radians.
        smile: weight of the smile, in [0, 1].
        mouth_open: how far the mouth is open, in [0, 1].
        brows_up: how far brows are raised; negative lowers them.
        eyes_closed: how far eyes are closed, in [0, 1].
        light_azimuth: direction of the key light around the head, in radians; 0 is the front.
        light_elevation: its height, in radians.
        light_strength: its radiance.
        light_warmth: more red and less blue; negative cools it.
        fill: strength of the light from the other side.
        rim: strength of the light from behind.
        ambient: strength of the light from everywhere.
        background: one of `vocabulary.BACKGROUNDS`.
        background_colors: its two colors, linear RGB.
        clothes: one of `vocabulary.CLOTHES`.
        clothes_color: their color, linear RGB.
        neckline: depth of the neckline, in [0, 1].
        frame_scale: side of the picture as a multiple of the portraits' square around the face.
    """

    seed: int
    yaw: float
    pitch: float
    roll: float
    smile: float
    mouth_open: float
    brows_up: float
    eyes_closed: float
    light_azimuth: float
    light_elevation: float
    light_strength: float
    light_warmth: float
    fill: float
    rim: float
    ambient: float
    background: str
    background_colors: tuple[Rgb, Rgb]
    clothes: str
    clothes_color: Rgb
    neckline: float
    frame_scale: float = 1.0


@dataclass(frozen=True)
class HairSpec:
    """A hairstyle by name, and its variation within the style.

    Attributes:
        style: one of `vocabulary.STYLE_NAMES`.
        length: -1 is the style's shortest, 1 its longest; the other numbers run over the style's ranges alike.
        volume: thickness of the body of hair.
        parting: side of the parting.
        curl: tightness of waves and curls.
        fringe: height of the fringe.
    """

    style: str
    length: float = 0.0
    volume: float = 0.0
    parting: float = 0.0
    curl: float = 0.0
    fringe: float = 0.0

    @property
    def strand_seed(self) -> int:
        """Seed of the strand layout, one per style: the same texture in head space for everyone, to be learned."""
        return stable_seed("strands", self.style) % 2**32


@dataclass(frozen=True)
class HairColor:
    """A shade of a named hair color.

    Attributes:
        name: one of `vocabulary.COLOR_NAMES`.
        rgb: the shade, linear RGB.
    """

    name: str
    rgb: Rgb


@dataclass(frozen=True)
class PortraitSpec:
    """Everything that `render_portrait` needs.

    Attributes:
        identity: who is seen.
        scene: pose, expression, light, background and clothes.
        hair: the hairstyle.
        color: the hair color.
        seed: seed that the portrait was sampled from.
    """

    identity: IdentitySpec
    scene: SceneSpec
    hair: HairSpec
    color: HairColor
    seed: int = field(default=0)

    def to_dict(self) -> dict[str, Any]:
        """Return a dictionary that JSON can hold; `from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> PortraitSpec:
        """Return the spec of a dictionary that `to_dict` made, directly or through JSON."""
        try:
            return cls(
                identity=IdentitySpec(**_tuples(data["identity"])),
                scene=SceneSpec(**_tuples(data["scene"])),
                hair=HairSpec(**data["hair"]),
                color=HairColor(**_tuples(data["color"])),
                seed=data["seed"],
            )
        except (KeyError, TypeError) as error:
            raise HairclipError(f"This is no portrait spec ({error}): write it with `to_dict`.") from error


def _tuples(data: dict[str, Any]) -> dict[str, Any]:
    """Return a dictionary whose lists are tuples again; JSON makes lists of them."""
    return {key: _as_tuple(value) for key, value in data.items()}


def _as_tuple(value: Any) -> Any:
    return tuple(_as_tuple(item) for item in value) if isinstance(value, list | tuple) else value


def stable_seed(*parts: int | str) -> int:
    """Return a 63-bit seed made of numbers and names, the same on every machine and Python."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def split_of(identity_seed: int) -> Split:
    """Return the split of a person, by a hash of the identity's seed: 90 % train, 5 % val, 5 % test."""
    bucket = stable_seed("split", identity_seed) % 100
    return "train" if bucket < 90 else "val" if bucket < 95 else "test"


def _rng(*parts: int | str) -> np.random.Generator:
    return np.random.default_rng(stable_seed(*parts))


def _rgb(values: Any) -> Rgb:
    red, green, blue = (round(float(value), 5) for value in values)
    return (red, green, blue)


def _number(value: Any) -> float:
    """Return a rounded number, so that specs are short in JSON and the same after a round trip."""
    return round(float(value), 5)


def _macro_shape(male: float, age: float, weight: float, ancestry: tuple[float, float, float]) -> dict[str, float]:
    """Return the weights of MakeHuman's macro targets for ancestry, gender, age and weight."""
    shape: dict[str, float] = {}
    builds = (
        ("minweight", max(0.0, 1 - 2 * weight)),
        ("averageweight", 1 - abs(2 * weight - 1)),
        ("maxweight", max(0.0, 2 * weight - 1)),
    )
    for gender, gender_weight in (("female", 1 - male), ("male", male)):
        for stage, stage_weight in (("young", 1 - age), ("old", age)):
            both = gender_weight * stage_weight
            for name, share in zip(("african", "asian", "caucasian"), ancestry, strict=True):
                shape[f"{name}-{gender}-{stage}"] = share * both
            for build, share in builds:
                shape[f"universal-{gender}-{stage}-averagemuscle-{build}"] = share * both
    for side in ("left", "right"):
        shape[f"eye-{side}-opened-up"] = 0.25 + 0.45 * ancestry[1]  # the base mesh looks sleepy
        shape[f"eye-{side}-closure"] = -0.05 - 0.22 * ancestry[1]
    return shape


def _face_shape(rng: np.random.Generator) -> dict[str, float]:
    """Return random weights of the local morph targets, the same on both sides."""
    shape: dict[str, float] = {}
    for table, spread in ((WIDE_AXES, 0.18), (NARROW_AXES, 0.10)):
        for axis in table.replace("\n", "").split("|"):
            name, negative, positive = axis.split()
            value = float(np.clip(rng.normal(0, spread), -0.6, 0.6))
            target = f"{name}-{positive if value > 0 else negative}"
            shape[target] = abs(value)
            if target.startswith("l-"):
                shape["r-" + target[2:]] = abs(value)
    for outline in FACE_OUTLINES:
        if rng.random() < 0.3:
            shape[outline] = rng.uniform(0, 0.4)
    return shape


def sample_identity(seed: int) -> IdentitySpec:
    """Return a person with gender, age, ancestry and face at random."""
    rng = _rng("identity", seed)
    male = rng.uniform(0.0, 0.12) if rng.random() < 0.5 else rng.uniform(0.85, 1.0)
    age = float(np.clip(rng.normal(0.15, 0.3), 0, 0.9)) if rng.random() < 0.6 else 0.0
    weight = float(np.clip(rng.normal(0.45, 0.18), 0.05, 0.95))
    african, asian, caucasian = (float(share) for share in rng.dirichlet([0.45] * 3))
    shape = _macro_shape(male, age, weight, (african, asian, caucasian)) | _face_shape(rng)
    tone = float(np.clip(african * 4.3 + asian * 1.4 + caucasian * 0.6 + rng.normal(0, 0.5), 0, 4.99))
    low, high = np.array(SKIN_TONES[int(tone)]), np.array(SKIN_TONES[int(tone) + 1])
    skin = (low + (high - low) * (tone % 1)) * (1 + rng.normal(0, 0.03, 3))
    eyes = LIGHT_EYES if tone < 2 else DARK_EYES
    natural = NATURAL_COLORS[int(rng.choice(3, p=[0.35, 0.45, 0.2]))] if tone < 2 else "black"
    brow_rgb = np.array(COLORS[natural][0]) * (1 - 0.5 * rng.random()) * 0.5 + 0.006
    return IdentitySpec(
        seed=seed,
        male=_number(male),
        age=_number(age),
        weight=_number(weight),
        ancestry=_rgb((african, asian, caucasian)),
        shape={name: _number(value) for name, value in shape.items() if abs(value) > 1e-3},
        skin=_rgb(skin),
        eye=_rgb(eyes[int(rng.choice(len(eyes)))]),
        lip_color=_rgb((0.8, 0.18 + 0.16 * rng.random(), 0.2 + 0.2 * rng.random())),
        lipstick=_number(rng.uniform(0.15, 1.0) * (1 - male) + 0.03),
        brow_color=_rgb(brow_rgb),
        brow_thickness=_number(rng.uniform(0.55, 1.0) * (0.55 + 0.5 * male)),
        brow_height=_number(rng.normal(0, 0.012)),
        brow_arch=_number(rng.uniform(-0.2, 1)),
        beard=_number(rng.uniform(0.15, 1.0) if male > 0.6 and rng.random() < 0.5 else 0.0),
        freckles=_number(rng.random() ** 2 if tone < 1.6 and rng.random() < 0.4 else 0.0),
        hairline=_number(rng.normal(0, 0.05)),
        peak=_number(rng.normal(0, 0.04)),
    )


def _hsv(rng: np.random.Generator, saturation: tuple[float, float], value: tuple[float, float]) -> Rgb:
    """Return a random color within ranges of saturation and displayed value, as linear RGB."""
    display = colorsys.hsv_to_rgb(rng.random(), rng.uniform(*saturation), rng.uniform(*value))
    return _rgb(np.array(display) ** 2.2)


def sample_scene(seed: int, poses: Poses = "narrow") -> SceneSpec:
    """Return pose, expression, light, background and clothes at random.

    Args:
        seed: seed of all of it.
        poses: "narrow" turns the head by at most 20 degrees, in soft light, in the portraits' square. "wide" turns it
            by up to 63 degrees, in light from hard to none and from any side, in frames up to 1.75 times as large.
    """
    scene = _narrow_scene(seed)
    return scene if poses == "narrow" else _widen(scene)


def _widen(scene: SceneSpec) -> SceneSpec:
    """Return a scene with another pose, light and frame at random; the rest stays."""
    rng = _rng("wide scene", scene.seed)
    return replace(
        scene,
        yaw=_number(rng.uniform(-1.1, 1.1)),
        pitch=_number(np.clip(rng.normal(0.1, 0.17), -0.3, 0.5)),
        roll=_number(rng.normal(0, 0.1)),
        light_azimuth=_number(rng.uniform(-2.4, 2.4)),
        light_elevation=_number(rng.uniform(-0.2, 1.3)),
        light_strength=_number(rng.uniform(1.2, 3.2)),
        fill=_number(rng.uniform(0.0, 0.6)),
        rim=_number(rng.uniform(0, 1)),
        ambient=_number(rng.uniform(0.15, 0.8)),
        frame_scale=_number(rng.uniform(0.9, 1.75)),
    )


def _narrow_scene(seed: int) -> SceneSpec:
    rng = _rng("scene", seed)
    smile = float(np.clip(rng.normal(0.45, 0.35), 0, 1))
    background = _hsv(rng, (0.05, 0.45), (0.25, 0.8))
    partner = _hsv(rng, (0.05, 0.45), (0.2, 0.85))
    return SceneSpec(
        seed=seed,
        yaw=_number(np.clip(rng.normal(0, 0.16), -0.35, 0.35)),
        pitch=_number(0.11 + np.clip(rng.normal(0, 0.06), -0.13, 0.13)),
        roll=_number(np.clip(rng.normal(0, 0.03), -0.08, 0.08)),
        smile=_number(smile),
        mouth_open=_number(rng.uniform(0.1, 0.5) * smile if rng.random() < 0.35 else 0.0),
        brows_up=_number(np.clip(rng.normal(0.15, 0.25), -0.2, 0.8)),
        eyes_closed=_number(np.clip(rng.normal(0.0, 0.05), 0, 0.12)),
        light_azimuth=_number(rng.uniform(-1.1, 1.1)),
        light_elevation=_number(rng.uniform(0.25, 0.9)),
        light_strength=_number(rng.uniform(1.7, 2.4)),
        light_warmth=_number(np.clip(rng.normal(0, 0.05), -0.12, 0.12)),
        fill=_number(rng.uniform(0.2, 0.45)),
        rim=_number(rng.uniform(0.15, 0.5)),
        ambient=_number(rng.uniform(0.38, 0.62)),
        background=BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))],
        background_colors=(background, partner),
        clothes=CLOTHES[int(rng.integers(len(CLOTHES)))],
        clothes_color=_hsv(rng, (0.0, 0.6), (0.12, 0.85)),
        neckline=_number(rng.uniform(0, 1)),
    )


def sample_hair(style: str, seed: int) -> HairSpec:
    """Return a variation of a named hairstyle."""
    if style not in STYLE_NAMES:
        raise HairclipError(f"Unknown hairstyle {style!r}: choose one of {', '.join(STYLE_NAMES)}.")
    rng = _rng("hair", style, seed)
    length, volume, parting, curl, fringe = (_number(value) for value in rng.uniform(-1, 1, 5))
    return HairSpec(style=style, length=length, volume=volume, parting=parting, curl=curl, fringe=fringe)


def sample_color(name: str, seed: int) -> HairColor:
    """Return a shade of a named hair color."""
    if name not in COLORS:
        raise HairclipError(f"Unknown hair color {name!r}: choose one of {', '.join(COLOR_NAMES)}.")
    rng = _rng("color", name, seed)
    base, (hue_jitter, saturation_jitter, stops) = COLORS[name]
    hue, saturation, value = colorsys.rgb_to_hsv(*base)
    hue = (hue + rng.uniform(-hue_jitter, hue_jitter)) % 1
    saturation = float(np.clip(saturation * (1 + rng.uniform(-saturation_jitter, saturation_jitter)), 0, 1))
    value = min(value * 2 ** rng.uniform(-stops, stops), 0.95)
    return HairColor(name=name, rgb=_rgb(colorsys.hsv_to_rgb(hue, saturation, value)))


def sample_portrait(seed: int, poses: Poses = "narrow") -> PortraitSpec:
    """Return a whole portrait at random; styles and colors are uniform. `poses` as in `sample_scene`."""
    rng = _rng("portrait", seed)
    style = STYLE_NAMES[int(rng.integers(len(STYLE_NAMES)))]
    color = COLOR_NAMES[int(rng.integers(len(COLOR_NAMES)))]
    return PortraitSpec(
        identity=sample_identity(stable_seed("portrait", "identity", seed)),
        scene=sample_scene(stable_seed("portrait", "scene", seed), poses),
        hair=sample_hair(style, stable_seed("portrait", "hair", seed)),
        color=sample_color(color, stable_seed("portrait", "color", seed)),
        seed=seed,
    )
