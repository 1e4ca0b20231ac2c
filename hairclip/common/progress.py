"""Show how far long work has come."""

import os
import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

__all__ = ["print_above_bars", "progress_bar"]


def progress_bar(
    iterable: Iterable[Any] | None = None,
    *,
    label: str,
    show: bool = True,
    log_every: float | None = None,
    **options: Any,
) -> "tqdm[Any]":
    """Return a tqdm bar on stderr. It stays hidden where nobody would watch it.

    It is hidden in pipes and log files, and where the environment variable TQDM_DISABLE is set.

    Args:
        iterable: what to go through; None for a bar that is moved by `update`.
        label: words before the bar.
        show: False hides the bar.
        log_every: in pipes and log files, write a line instead, at most one in so many seconds; None writes none.
        options: further arguments of `tqdm`, such as `total`.
    """
    hidden = not show or os.environ.get("TQDM_DISABLE", "") not in ("", "0")
    if log_every is not None and not hidden and not sys.stderr.isatty():
        options = {"mininterval": log_every, "miniters": 1, "smoothing": 0.0, "delay": 1e-9, **options}
        return _Lines(iterable, desc=label, bar_format=_LINE, **options)
    # None lets tqdm look whether stderr is a terminal.
    return tqdm(iterable, desc=label, disable=True if hidden else None, dynamic_ncols=True, **options)


def print_above_bars(text: str) -> None:
    """Print a line to stderr without tearing a bar that is shown."""
    tqdm.write(text, file=sys.stderr)


_LINE = "{desc}: {n_fmt} of {total_fmt}, {elapsed} gone, {remaining} left, {rate_fmt}"


class _Lines(tqdm):
    """A bar that writes a new line for each of its states, for log files."""

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        self.fp.write(f"{msg or self}\n")
        self.fp.flush()

    def close(self) -> None:
        """Write the last state, without the empty line that tqdm adds."""
        if not self.disable and self.n > self.last_print_n:
            self.display()
        self.disable = True
