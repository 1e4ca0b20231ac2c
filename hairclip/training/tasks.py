"""Draw the requests of a training: which edit each sample asks for, with HairCLIP's probabilities.

What is drawn follows from a few seed numbers alone, so a resumed run draws what the uninterrupted one would have drawn.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

__all__ = ["Task", "TaskSampler", "Wanted"]

Wanted: TypeAlias = str | int | None
"""A name of the vocabulary (text), the number of a reference, or nothing."""


@dataclass(frozen=True)
class Task:
    """One training request.

    Attributes:
        latent: number of the source code.
        hairstyle: what the hairstyle is to become.
        color: what the color is to become.
    """

    latent: int
    hairstyle: Wanted
    color: Wanted


@dataclass(frozen=True)
class TaskSampler:
    """Draws tasks with HairCLIP's probabilities (section 4.1 and its published code).

    Attributes:
        latents: number of source codes.
        hairstyles: names that hairstyle texts are drawn from.
        colors: names that color texts are drawn from.
        hairstyle_references: number of hairstyle references, the first ones, that are drawn whatever they show.
        color_references: number of color references, the first ones, that are drawn whatever color they show.
        references_of_hairstyle: hairstyle name -> numbers of the references that show it.
        references_of_color: color name -> numbers of the references that show it.
        hairstyle: probability of a new hairstyle alone.
        color: probability of a new color alone.
        both: probability of both.
        none: probability of neither; the four add up to 1.
        hairstyle_text: probability that a hairstyle is a text rather than a reference.
        color_text: probability that a color is a text rather than a reference.
        hairstyle_in_domain: the same as `color_in_domain` for hairstyles.
        color_in_domain: probability that a color reference is drawn by first drawing a color's name, then one of the
            references that show it. Without such references all are drawn from the first `color_references`.
    """

    latents: int
    hairstyles: Sequence[str]
    colors: Sequence[str]
    hairstyle_references: int
    color_references: int
    references_of_hairstyle: Mapping[str, Sequence[int]] = field(default_factory=dict)
    references_of_color: Mapping[str, Sequence[int]] = field(default_factory=dict)
    hairstyle: float = 0.5
    color: float = 0.2
    both: float = 0.27
    none: float = 0.03
    hairstyle_text: float = 0.5
    color_text: float = 0.5
    hairstyle_in_domain: float = 0.5
    color_in_domain: float = 0.5

    def sample(self, count: int, *seed: int) -> list[Task]:
        """Draw `count` tasks. The same seed numbers, for example a run's seed and a step, give the same tasks."""
        random = np.random.default_rng(seed)
        return [self._one(random) for _ in range(count)]

    def _one(self, random: np.random.Generator) -> Task:
        # Always the same number of draws in the same order, so that one probability changes nothing but its own choice.
        latent, kind = int(random.integers(self.latents)), random.random()
        hairstyle, color = self._hairstyle(random), self._color(random)
        wants_both = self.hairstyle + self.color <= kind < self.hairstyle + self.color + self.both
        return Task(
            latent=latent,
            hairstyle=hairstyle if kind < self.hairstyle or wants_both else None,
            color=color if self.hairstyle <= kind < self.hairstyle + self.color or wants_both else None,
        )

    def _hairstyle(self, random: np.random.Generator) -> Wanted:
        drawn = random.random()
        name, reference = int(random.integers(len(self.hairstyles))), int(random.integers(self.hairstyle_references))
        if drawn < self.hairstyle_text:
            return self.hairstyles[name]
        shown = [word for word in self.hairstyles if self.references_of_hairstyle.get(word)]
        # What is left of the number decides twice more, so that sets of references change no other draw.
        left = (drawn - self.hairstyle_text) / (1 - self.hairstyle_text)
        if not shown or left >= self.hairstyle_in_domain:
            return reference
        candidates = self.references_of_hairstyle[shown[name % len(shown)]]
        return candidates[int(left / self.hairstyle_in_domain * len(candidates))]

    def _color(self, random: np.random.Generator) -> Wanted:
        is_text, in_domain = random.random() < self.color_text, random.random() < self.color_in_domain
        name, reference = int(random.integers(len(self.colors))), int(random.integers(self.color_references))
        chosen = random.random()
        if is_text:
            return self.colors[name]
        shown = [color for color in self.colors if self.references_of_color.get(color)]
        if not in_domain or not shown:
            return reference
        candidates = self.references_of_color[shown[name % len(shown)]]
        return candidates[int(chosen * len(candidates))]
