"""The command `python -m hairclip doctor`: say what is there, what is missing and where it belongs.

A broken torchvision must become a sentence and not a traceback, so nothing here imports it before it is checked.
"""

import argparse
import importlib.metadata
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.requirements import Requirement
from packaging.version import Version

from hairclip.common.errors import HairclipError
from hairclip.common.files import config_folder
from hairclip.pretrained.bundle_files import NEEDED_TO_EDIT, STAND_INS, OwnNetwork, Source, list_bundles, read_bundle
from hairclip.pretrained.registry import WEIGHTS, megabytes, total_size

if TYPE_CHECKING:
    from hairclip.config import Config


def add_command(commands: Any) -> None:
    """Add `doctor` to the subcommands of a parser."""
    doctor = commands.add_parser(
        "doctor",
        help="say what is there and what is missing, or what a weight file is",
        description="Without options, check torch, every bundle and every configuration that comes with hairclip.",
    )
    doctor.add_argument("--file", help="a weight file, or a name such as portraits/generator: say what it holds")
    doctor.add_argument("--config", action="append", default=[], help="check this YAML instead of the shipped ones")
    doctor.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    if options.file is None:
        examine(options.config)
        return
    from hairclip.pretrained.inspect import describe_file
    from hairclip.pretrained.sources import resolve

    print("\n".join(describe_file(resolve(options.file))))


def examine(configs: Sequence[str | Path] = ()) -> None:
    """Print the state of the installation.

    Args:
        configs: YAML files of trainings; empty takes those that come with hairclip.

    Raises:
        HairclipError: if torch and torchvision do not fit each other, or a configuration has a mistake.
    """
    from hairclip.config import load_config
    from hairclip.pretrained.download import is_offline, weights_folder

    trouble = []
    for line, fine in check_torch():
        print(line if fine else f"PROBLEM: {line}")
        trouble += [] if fine else [line]
    print(f"fetched weights: {weights_folder()}{' (offline mode: nothing is fetched)' if is_offline() else ''}")
    for name in list_bundles():
        print(f"bundle {name}: {check_bundle(name)}")
    for path in configs or shipped_configs():
        print(f"\n{path}")
        for line in check_config(load_config(path)):
            print(f"  {line}")
    if trouble:
        raise HairclipError(f"torch's parts do not fit each other: {trouble[0].rstrip('.')}.")


def shipped_configs() -> list[Path]:
    """Return the configurations that come with hairclip, from a checkout or from an installed wheel."""
    return sorted(config_folder().glob("*.yaml"))


def check_bundle(name: Source) -> str:
    """Return "ready", or which parts of a bundle are missing and how to get them.

    A bundle is ready when it can edit; parts that an edit can do without are then named behind.
    """
    from hairclip.pretrained.sources import find_unfetched

    parts = read_bundle(name).parts
    missing = [part for part, source in parts.items() if not _is_there(source)]
    replaced, missing = (
        [part for part in missing if (part in STAND_INS) is replaceable] for replaceable in (True, False)
    )
    stood_in = "".join(f"; {part} is missing, {STAND_INS[part]} takes its place" for part in replaced)
    if not missing:
        return f"ready{stood_in}"
    unfetched = find_unfetched(parts, missing).values()
    fetch = f"run python -m hairclip download {name} ({total_size(unfetched)})"
    told = f"{', '.join(missing)}: {fetch if unfetched else 'install hairclip again'}{stood_in}"
    return f"MISSING {told}" if set(missing) & set(NEEDED_TO_EDIT) else f"ready to edit, without {told}"


def check_config(config: "Config") -> Iterator[str]:
    """Yield a line for each weight file and each folder that a configuration names."""
    from hairclip.config import TRAINED_WITH

    networks, data = config.networks, config.data
    named = {part: getattr(networks, part) for part in TRAINED_WITH}
    if None in named.values():
        parts = read_bundle(networks.bundle).parts
        named |= {part: parts.get(part) for part, source in named.items() if source is None}
    for part, source in named.items():
        yield f"networks.{part}: {_state(source) if source else f'MISSING: {networks.bundle} has none'}"
    for key in ("latents", "validation_latents"):
        source = getattr(data, key)
        if source == "sampled":
            yield f"data.{key}: drawn from the generator, no file needed"
        elif source is not None:
            yield f"data.{key}: {_state(source)}"
    for key in ("hairstyle_images", "hairstyle_folders", "color_images", "color_folders"):
        folder = getattr(data, key)
        if folder is not None:
            made = f"run python -m hairclip references --kind {key.removesuffix('_folders')} --out {folder}, or "
            missing = f"MISSING: {made if '_folders' in key else ''}put that folder at {Path(folder).resolve()}"
            yield f"data.{key}: {folder}: {'there' if Path(folder).is_dir() else missing}"


