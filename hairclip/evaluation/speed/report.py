"""The report of a benchmark: the machine, figures as text and as JSON."""

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from hairclip.common.tables import format_table
from hairclip.common.version import __version__
from hairclip.evaluation.speed.agreement import TOLERANCE, Agreement
from hairclip.evaluation.speed.clock import Timing

__all__ = ["SAMPLES", "agreement_table", "hours", "machine", "show_hours", "show_seconds", "summary"]

SAMPLES = 500_000
"""Samples of HairCLIP's training, as its published code sets them."""


def machine(device: torch.device) -> dict[str, Any]:
    """Return the device, the number of threads and the versions that figures were measured with."""
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
    """Return the name of the processor, as far as the system tells it."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if device.type == "cpu" and cpuinfo.is_file():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        name = names[0] if names else name
    return name if device.type == "cpu" else f"{device.type} on {name}"


def summary(timing: Timing) -> dict[str, Any]:
    """Return a timing for JSON."""
    return {"median": timing.median, "spread": timing.spread, "all": timing.seconds}


def hours(seconds: float) -> float:
    """Return the hours of HairCLIP's whole training at so many seconds per sample."""
    return SAMPLES * seconds / 3600


def show_hours(seconds: float) -> str:
    """Return `hours` as text."""
    value = hours(seconds)
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def show_seconds(seconds: float) -> str:
    """Return seconds as milliseconds with about three digits."""
    value = seconds * 1000
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def agreement_table(agreements: Sequence[Agreement]) -> str:
    """Return a table of how far each step is from the official step."""
    head = ("against the official step", "loss", "mapper gradient", "its cosine", "largest term")
    rows = []
    for one in agreements:
        name, value = max(one.terms.items(), key=lambda item: item[1])
        verdict = "not asked" if not one.is_exact else "yes" if one.passes else "NO"
        cells = [f"{one.loss:.1e}", f"{one.gradient:.1e}", f"{one.cosine:.5f}", f"{value:.1e} ({name})"]
        rows.append([one.name, *cells, verdict])
    return format_table((*head, f"within {TOLERANCE:g}"), rows)
