"""Figures against floors, as a table for people and JSON for programs."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hairclip.common.errors import HairclipError

__all__ = ["Figure", "format_table", "make_folder", "mean_of", "write_json"]


@dataclass(frozen=True)
class Figure:
    """A line of a report.

    Attributes:
        name: key of the figure.
        title: what it is, for people.
        unit: "%" shows a share as a percentage, "dB" and "" show the number.
        floor: least acceptable value, None for none.
        ceiling: greatest acceptable value, None for none.
    """

    name: str
    title: str
    unit: str = ""
    floor: float | None = None
    ceiling: float | None = None

    def passes(self, value: float | None) -> bool | None:
        """Whether the value is good enough; None where there is nothing to compare."""
        if value is None or math.isnan(value) or (self.floor is None and self.ceiling is None):
            return None
        return (self.floor is None or value >= self.floor) and (self.ceiling is None or value <= self.ceiling)

    def show(self, value: float | None) -> str:
        """The value as text."""
        if value is None or math.isnan(value):
            return "-"
        if self.unit == "%":
            return f"{100 * value:.1f} %"
        return f"{value:.2f} dB" if self.unit == "dB" else f"{value:.3f}"

    def demand(self) -> str:
        """The floor or ceiling as text."""
        if self.floor is not None:
            return f">= {self.show(self.floor)}"
        return f"<= {self.show(self.ceiling)}" if self.ceiling is not None else ""


def mean_of(records: Sequence[Mapping[str, Any]], name: str) -> float | None:
    """Mean of a figure over the records that have it; None where none has."""
    values = [record[name] for record in records if record.get(name) is not None]
    return sum(values) / len(values) if values else None


def format_table(
    figures: Sequence[Figure],
    columns: Mapping[str, Mapping[str, float | None]],
    titles: Mapping[str, str] | None = None,
) -> str:
    """Lines of figures, columns of candidates; the first candidate is held to the floors.

    Args:
        figures: the lines.
        columns: candidate -> figure -> value.
        titles: what to write over a candidate's column where that is not its name.
    """
    first = next(iter(columns))
    header = ["", "must reach", "", *((titles or {}).get(name, name) for name in columns)]
    rows = [header]
    for figure in figures:
        passed = figure.passes(columns[first].get(figure.name))
        verdict = "" if passed is None else "ok" if passed else "FAIL"
        values = [figure.show(column.get(figure.name)) for column in columns.values()]
        rows.append([figure.title, figure.demand(), verdict, *values])
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), row[1].rjust(widths[1]), row[2].ljust(widths[2])]
        cells += [cell.rjust(width) for cell, width in zip(row[3:], widths[3:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "-" * max(len(line) for line in lines))
    return "\n".join(lines)


def make_folder(folder: Path) -> None:
    """Make the folder of a report, where it is not there yet."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HairclipError(
            f"cannot make the folder {folder} ({error.strerror or error}): choose another --out."
        ) from None


def write_json(content: Any, path: Path) -> None:
    """Write JSON readably; the file appears whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise HairclipError(f"cannot write {path} ({error.strerror or error}): choose another place.") from None
