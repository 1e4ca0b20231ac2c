"""Randomize a rendered portrait by named factors, so that a network that learns from it knows real photos.

Wood et al. 2021, "Fake It Till You Make It", show that rendered faces alone can teach what real photos need, if
everything around them varies as much as the world does.
"""

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from hairclip.common.errors import HairclipError
from hairclip.common.names import nearest
from hairclip.portraits.randomize import clothes, hair, light, occluders, sensor, skin
from hairclip.portraits.randomize.camera import STILL, compose, draw_camera, draw_placement
from hairclip.portraits.randomize.dice import Dice, Textures
from hairclip.portraits.randomize.person import Person, Picture
from hairclip.portraits.randomize.textures import make_texture
from hairclip.portraits.randomize.warp import Warp, bend_outlines, grow_hair

__all__ = ["FACTORS", "randomize_portrait"]

_ON_PERSON: dict[str, tuple[float, Callable[[Dice, Person], Person]]] = {
    "hair color": (0.5, hair.recolor_hair),
    "strands": (0.6, hair.add_strands),
    "hair shade": (0.5, hair.shade_hair),
    "skin": (0.6, skin.tint_skin),
    "beard": (0.25, skin.grow_beard),
    "clothes": (0.7, clothes.retexture_clothes),
    "glasses": (0.2, clothes.put_on_glasses),
    "hat": (0.14, clothes.put_on_hat),
    "collar": (0.3, clothes.put_on_collar),
    "scarf": (0.1, clothes.put_on_scarf),
}
_WARPS: dict[str, tuple[float, Callable[[Dice, Person], Warp]]] = {
    "hair growth": (0.5, grow_hair),
    "bend": (0.6, bend_outlines),
}
_FRAMING = {"backdrop": 0.9, "other people": 0.12, "camera": 1.0}
_ON_PICTURE: dict[str, tuple[float, Callable[[Dice, Picture], Picture]]] = {
    "things in front": (0.2, occluders.put_in_front),
    "hand": (0.12, occluders.raise_hand),
    "uneven light": (0.6, light.light_unevenly),
    "shadow": (0.3, light.cast_shadow),
    "stage light": (0.2, light.add_stage_light),
    "white balance": (0.7, sensor.balance_white),
    "exposure": (1.0, sensor.expose),
    "contrast": (0.5, sensor.contrast),
    "saturation": (0.53, sensor.saturate),
    "monochrome": (0.07, sensor.make_monochrome),
    "blur": (0.35, sensor.blur),
    "low resolution": (0.25, sensor.lower_resolution),
    "noise": (0.6, sensor.add_noise),
    "JPEG": (0.5, sensor.compress),
}

FACTORS: dict[str, float] = {
    **{name: chance for name, (chance, _) in _ON_PERSON.items()},
    **{name: chance for name, (chance, _) in _WARPS.items()},
    **_FRAMING,
    **{name: chance for name, (chance, _) in _ON_PICTURE.items()},
}
"""Everything that `randomize_portrait` changes, in its order -> how often it does so in training."""

Draw: TypeAlias = Callable[[str], Dice | None]


def randomize_portrait(
    rng: np.random.Generator,
    person: Person,
    *,
    other: Callable[[], Person] | None = None,
    textures: Textures = make_texture,
    factors: Collection[str] = tuple(FACTORS),
    always: bool = False,
) -> Picture:
    """Return a picture of a person in which everything is random.

    Each factor has random numbers of its own, so that switching one off leaves the others as they are. Without any
    factor the picture is the render, bit for bit.

    Args:
        rng: source of all random numbers.
        person: the rendered person.
        other: function that returns somebody who may stand behind; None has nobody there.
        textures: makes backdrops, clothes and hats, such as a `TextureBank`.
        factors: names from `FACTORS` that are switched on.
        always: apply each of them, instead of as often as training does.

    Returns:
        The picture with labels and coverage by hair. Pixels are in [0, 1].

    Raises:
        HairclipError: if there is no factor of a name.
    """
    for name in factors:
        if name not in FACTORS:
            raise HairclipError(f"there is no factor {name!r}{nearest(name, list(FACTORS))}: use names of FACTORS.")
    streams = dict(zip(FACTORS, rng.spawn(len(FACTORS)), strict=True))

    def draw(name: str) -> Dice | None:
        """Return the random numbers of a factor, None where it does not occur."""
        dice = Dice(streams[name], textures)
        return dice if name in factors and (dice.happens(FACTORS[name]) or always) else None

    for name, (_, change_person) in _ON_PERSON.items():
        if (dice := draw(name)) is not None:
            person = change_person(dice, person)
    picture = _frame(draw, person, other)
    for name, (_, change_picture) in _ON_PICTURE.items():
        if (dice := draw(name)) is not None:
            picture = change_picture(dice, picture)
    return replace(picture, pixels=picture.pixels.clamp(0, 1), coverage=picture.coverage.clamp(0, 1))


def _frame(draw: Draw, person: Person, other: Callable[[], Person] | None) -> Picture:
    """Return the person before a backdrop and other people, as a camera sees them."""
    warps = tuple(make(dice, person) for name, (_, make) in _WARPS.items() if (dice := draw(name)) is not None)
    backdrop, beside, camera = (draw(name) for name in ("backdrop", "other people", "camera"))
    framed = STILL if camera is None else draw_camera(camera, person)
    return compose(
        person,
        camera=None if camera is None and not warps else replace(framed, warps=warps),
        backdrop=None if backdrop is None else backdrop.texture(person.size),
        other=None if beside is None or other is None else (other(), draw_placement(beside)),
    )
