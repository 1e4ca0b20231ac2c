"""Write the settings, figures and pictures of a run while it goes, and show a progress bar.

Figures and pictures also go to the trackers that the configuration names. A tracker of one's own is a class with the
methods of `TrackerBackend`, named as `module:attribute`.
"""

import io
import json
import os
import platform
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from hairclip.common.errors import HairclipError
from hairclip.common.files import write_atomic
from hairclip.common.images import Images, from_pil, resize_area
from hairclip.common.names import NameTable
from hairclip.common.progress import print_above_bars, progress_bar
from hairclip.common.sheets import draw_sheet
from hairclip.training.references import ReferencePool
from hairclip.training.tasks import Task

__all__ = ["TRACKERS", "Averages", "TensorBoard", "Tracker", "TrackerBackend", "WandB", "describe_run", "edit_grid"]

_PACKAGES = ("hairclip", "torch", "torchvision", "open_clip_torch", "numpy", "pydantic", "safetensors")
_LARGEST_TILE = 256


class TrackerBackend(Protocol):
    """Receives figures and pictures besides the run's own files.

    Args:
        run: folder of the run.
        config: the configuration as nested mappings.
        start: step from which the run goes on.
    """

    def __init__(self, run: Path, config: Mapping[str, Any], start: int) -> None: ...

    def figures(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        """Take figures after `step` steps; `kind` is "train" or "validation"."""

    def picture(self, step: int, picture: Image.Image) -> None:
        """Take a picture after `step` steps."""

    def close(self) -> None:
        """Finish."""


TRACKERS: NameTable[type[TrackerBackend]] = NameTable(
    "tracker",
    {"tensorboard": "hairclip.training.tracking:TensorBoard", "wandb": "hairclip.training.tracking:WandB"},
)


class Tracker:
    """Writes figures and pictures of one run; silent where `enabled` is false (all processes but the first).

    Args:
        run: folder for `config.yaml`, `run.json`, `metrics.jsonl`, `images/`, and what the trackers write.
        config_yaml: the resolved configuration as YAML.
        config: the same as nested mappings.
        start: step from which the run goes on; later lines of an interrupted run are dropped.
        steps: the last step.
        trackers: names in `TRACKERS`, or `module:attribute`.
        enabled: whether anything is written.

    Raises:
        HairclipError: if the folder cannot be written, or if there is no such tracker.
    """

    def __init__(
        self,
        run: Path,
        *,
        config_yaml: str,
        start: int,
        steps: int,
        config: Mapping[str, Any] | None = None,
        trackers: Sequence[str] = (),
        enabled: bool = True,
    ) -> None:
        self.run = run
        self.enabled = enabled
        self._backends: list[TrackerBackend] = []
        if enabled:
            kinds = [TRACKERS.load(name) for name in trackers]
            write_atomic(run / "config.yaml", config_yaml)
            write_atomic(run / "run.json", json.dumps(describe_run(), indent=1) + "\n")
            _drop_lines(run / "metrics.jsonl", start)
            self._lines = _GrowingFile(run / "metrics.jsonl")
            self._backends = [kind(run, config or {}, start) for kind in kinds]
        self.bar: Any = progress_bar(label="training", show=enabled, total=steps, initial=start, unit="step")

    def figures(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        """Write one line of figures after `step` steps; `kind` is "weights", "train" or "validation"."""
        if not self.enabled:
            return
        line = {"step": step, "kind": kind, **{key: round(value, 6) for key, value in values.items()}}
        self._lines.append((json.dumps(line) + "\n").encode())
        for backend in self._backends:
            backend.figures(step, kind, values)
        if kind == "train":
            self.bar.set_postfix_str(f"loss {values['total']:.3f}")

    def picture(self, step: int, picture: Image.Image) -> None:
        """Write one picture after `step` steps to `images/`."""
        if not self.enabled:
            return
        content = io.BytesIO()
        picture.save(content, "JPEG", quality=92)
        write_atomic(self.run / "images" / f"{step:08d}.jpg", content.getvalue())
        for backend in self._backends:
            backend.picture(step, picture)

    def say(self, text: str) -> None:
        """Print a line to stderr, above the progress bar."""
        if self.enabled:
            print_above_bars(text)

    def close(self) -> None:
        """Finish the bar and the trackers."""
        self.bar.close()
        for backend in self._backends:
            backend.close()
        self._backends = []


class TensorBoard:
    """Writes TensorBoard's event files to `run/tensorboard/`.

    Each event is written at once and whole. TensorBoard's own writer does so in a thread, which dies on a full disk.
    """

    def __init__(self, run: Path, config: Mapping[str, Any], start: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{os.getpid()}.{time.monotonic_ns()}"
        self._file = _GrowingFile(run / "tensorboard" / name)
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        # Events of later steps, which an interrupted run left, are not shown any more.
        self._write(Event(wall_time=time.time(), step=start + 1, session_log=SessionLog(status=SessionLog.START)))

    def figures(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        """Write scalars `kind/name`."""
        from torch.utils.tensorboard.summary import scalar

        for name, value in values.items():
            self._add(step, scalar(f"{kind}/{name}", value))

    def picture(self, step: int, picture: Image.Image) -> None:
        """Write a picture `edits`."""
        from torch.utils.tensorboard.summary import image

        self._add(step, image("edits", np.asarray(picture), dataformats="HWC"))

    def close(self) -> None:
        """Do nothing: all is written."""

    def _add(self, step: int, summary: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._write(Event(wall_time=time.time(), step=step, summary=summary))

    def _write(self, event: Any) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        content = io.BytesIO()
        RecordWriter(content).write(event.SerializeToString())
        self._file.append(content.getvalue())


class WandB:
    """Sends figures and pictures to Weights & Biases; the package `wandb` must be installed."""

    def __init__(self, run: Path, config: Mapping[str, Any], start: int) -> None:
        try:
            import wandb
        except ImportError:
            raise HairclipError("tracker 'wandb': the package is not installed: pip install wandb.") from None
        self._wandb = wandb
        self._run = wandb.init(dir=str(run), name=str(config.get("name")), config=dict(config), resume="allow")

    def figures(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        """Log scalars `kind/name`."""
        self._run.log({f"{kind}/{name}": value for name, value in values.items()}, step=step)

    def picture(self, step: int, picture: Image.Image) -> None:
        """Log a picture `edits`."""
        self._run.log({"edits": self._wandb.Image(picture)}, step=step)

    def close(self) -> None:
        """Finish the run on the server."""
        self._run.finish()


class _GrowingFile:
    """A file that grows by whole pieces: a piece that cannot be written leaves the file as it was."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        except OSError as error:
            raise self._explain(error) from None

    def append(self, piece: bytes) -> None:
        """Add one piece.

        Raises:
            HairclipError: if it cannot be written.
        """
        try:
            with self.path.open("ab", buffering=0) as file:
                size = file.tell()
                try:
                    written = 0
                    while written < len(piece):  # a disk that fills up takes a part of it first
                        written += file.write(piece[written:]) or 0
                except OSError:
                    file.truncate(size)
                    raise
        except OSError as error:
            raise self._explain(error) from None

    def _explain(self, error: OSError) -> HairclipError:
        return HairclipError(
            f"cannot write {self.path} ({error.strerror}): free space on the disk or choose another folder."
        )


def _drop_lines(path: Path, start: int) -> None:
    """Rewrite the figures of a run without lines after step `start` and without damaged lines."""
    kept = []
    try:
        content = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    except OSError as error:
        raise HairclipError(f"cannot read {path} ({error.strerror}): remove it or choose another folder.") from None
    for line in content.split("\n"):
        try:
            if json.loads(line)["step"] <= start and "�" not in line:
                kept.append(f"{line}\n")
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    write_atomic(path, "".join(kept))


def describe_run() -> dict[str, Any]:
    """Return the command, package versions and machine of the run, fit for JSON."""
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


class Averages:
    """Means of the loss terms since they were last taken, without waiting for the device in between.

    A term counts only the samples that it applies to. Where it does not apply, it is exactly 0.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, Tensor] = {}

    @torch.no_grad()
    def add(self, total: Tensor, terms: Mapping[str, Tensor]) -> None:
        """Take in one batch: its mean loss, scalar, and the terms of its samples, (B,) each."""
        samples = max((len(values) for values in terms.values()), default=1)
        self._add("total", total * samples, torch.full_like(total, samples))
        for name, values in terms.items():
            self._add(name, values.sum(), (values != 0).sum())

    def _add(self, name: str, value: Tensor, count: Tensor) -> None:
        if name in self._sums:
            value, count = self._sums[name] + value, self._counts[name] + count
        self._sums[name], self._counts[name] = value, count

    def take(self, total: Callable[[Tensor], Tensor] = lambda values: values) -> dict[str, float]:
        """Return the means and start anew; terms that applied to no sample are left out.

        Args:
            total: adds up a tensor over all processes, which all call this method at the same step.
        """
        if not self._sums:
            return {}
        sums, counts = (total(torch.stack([*row.values()]).float()) for row in (self._sums, self._counts))
        rows = zip(self._sums, sums.tolist(), counts.tolist())
        means = {name: value / count for name, value, count in rows if count}
        self._sums, self._counts = {}, {}
        return means


@torch.no_grad()
def edit_grid(
    tasks: Sequence[Task], sources: Images, edits: Images, hairstyles: ReferencePool, colors: ReferencePool
) -> Image.Image:
    """Return a picture with one row per task: source | hairstyle | color | edit.

    A hairstyle or color is shown as its text or its reference; what shall stay is left blank.

    Args:
        tasks: the tasks.
        sources: pictures before the edit, (rows, 3, H, W), RGB in [-1, 1].
        edits: pictures after the edit, in the same form.
        hairstyles: the reference pictures that the tasks number.
        colors: the same for colors.
    """
    size = min(_LARGEST_TILE, sources.shape[-1])
    sources, edits = resize_area(sources, size).cpu(), resize_area(edits, size).cpu()
    rows = [
        [source, _tile(task.hairstyle, hairstyles, size), _tile(task.color, colors, size), edit]
        for task, source, edit in zip(tasks, sources, edits)
    ]
    return draw_sheet(rows, gap=2)


def _tile(condition: str | int | None, references: ReferencePool, size: int) -> Tensor:
    """Return one square of the grid, (3, size, size)."""
    if isinstance(condition, int):
        return resize_area(references.picture(condition).cpu(), size)[0]
    tile = Image.new("RGB", (size, size), "white")
    font = ImageFont.load_default(size=max(8, size // 9))
    text = (condition or "").replace(" ", "\n")
    ImageDraw.Draw(tile).multiline_text(
        (size // 2, size // 2), text, fill="black", font=font, anchor="mm", align="center"
    )
    return from_pil(tile)[0]
