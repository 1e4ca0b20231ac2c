"""What a run writes while it goes: its settings, figures as JSON lines, TensorBoard, pictures, a progress bar."""

import json
import platform
import signal
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from hairclip.common.errors import HairclipError
from hairclip.common.progress import print_above_bars, progress_bar

_PACKAGES = ("hairclip", "torch", "torchvision", "open_clip_torch", "numpy", "pydantic", "safetensors")


class Tracker:
    """Writes figures and pictures of one run; silent where `enabled` is false (all processes but the first).

    Args:
        run: folder for ``config.yaml``, ``run.json``, ``metrics.jsonl``, ``images/`` and ``tensorboard/``.
        config_yaml: the resolved configuration.
        start: step from which the run goes on; later lines of an interrupted run are dropped.
        steps: the last step.
    """

    def __init__(
        self, run: Path, *, config_yaml: str, start: int, steps: int, tensorboard: bool = True, enabled: bool = True
    ) -> None:
        self.run = run
        self.enabled = enabled
        self._board: Any = None
        if enabled:
            self._open(config_yaml, start, tensorboard)
        self.bar: Any = progress_bar(total=steps, label="training", show=enabled, initial=start, unit="step")

    def _open(self, config_yaml: str, start: int, tensorboard: bool) -> None:
        run = self.run
        try:
            (run / "images").mkdir(parents=True, exist_ok=True)
            (run / "config.yaml").write_text(config_yaml, encoding="utf-8")
            (run / "run.json").write_text(json.dumps(describe_run(), indent=1) + "\n", encoding="utf-8")
            self._lines = _reopen(run / "metrics.jsonl", start)
        except OSError as error:
            raise HairclipError(
                f"cannot write the run folder {run} ({error.strerror}): choose another --out."
            ) from None
        if tensorboard:
            from torch.utils.tensorboard.writer import SummaryWriter

            self._board = SummaryWriter(str(run / "tensorboard"), purge_step=start + 1)

    def figures(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        """One line of figures after `step` steps; `kind` is "weights", "train" or "validation"."""
        if not self.enabled:
            return
        line = {"step": step, "kind": kind, **{key: round(value, 6) for key, value in values.items()}}
        self._lines.write(json.dumps(line) + "\n")
        self._lines.flush()
        if self._board is not None:
            for key, value in values.items():
                self._board.add_scalar(f"{kind}/{key}", value, step)
        if kind == "train":
            self.bar.set_postfix_str(f"loss {values['total']:.3f}")

    def picture(self, step: int, picture: Image.Image) -> None:
        """One picture after `step` steps, to ``images/`` and TensorBoard."""
        if not self.enabled:
            return
        picture.save(self.run / "images" / f"{step:08d}.jpg", quality=92)
        if self._board is not None:
            self._board.add_image("edits", np.asarray(picture), step, dataformats="HWC")

    def say(self, text: str) -> None:
        """A line on stderr, above the progress bar."""
        if self.enabled:
            print_above_bars(text)

    def close(self) -> None:
        """Flush and close everything."""
        self.bar.close()
        if self.enabled:
            self._lines.close()
        if self._board is not None:
            self._board.close()


class Averages:
    """Means of the loss terms since they were last taken, without waiting for the device in between.

    A term counts only samples that it applied to: where it does not, it is exactly 0.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, Tensor] = {}

    @torch.no_grad()
    def add(self, total: Tensor, terms: Mapping[str, Tensor]) -> None:
        """Take in one batch: its mean loss, scalar, and the terms of its samples, ``(B,)`` each."""
        samples = max((len(values) for values in terms.values()), default=1)
        self._add("total", total * samples, torch.full_like(total, samples))
        for name, values in terms.items():
            self._add(name, values.sum(), (values != 0).sum())

    def _add(self, name: str, value: Tensor, count: Tensor) -> None:
        if name in self._sums:
            value, count = self._sums[name] + value, self._counts[name] + count
        self._sums[name], self._counts[name] = value, count

    def take(self, total: Callable[[Tensor], Tensor] = lambda values: values) -> dict[str, float]:
        """The means, without terms that applied to no sample, then start anew.

        Args:
            total: adds up a tensor over all processes, which all take at the same time.
        """
        if not self._sums:
            return {}
        sums, counts = (total(torch.stack([*row.values()]).float()) for row in (self._sums, self._counts))
        rows = zip(self._sums, sums.tolist(), counts.tolist())
        means = {name: value / count for name, value, count in rows if count}
        self._sums, self._counts = {}, {}
        return means


class StopSignal:
    """Turns the first SIGINT or SIGTERM into a flag; a second one ends the process as usual.

    Used as a context; outside the main thread, where signals cannot be handled, it does nothing.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __bool__(self) -> bool:
        return self.received is not None

    def __enter__(self) -> "StopSignal":
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._before[number] = signal.signal(number, self._receive)
            except ValueError:
                break
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._restore()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}


def describe_run() -> dict[str, Any]:
    """What the run was made with: command, versions, machine."""
    versions: dict[str, str | None] = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {
        "command": sys.argv,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": versions,
        "cuda": torch.version.cuda if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
    }


def _reopen(path: Path, start: int) -> Any:
    """The file to append to, without lines after step `start` and without a half-written last line."""
    kept = []
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                if json.loads(line)["step"] <= start:
                    kept.append(line)
            except (ValueError, KeyError, TypeError):
                continue
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
    partial.replace(path)
    return path.open("a", encoding="utf-8")
