"""What a weight file is and what it holds, in lines for people; nothing is built and nothing runs."""

import json
from pathlib import Path

from hairclip import checkpoint_keys
from hairclip.errors import HairclipError
from hairclip.latent_files import map_latents
from hairclip.network_files import read_content, recognise_network
from hairclip.weight_files import describe_layout, is_safetensors, read_metadata

_KINDS = ("generator", "clip", "parser", "identity", "encoder", "mapper", "judge")


def describe_file(path: Path) -> list[str]:
    """A line on the file, then one on every network or latent set in it; official files hold up to three.

    Raises:
        HairclipError: if it holds nothing that hairclip knows, or something damaged or changed.
    """
    own = read_metadata(path).get("hairclip_kind") if is_safetensors(path) else None
    networks: list[str] = []
    failures: list[HairclipError] = []
    if own == "latents":
        networks.append(_latents(path))
    else:
        metadata, content = read_content(path)
        best = checkpoint_keys.best_candidate(content) if own is None else None
        for kind in _KINDS if own is None else (own,):
            try:
                network = recognise_network(path, kind, metadata, content)
            except HairclipError as error:
                # the reason worth telling is the one about what the file looks most like
                first = best is not None and best.is_like and best.form.kind == kind
                failures.insert(0 if first else len(failures), error)
                continue
            numbers = sum(tensor.numel() for tensor in network.state.values())
            networks.append(
                f"{kind} ({network.class_name or kind}): {len(network.state)} tensors, {numbers:,} numbers, "
                f"{network.form}, {json.dumps(network.config)}"
            )
        if not networks and own is None and (best is None or not best.is_like):
            networks.append(_latents(path))
    if not networks:
        raise failures[0]
    return [f"{path}: {path.stat().st_size / 1e6:,.1f} MB, {describe_layout(path)}", *networks]


def _latents(path: Path) -> str:
    codes = map_latents(path)
    kind = str(codes.dtype).removeprefix("torch.")
    return f"latents: {' x '.join(map(str, codes.shape))} (codes x layers x width), {kind}"