def _is_there(source: Source) -> bool:
    return ": there" in _state(source)


def _state(source: Source) -> str:
    """Return whether the file that a name or path means is there, and otherwise how to get it or where to put it."""
    from hairclip.pretrained.download import weight_path
    from hairclip.pretrained.sources import embedded_file, is_weight_name, source_of

    name = source_of(source.file or source) if isinstance(source, OwnNetwork) else source_of(source)
    weight = WEIGHTS.get(name)
    if weight is not None:
        path = weight_path(weight)
        unfinished = path.with_name(f"{path.name}.partial")
        remedy = (
            f"run python -m hairclip download {name} ({megabytes(weight.size)}, {weight.license}), or put it at {path}"
        )
        if unfinished.is_file():
            remedy = f"{megabytes(unfinished.stat().st_size)} of it are fetched; {remedy}"
        wrong = weight.size is not None and path.is_file() and path.stat().st_size != weight.size
        if wrong:
            return f"{name}: WRONG: {path} has {path.stat().st_size:,} bytes in place of {weight.size:,}: remove it"
    elif is_weight_name(name):
        path, remedy = embedded_file(name), "install hairclip again"
    else:
        path = Path(name)
        remedy = f"put it at {path.resolve()}"
    return f"{name}: there ({megabytes(path.stat().st_size)})" if path.is_file() else f"{name}: MISSING: {remedy}"


def check_torch() -> Iterator[tuple[str, bool]]:
    """Yield lines about torch, its devices and torchvision, each with whether all is well."""
    import torch

    kinds = (("CUDA", torch.version.cuda), ("ROCm", torch.version.hip))
    built = " and ".join(f"{name} {version}" for name, version in kinds if version)
    yield f"torch {torch.__version__}, built for {built or 'the CPU'}", True
    yield from _check_cuda()
    if torch.backends.mps.is_available():
        yield "device mps", True
    yield from _check_torchvision(torch.__version__)


def _check_cuda() -> Iterator[tuple[str, bool]]:
    import torch

    if not torch.cuda.is_available():
        if shutil.which("nvidia-smi") is not None:
            why = "this torch is built for the CPU" if torch.version.cuda is None else "its driver is too old or asleep"
            yield f"an NVIDIA GPU seems to be here, but torch cannot use it: {why}", True
        return
    kinds = torch.cuda.get_arch_list()
    for number in range(torch.cuda.device_count()):
        major, minor = torch.cuda.get_device_capability(number)
        name = f"device cuda:{number} {torch.cuda.get_device_name(number)}"
        # A binary runs on later devices of its major version; PTX (compute_) on all later ones.
        binaries = [kind[3:].rstrip("af") for kind in kinds if kind.startswith("sm_")]
        ptx = [kind[8:].rstrip("af") for kind in kinds if kind.startswith("compute_")]
        runs = any(int(b[:-1]) == major and int(b[-1]) <= minor for b in binaries)
        runs = runs or any((int(p[:-1]), int(p[-1])) <= (major, minor) for p in ptx)
        if runs or not kinds:
            yield name, True
        else:
            yield f"{name} is of kind sm_{major}{minor}, for which this torch is not built ({', '.join(kinds)})", False


def _check_torchvision(torch_version: str) -> Iterator[tuple[str, bool]]:
    try:
        version = importlib.metadata.version("torchvision")
    except importlib.metadata.PackageNotFoundError:
        yield "torchvision is missing: install the one that belongs to this torch", False
        return
    for text in importlib.metadata.requires("torchvision") or []:
        wanted = Requirement(text)
        if wanted.name == "torch" and not wanted.specifier.contains(Version(torch_version).public, prereleases=True):
            yield f"torchvision {version} wants torch{wanted.specifier}, but torch {torch_version} is installed", False
            return
    ours, theirs = Version(torch_version).local, Version(version).local
    if ours and theirs and ours != theirs:
        yield f"torchvision {version} and torch {torch_version} are built for different devices", False
        return
    try:
        import torch
        import torchvision  # itself compares its CUDA with torch's

        torchvision.ops.nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.ones(1), 0.5)
    except Exception as error:  # what a mismatch raises depends on where it shows
        reason = str(error).strip().split("\n")[0]
        yield f"torchvision {version} does not work with torch {torch_version} ({reason}): install both together", False
        return
    yield f"torchvision {version} fits", True
