"""Write and read the checkpoints of a run, and keep the best mapper so far.

A checkpoint appears whole or not at all, and holds a digest of its own content, so that damage is seen. It also holds a
digest of every network and of all data that the run learns from: a run goes on with the same content wherever that
lies now, and never with another content under the same name.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hairclip.common.errors import HairclipError
from hairclip.common.files import digest, open_atomic
from hairclip.networks.mapper import HairMapper
from hairclip.pretrained.weight_files import why_unreadable

if TYPE_CHECKING:
    from hairclip.training.setup import Parts

__all__ = [
    "FREE_TO_CHANGE",
    "Best",
    "DamagedCheckpoint",
    "input_digests",
    "list_checkpoints",
    "read_checkpoint",
    "remove_run",
    "resume_from",
    "save_checkpoint",
]

FREE_TO_CHANGE = (
    "name",
    "device",
    "training.steps",
    "training.checkpoint_every",
    "training.keep_checkpoints",
    "validation",
    "logging",
    "data.cache_sources",
    "data.cache_budget_gb",
    "data.cache_folder",
    "data.prefetch",
    "training.accumulate",
    "training.checkpoint_activations",
    "training.compile",
    "training.cuda_graphs",
    "training.channels_last",
    # Names and paths may change: `input_digests` tells whether the content has changed.
    "networks",
    "data.latents",
    "data.validation_latents",
    "data.hairstyle_images",
    "data.hairstyle_folders",
    "data.color_images",
    "data.color_folders",
    "data.validation_hairstyle_images",
    "data.validation_color_images",
    "training.init",
    "training.teacher",
)
"""Settings that may differ between a run and its continuation; any other would make it another experiment."""

_KEYS = {"step", "config", "inputs", "mapper", "optimizer", "average", "scaler", "schedule_end", "best"}


class DamagedCheckpoint(HairclipError):
    """A checkpoint that cannot be used: damaged, incomplete, or no checkpoint at all."""


# ------------------------------------------------------------------------------------------ the best mapper


class Best:
    """Remembers the weights with the lowest validation loss; of equal losses, the earlier weights.

    Its state holds the weights themselves. A checkpoint therefore restores the best mapper of its moment bit for bit,
    also in another folder.

    Attributes:
        loss: the validation loss; infinite before the first validation.
        step: number of optimizer steps before that validation.
    """

    def __init__(self) -> None:
        self.loss = math.inf
        self.step = 0
        self._weights: dict[str, Tensor] = {}

    def consider(self, loss: float, step: int, mapper: HairMapper) -> bool:
        """Take over a mapper if its validation loss is the lowest so far; return whether it is."""
        if not loss < self.loss:  # so that NaN is never the best
            return False
        self.loss, self.step = loss, step
        self._weights = {name: tensor.detach().cpu().clone() for name, tensor in mapper.state_dict().items()}
        return True

    def mapper(self, like: HairMapper) -> HairMapper | None:
        """Return a copy of `like` with the best weights; None before the first validation."""
        if not self._weights:
            return None
        best = copy.deepcopy(like)
        best.load_state_dict(self._weights)
        return best

    def state_dict(self) -> dict[str, Any]:
        """Return loss, step and weights."""
        return {"loss": self.loss, "step": self.step, "weights": dict(self._weights)}

    def load_state_dict(self, state: Mapping[str, Any], like: HairMapper) -> None:
        """Go on from `state_dict`.

        Raises:
            DamagedCheckpoint: if the weights do not fit the mapper `like`.
        """
        expected = {name: tensor.shape for name, tensor in like.state_dict().items()}
        weights = state["weights"]
        if weights and {name: tensor.shape for name, tensor in weights.items()} != expected:
            raise DamagedCheckpoint("the best mapper in the checkpoint is of another shape: resume from another one.")
        self.loss, self.step, self._weights = float(state["loss"]), int(state["step"]), dict(weights)


# ------------------------------------------------------------------------------------------ files


def list_checkpoints(run: Path) -> list[Path]:
    """Return the checkpoints of a run, oldest first."""
    return sorted(run.glob("checkpoint-????????.pt"))


def save_checkpoint(run: Path, state: Mapping[str, Any], *, keep: int) -> Path:
    """Write a checkpoint and remove all but the newest `keep`.

    Checkpoints of later steps are removed too. They are damaged, or of a branch that was left when the run went on from
    an earlier checkpoint.

    Args:
        run: folder of the run.
        state: all entries of a checkpoint but its digest.
        keep: how many to keep.

    Returns:
        The new checkpoint, named by its step.

    Raises:
        HairclipError: if it cannot be written; the older ones stay.
    """
    path = run / f"checkpoint-{int(state['step']):08d}.pt"
    with open_atomic(path) as file:
        torch.save({**state, "digest": digest(dict(state))}, file)
    checkpoints = list_checkpoints(run)
    here = checkpoints.index(path)
    for old in [*checkpoints[: max(0, here + 1 - keep)], *checkpoints[here + 1 :]]:
        old.unlink(missing_ok=True)
    return path


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint and check that it is whole.

    Raises:
        DamagedCheckpoint: if the file is damaged, or no checkpoint of a training run.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise anything
        raise DamagedCheckpoint(
            f"{path} cannot be read as a checkpoint ({why_unreadable(error)}): resume from another one, or start anew "
            'with resume="never".'
        ) from None
    if not isinstance(state, dict) or not {"step", "config", "mapper", "optimizer"} <= {str(key) for key in state}:
        raise DamagedCheckpoint(f"{path} is no checkpoint of a training run: give a file named checkpoint-*.pt.")
    try:
        whole = state.pop("digest", None) == digest(state) and set(state) == _KEYS
    except Exception:  # the altered content can be of any type and depth
        whole = False
    if not whole:
        raise DamagedCheckpoint(
            f"{path} is damaged, or not as this version wrote it: resume from another checkpoint, or start anew with "
            'resume="never".'
        )
    return state


def resume_from(
    resume: str, run: Path, config: Mapping[str, Any], inputs: Mapping[str, str], load: Callable[[dict[str, Any]], None]
) -> tuple[Path | None, list[str]]:
    """Find the checkpoint to go on from, check it, and load it.

    Args:
        resume: "auto" takes the newest checkpoint of the run that is whole, if there is any. "never" takes none. A path
            names a checkpoint, or a run, of which the newest one counts.
        run: folder of the run.
        config: the configuration now, see `pydantic.BaseModel.model_dump`.
        inputs: see `input_digests`.
        load: takes the state of a checkpoint; raises HairclipError where it does not fit.

    Returns:
        The loaded checkpoint, None to start anew, and one sentence per checkpoint that was passed over.

    Raises:
        HairclipError: if the checkpoint is of another experiment, or if no checkpoint of those found is whole.
    """
    passed: list[str] = []
    for path in _candidates(resume, run):
        try:
            state = read_checkpoint(path)
            _check_experiment(path, state, config, inputs)
            try:
                load(state)
            except HairclipError as error:
                raise DamagedCheckpoint(f"{path}: {error}") from None
        except DamagedCheckpoint as error:
            passed.append(str(error))
            continue
        return path, passed
    if passed:
        raise DamagedCheckpoint(passed[0])
    return None, []


def _candidates(resume: str, run: Path) -> Sequence[Path]:
    """Return the checkpoints to try, the best first."""
    if resume == "never":
        return []
    if resume == "auto":
        return list_checkpoints(run)[::-1]
    path = Path(resume)
    checkpoints = list_checkpoints(path)[::-1] if path.is_dir() else [path] if path.is_file() else []
    if not checkpoints:
        raise HairclipError(
            f'resume="{resume}": there is no checkpoint: give a checkpoint file, a run folder, "auto" or "never".'
        )
    return checkpoints


def _check_experiment(
    path: Path, state: Mapping[str, Any], config: Mapping[str, Any], inputs: Mapping[str, str]
) -> None:
    """Refuse a checkpoint of another experiment."""
    before, now = _flat(state["config"]), _flat(config)
    for key in {**before, **now}:
        if before.get(key) != now.get(key) and not any(
            key == free or key.startswith(f"{free}.") for free in FREE_TO_CHANGE
        ):
            raise HairclipError(
                f"{path} was trained with {key}={before.get(key)}, but now {key}={now.get(key)}: set it back to "
                'resume, or start anew in another folder or with resume="never".'
            )
    for key in {**state["inputs"], **inputs}:
        if state["inputs"].get(key) != inputs.get(key):
            raise HairclipError(
                f"{path} was trained with other content of {key} (now {now.get(key)}): give back the old files to "
                'resume, or start anew in another folder or with resume="never".'
            )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings as one mapping: "training.steps" -> 1000."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def input_digests(parts: "Parts") -> dict[str, str]:
    """Return a digest of everything that a run learns from, by the setting that names it.

    Codes, networks and the reference pictures that are used count with their whole content.
    """
    networks = vars(parts.networks)
    return {
        **{f"networks.{name}": digest(network) for name, network in networks.items()},
        "data.latents": parts.training.latents.digest(),
        "data.validation_latents": parts.validation.latents.digest(),
        "data.hairstyle_images": parts.training.hairstyle_references.files,
        "data.color_images": parts.training.color_references.files,
        "data.validation_hairstyle_images": parts.validation.hairstyle_references.files,
        "data.validation_color_images": parts.validation.color_references.files,
    }


def remove_run(run: Path) -> None:
    """Remove the files of an earlier run that a new one in the same folder would mix with."""
    for pattern in ("checkpoint-*.pt", "metrics.jsonl", "mapper*.safetensors"):
        for path in run.glob(pattern):
            path.unlink(missing_ok=True)
    for path in (run / "tensorboard").glob("events.out.tfevents.*"):
        path.unlink(missing_ok=True)
