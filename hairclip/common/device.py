"""Choose the device that networks run on."""

import torch

from hairclip.common.errors import HairclipError

__all__ = ["pick_device"]


def pick_device(name: str, *, local_rank: int | None = None) -> torch.device:
    """Return the device of that name.

    Args:
        name: auto, cpu, cuda, cuda:N or mps. "auto" is CUDA, else Apple's MPS, else the CPU.
        local_rank: number of this process among those of a machine. It chooses the GPU where `name` has no number.

    Raises:
        HairclipError: if the name is unknown or the device is not there.
    """
    if name == "auto":
        has_mps = torch.backends.mps.is_available() and local_rank is None
        name = "cuda" if torch.cuda.is_available() else "mps" if has_mps else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise HairclipError(f"device '{name}' is unknown: choose auto, cpu, cuda, cuda:N or mps.") from None
    if device.type == "cuda" and device.index is None:  # with a number a thread can be told to work on it
        device = torch.device("cuda", local_rank or 0)
    if device.type == "cuda" and device.index >= torch.cuda.device_count():
        raise HairclipError(
            f"device '{device}' is not there (GPUs found: {torch.cuda.device_count()}): choose cpu or auto."
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise HairclipError("device 'mps' is not available here: choose cpu or auto.")
    if device.type not in ("cpu", "cuda", "mps"):
        raise HairclipError(f"device '{name}' is not supported: choose auto, cpu, cuda, cuda:N or mps.")
    return device
