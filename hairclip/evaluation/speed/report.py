"""The report of a benchmark: the machine, the tables for people and the JSON for programs."""

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from hairclip.common.version import __version__
from hairclip.evaluation.speed.agreement import TOLERANCE, Agreement
from hairclip.evaluation.speed.clock import Timing

__all__ = ["SAMPLES", "agreement_table", "hours", "machine", "show_hours", "show_seconds", "summary", "table"]

SAMPLES = 500_000
"""How many samples HairCLIP's training takes (its published code)."""


def machine(device: torch.device) -> dict[str, Any]:
    """What the figures were measured on."""
    facts: dict[str, Any] = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "hairclip": __version__,
    }
    if device.type == "cuda":
        facts["tf32"] = {
            "convolutions": torch.backends.cudnn.allow_tf32,
            "products": torch.backends.cuda.matmul.allow_tf32,
        }
    return facts


def _processor(device: torch.device) -> str:
    """The name of the processor, as well as the system tells it."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if device.type == "cpu" and cpuinfo.is_file():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        name = names[0] if names else name
    return name if device.type == "cpu" else f"{device.type} on {name}"


def summary(timing: Timing) -> dict[str, Any]:
    """A timing for JSON."""
    return {"median": timing.median, "spread": timing.spread, "all": timing.seconds}


def hours(seconds: float) -> float:
    """Hours for HairCLIP's whole training at so many seconds a sample."""
    return SAMPLES * seconds / 3600


def show_hours(seconds: float) -> str:
    """The same as text."""
    value = hours(seconds)
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def show_seconds(seconds: float) -> str:
    """Seconds in milliseconds, with about three digits."""
    value = seconds * 1000
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def agreement_table(found: Sequence[Agreement]) -> str:
    """How far each precision is from the reference."""
    head = ("against the reference", "loss", "mapper gradient", "its cosine", "largest term", f"within {TOLERANCE:g}")
    rows = []
    for one in found:
        name, value = max(one.terms.items(), key=lambda item: item[1])
        verdict = "not asked" if not one.is_exact else "yes" if one.passes else "NO"
        figures = [f"{one.loss:.1e}", f"{one.gradient:.1e}", f"{one.cosine:.5f}", f"{value:.1e} ({name})"]
        rows.append([one.name, *figures, verdict])
    return table(head, rows)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, its columns aligned: words to the left, figures to the right."""
    lines = [list(head), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]

    def show(line: Sequence[str]) -> str:
        cells = [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:]))]
        return f"| {' | '.join(cells)} |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([show(head), show(rule), *(show(row) for row in rows)])
