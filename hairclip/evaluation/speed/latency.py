"""Measure how long a user waits for an edit, for an import, and for the first edit of a new process."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import torch

from hairclip.common.errors import HairclipError
from hairclip.common.files import data_folder, package_folder
from hairclip.common.progress import progress_bar
from hairclip.editing.editor import HairEditor
from hairclip.evaluation.speed.clock import LapTimer, Timing, Work
from hairclip.evaluation.speed.setting import Setting
from hairclip.networks.e4e import E4EEncoder
from hairclip.pretrained.bundle import Bundle, Networks
from hairclip.training.setup import network_bundle

__all__ = ["IMPORTS", "edit_works", "time_first_edit", "time_imports"]

IMPORTS = {
    "python alone": "pass",
    "import torch": "import torch",
    "import hairclip": "import hairclip",
    "hairclip.HairEditor": "import hairclip; hairclip.HairEditor",
}
"""Title of a row -> the program that a new interpreter runs."""


def edit_works(setting: Setting, count: int) -> dict[str, Work]:
    """Return works that edit aligned pictures to a red bob cut and blend them: one picture, and `count` in one call.

    Args:
        setting: gives networks, mapper and codes.
        count: pictures of the second work; 0 leaves it out.
    """
    generator = setting.parts.networks.generator
    editor = HairEditor(_edit_networks(setting), mapper=setting.parts.mapper)
    numbers = [i % len(setting.parts.training.latents) for i in range(max(1, count))]
    pictures = []
    with torch.no_grad():
        for number in numbers:
            codes = setting.parts.training.latents[[number]].to(setting.device)
            pictures.append(generator(codes, noise="const").clamp(-1, 1))

    def edit(some: Sequence[torch.Tensor], name: str) -> Work:
        def work(timer: LapTimer) -> None:
            wishes = ["bob cut"] * len(some), ["red"] * len(some)
            editor.edit_batch(list(some), *wishes)
            timer.lap(name)

        return work

    works = {"edit, 1 picture": edit(pictures[:1], "edit")}
    if count:
        works[f"edit, {count} pictures"] = edit(pictures, "edit")
    return works


def _edit_networks(setting: Setting) -> Networks:
    """Return the networks of an editor: those of training and an encoder. The encoder is random if the others are."""
    networks, generator = setting.parts.networks, setting.parts.networks.generator
    bundle = Bundle({}) if setting.is_random else network_bundle(setting.config, setting.device)
    if setting.is_random:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(setting.config.seed)
            encoder: torch.nn.Module = E4EEncoder(n_latent=generator.n_latent, w_dim=generator.w_dim)
        encoder = encoder.to(setting.device).eval().requires_grad_(False)
    else:
        if "encoder" not in bundle.parts:
            raise HairclipError(
                f"the bundle {setting.config.networks.bundle} has no encoder, so no edit can be measured: "
                "use a bundle with an encoder, or measure no edits."
            )
        encoder = bundle.encoder
    return SimpleNamespace(
        generator=generator,
        clip=networks.clip,
        parser=networks.parser,
        photo_parser=networks.parser,
        identity=networks.identity,
        encoder=encoder,
        mapper=setting.parts.mapper,
        framing=bundle.framing,
        plain_background=bundle.plain_background,
        inversion_limits=bundle.inversion_limits,
    )


def time_imports(*, repeats: int, cpu_time: bool = False) -> dict[str, Timing]:
    """Time new interpreters that run `IMPORTS`, in turns. A first round does not count.

    Args:
        repeats: rounds that count.
        cpu_time: take the processes' processor time instead of wall time.

    Returns:
        Title of a row -> the seconds of each round.
    """
    timings = {name: Timing() for name in IMPORTS}
    clock = _children if cpu_time else time.perf_counter
    for number in progress_bar(range(repeats + 1), label="imports", leave=False):
        for name, program in IMPORTS.items():
            began = clock()
            subprocess.run([sys.executable, "-c", program], check=True, env=_environment())
            if number:
                timings[name].seconds.append(clock() - began)
    return timings


def time_first_edit(*, repeats: int, cpu_time: bool = False) -> dict[str, Timing]:
    """Time ``python -m hairclip edit`` with the portraits bundle in new processes.

    Args:
        repeats: see `time_imports`.
        cpu_time: see `time_imports`.

    Returns:
        Seconds "to the picture", which is the whole command. In wall time also "to the first line" that it prints.
    """
    first, whole = Timing(), Timing()
    clock = _children if cpu_time else time.perf_counter
    picture = data_folder() / "portraits" / "anna.png"
    with tempfile.TemporaryDirectory() as folder:
        words = ["edit", "--image", str(picture), "--text", "red bob cut", "--out", str(Path(folder) / "edited.png")]
        for number in progress_bar(range(repeats + 1), label="first edit", leave=False):
            began = clock()
            process = subprocess.Popen(
                [sys.executable, "-u", "-m", "hairclip", *words],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=_environment(),
            )
            assert process.stdout is not None
            process.stdout.readline()
            first_line = clock() - began
            _, complaint = process.communicate()
            if process.returncode:
                raise HairclipError(f"the edit that was to be timed failed: {' '.join(complaint.split())[-300:]}")
            if number:
                first.seconds.append(first_line)
                whole.seconds.append(clock() - began)
    return {"to the picture": whole} if cpu_time else {"to the first line": first, "to the picture": whole}


def _children() -> float:
    """Return the processor seconds of all child processes that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def _environment() -> dict[str, str]:
    """Return the environment variables of this process, with this copy of the library first in PYTHONPATH."""
    root = str(package_folder().parent)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)}
