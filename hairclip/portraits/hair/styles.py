"""The hairstyles: how each is grown from the scalp.

Lengths are world units (about a decimeter); heights are world y (eyes 7.28, chin 6.2, top of the skull 8.48).
Ranges (low, high) are picked by the continuous parameters of `spec.HairSpec`: -1 is low and 1 is high.
"""

from __future__ import annotations

from dataclasses import dataclass

from hairclip.portraits.vocabulary import BALD

Range = tuple[float, float]


def pick(values: Range, parameter: float) -> float:
    """Return the value of a range at a number of `HairSpec`: low at -1, high at 1."""
    return values[0] + (values[1] - values[0]) * (parameter + 1) / 2


@dataclass(frozen=True)
class Style:
    """How a style grows: `groom` sends strands along the fields of `flow`, or winds them by `ropes`.

    Attributes:
        flow: where strands go: "up", "back", "crown", "part", "mohawk", "box", "ball", "spikes", "forward", "sweep",
            "bun", "ring", "rows", "ropes".
        strands, points: number of strands and points on each; width: thickness in units.
        length: strand length; ragged: relative spread of lengths.
        cut: height where strands are cut off; fringe: height where a fringe is cut off, or None.
        layer: thickness of the body of hair over the skull; lift: extra layer over the forehead.
        stiff: share of the direction kept per step; gravity: pull per step.
        guides: number of locks; clump: how far strands join their lock in [0, 1]; jitter: spread of directions.
        wave: amplitude of waves across a lock; curl: radius of corkscrews; frequency: radians per unit along.
        ridges: height of finger waves.
        tuck: how far tips turn inwards; parting: |x| of the parting at the ends of its range.
        fade: length of the hair at the sides relative to the top (1 is equal).
        tint: opacity of the scalp's color under the hair; gloss: strength of highlights.
        tone: spread of brightness between locks and strands; bright: added log brightness; shadow: how much the
            hair shades itself (1 for loose hair).
    """

    flow: str
    strands: int = 8000
    points: int = 24
    width: float = 0.026
    length: Range = (1.0, 1.2)
    ragged: float = 0.12
    cut: Range = (-9.0, -9.0)
    fringe: Range | None = None
    layer: Range = (0.10, 0.14)
    lift: float = 0.0
    stiff: float = 0.5
    gravity: float = 0.2
    guides: int = 420
    clump: float = 0.35
    jitter: float = 0.05
    wave: Range = (0.0, 0.0)
    curl: Range = (0.0, 0.0)
    frequency: Range = (5.0, 5.0)
    ridges: float = 0.0
    tuck: float = 0.0
    parting: float = 0.0
    fade: float = 1.0
    tint: float = 0.92
    gloss: float = 1.0
    tone: float = 0.10
    bright: float = 0.0
    shadow: float = 1.0

    @property
    def shaved_sides(self) -> bool:
        """Whether the hair is swept over sides of mere stubble (an undercut)."""
        return self.flow == "sweep" and self.fade < 0.3


