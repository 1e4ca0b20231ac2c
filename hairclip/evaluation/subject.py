"""Build what is evaluated: the networks and the editor that a configuration describes."""

import torch

from hairclip.common.errors import HairclipError
from hairclip.config import Config
from hairclip.editing.editor import HairEditor
from hairclip.networks.mapper import HairMapper
from hairclip.pretrained.bundle import Bundle
from hairclip.training.setup import build_loss, network_bundle

__all__ = ["configured_editor", "measuring_networks"]


def measuring_networks(config: Config, device: torch.device, *, named: str) -> Bundle:
    """Return the networks of a configuration, with encoder and judge among them.

    Args:
        config: the configuration.
        device: device of the networks.
        named: file of the configuration, for the message.

    Raises:
        HairclipError: if encoder or judge is missing.
    """
    networks = network_bundle(config, device)
    missing = [part for part in ("encoder", "judge") if part not in networks.parts]
    if missing:
        raise HairclipError(
            f"{named}: there is no {' and no '.join(missing)} among its networks, so nothing can be measured: "
            "use a configuration whose networks.bundle has them, such as configs/portraits.yaml, or measure edits of "
            "photos."
        )
    return networks


def configured_editor(config: Config, networks: Bundle, mapper: HairMapper) -> HairEditor:
    """Return an editor with the layer groups and the losses of a configuration."""
    groups = config.mapper.groups[0], config.mapper.groups[1]
    return HairEditor(networks, mapper=mapper.eval(), groups=groups, loss=build_loss(config, networks))
