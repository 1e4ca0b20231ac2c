"""Figures of a report and what they must reach, as a table for people and as JSON for programs."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hairclip.common.errors import HairclipError
from hairclip.common.files import write_atomic
from hairclip.common.tables import format_table

__all__ = ["Figure", "bootstrap_interval", "format_figures", "make_folder", "mean_of", "write_json"]


@dataclass(frozen=True)
class Figure:
    """A line of a report.

    Attributes:
        name: key of the figure in the records.
        title: title of the line.
        unit: "%" shows a share as a percentage; "dB" and "" show the number.
        floor: least acceptable value; None if any value is.
        ceiling: greatest acceptable value; None if any value is.
        is_optional: leave the line out where nobody has a value.
    """

    name: str
    title: str
    unit: str = ""
    floor: float | None = None
    ceiling: float | None = None
    is_optional: bool = False

    def passes(self, value: float | None) -> bool | None:
        """Return whether the value is acceptable; None without a value, or where any value is."""
        if value is None or math.isnan(value) or (self.floor is None and self.ceiling is None):
            return None
        return (self.floor is None or value >= self.floor) and (self.ceiling is None or value <= self.ceiling)

    def show(self, value: float | None) -> str:
        """Return the value as text."""
        if value is None or math.isnan(value):
            return "-"
        if self.unit == "%":
            return f"{100 * value:.1f} %"
        return f"{value:.2f} dB" if self.unit == "dB" else f"{value:.3f}"

    def show_limit(self) -> str:
        """Return the floor or the ceiling as text; an empty text if there is none."""
        if self.floor is not None:
            return f">= {self.show(self.floor)}"
        return f"<= {self.show(self.ceiling)}" if self.ceiling is not None else ""


def mean_of(records: Sequence[Mapping[str, Any]], name: str) -> float | None:
    """Return the mean of a figure over the records that have it; None if none has."""
    values = [record[name] for record in records if record.get(name) is not None]
    return sum(values) / len(values) if values else None


def bootstrap_interval(
    values: Sequence[float], seed: int = 0, *, level: float = 0.95, resamples: int = 2000
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of a mean (Efron 1979).

    Args:
        values: one value per case, at least one.
        seed: seed of the resamples.
        level: probability of the interval.
        resamples: number of times that the cases are drawn with replacement.
    """
    array, random = np.asarray(values, np.float64), np.random.default_rng(seed)
    together = max(1, 2**22 // len(array))  # resamples in memory at once
    counts = [min(together, resamples - first) for first in range(0, resamples, together)]
    means = np.concatenate([array[random.integers(len(array), size=(n, len(array)))].mean(axis=1) for n in counts])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def format_figures(
    figures: Sequence[Figure],
    columns: Mapping[str, Mapping[str, float | None]],
    titles: Mapping[str, str] | None = None,
) -> str:
    """Return a Markdown table with a line per figure and a column per candidate.

    Args:
        figures: the lines. Their limits apply to the first candidate.
        columns: candidate -> name of the figure -> value.
        titles: candidate -> title of its column, where that is not its name.
    """
    first = next(iter(columns.values()))
    head = ["", "must reach", "", *((titles or {}).get(name, name) for name in columns)]
    rows = []
    for figure in figures:
        values = [column.get(figure.name) for column in columns.values()]
        if figure.is_optional and all(value is None for value in values):
            continue
        verdict = {None: "", True: "ok", False: "FAIL"}[figure.passes(first.get(figure.name))]
        rows.append([figure.title, figure.show_limit(), verdict, *(figure.show(value) for value in values)])
    return format_table(head, rows)


def make_folder(folder: Path) -> None:
    """Make the folder of a report before the work begins, if it is not there yet."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HairclipError(f"cannot make the folder {folder} ({error.strerror or error}): choose another.") from None


def write_json(content: Any, path: Path) -> None:
    """Write JSON with line breaks; the file appears whole or not at all."""
    write_atomic(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