STYLES: dict[str, Style | None] = {
    "afro": Style(
        flow="ball", strands=10000, points=30, length=(0.27, 0.42), guides=1300, clump=0.35, jitter=0.22,
        curl=(0.04, 0.055), frequency=(34.0, 34.0), gloss=0.25, width=0.022,
    ),
    "bob cut": Style(
        flow="part", strands=9000, points=28, length=(2.6, 2.8), cut=(6.48, 6.26), layer=(0.20, 0.30), stiff=0.5,
        gravity=0.24, tuck=0.5, parting=0.26, clump=0.35,
    ),
    "bowl cut": Style(
        flow="crown", strands=9000, length=(1.7, 1.8), cut=(7.20, 7.0), fringe=(7.72, 7.56), layer=(0.16, 0.24),
        gravity=0.22, clump=0.3, jitter=0.04,
    ),
    "caesar cut": Style(
        flow="forward", strands=9000, points=12, length=(0.34, 0.42), layer=(0.05, 0.08), stiff=0.45, gravity=0.05,
        clump=0.6, jitter=0.10, fade=0.4, gloss=0.8,
    ),
    "cornrows": Style(
        flow="rows", strands=0, points=64, width=0.022, tint=0.0, tone=0.08, bright=0.3, shadow=0.3,
    ),
    "crew cut": Style(
        flow="up", strands=9000, points=5, length=(0.07, 0.12), stiff=0.9, gravity=0.0, clump=0.1, jitter=0.35,
        fade=0.45, gloss=0.2, width=0.02,
    ),
    "crown braid": Style(
        flow="ring", strands=7000, length=(1.2, 1.3), layer=(0.04, 0.07), stiff=0.4, gravity=0.0, clump=0.5,
        jitter=0.03, shadow=0.7,
    ),
    "dreadlocks": Style(
        flow="ropes", strands=150, guides=150, clump=0.0, points=36, length=(1.7, 2.6), cut=(6.3, 5.6),
        layer=(0.16, 0.24), stiff=0.55, gravity=0.25, jitter=0.16, parting=0.2, width=0.026, gloss=0.6, shadow=0.7,
        bright=0.1,
    ),
    "finger waves": Style(
        flow="part", strands=7500, width=0.029, points=40, length=(1.9, 2.0), cut=(6.85, 6.65), layer=(0.10, 0.13),
        stiff=0.4, gravity=0.2, tuck=0.4, parting=0.34, clump=0.3, jitter=0.03, gloss=1.5, ridges=0.055,
        frequency=(14.0, 16.0),
    ),
    "hi-top fade": Style(
        flow="box", strands=10000, points=24, length=(0.34, 0.55), guides=1300, clump=0.35, jitter=0.09,
        curl=(0.035, 0.045), frequency=(36.0, 36.0), fade=0.1, gloss=0.25, width=0.022,
    ),
    "hime cut": Style(
        flow="part", strands=8000, width=0.028, points=30, length=(3.0, 3.2), cut=(4.9, 4.7), fringe=(7.56, 7.44),
        layer=(0.14, 0.18), gravity=0.3, clump=0.3, jitter=0.03,
    ),
    "mohawk": Style(
        flow="mohawk", strands=6500, points=14, length=(0.42, 0.56), stiff=0.8, gravity=0.0, clump=0.5, jitter=0.10,
        tint=0.0,
    ),
    "perm": Style(
        flow="part", strands=6500, width=0.03, points=48, length=(1.2, 1.5), cut=(6.4, 6.2), layer=(0.34, 0.46),
        gravity=0.16, guides=300, clump=0.9, jitter=0.2, curl=(0.055, 0.075), frequency=(19.0, 16.0), parting=0.2,
    ),
    "pixie cut": Style(
        flow="sweep", strands=9000, points=18, length=(0.55, 0.75), cut=(6.85, 6.75), layer=(0.12, 0.18), stiff=0.5,
        gravity=0.10, clump=0.75, jitter=0.20, guides=260, fade=0.55, ragged=0.3,
    ),
    "ringlets": Style(
        flow="part", strands=6500, width=0.03, points=56, length=(2.2, 2.8), cut=(5.5, 5.2), layer=(0.30, 0.42),
        stiff=0.55, gravity=0.24, guides=110, clump=0.95, jitter=0.12, curl=(0.085, 0.10), frequency=(13.0, 12.0),
        parting=0.25,
    ),
    "slicked-back": Style(
        flow="back", strands=9000, points=22, length=(1.1, 1.4), cut=(6.9, 6.8), layer=(0.08, 0.12), lift=0.18,
        stiff=0.45, gravity=0.08, clump=0.9, jitter=0.03, guides=150, gloss=2.0,
    ),
    "spiky hair": Style(
        flow="spikes", strands=8000, points=12, length=(0.38, 0.55), stiff=0.95, gravity=0.0, guides=110, clump=0.97,
        jitter=0.25, fade=0.45, ragged=0.1,
    ),
    "undercut": Style(
        flow="sweep", strands=9000, points=20, length=(0.9, 1.1), layer=(0.16, 0.22), lift=0.2, stiff=0.55,
        gravity=0.05, clump=0.6, jitter=0.06, guides=200, fade=0.05, gloss=1.2,
    ),
    "updo": Style(
        flow="bun", strands=8000, shadow=0.5, length=(1.2, 1.6), layer=(0.05, 0.09), stiff=0.4, gravity=0.0,
        clump=0.5, jitter=0.03,
    ),
    "long straight": Style(
        flow="part", strands=9000, points=34, length=(3.2, 3.6), cut=(5.2, 4.8), layer=(0.13, 0.19), gravity=0.3,
        parting=0.3,
    ),
    "long wavy": Style(
        flow="part", strands=7500, width=0.03, points=44, length=(3.2, 3.6), cut=(5.2, 4.8), layer=(0.24, 0.34),
        gravity=0.25, guides=260, clump=0.75, jitter=0.07, wave=(0.09, 0.13), frequency=(6.0, 7.5), parting=0.3,
    ),
    BALD: None,
}  # fmt: skip
