"""What is evaluated: a mapper in the editor that a configuration describes, and the networks that measure it."""

import torch

from hairclip.common.errors import HairclipError
from hairclip.config import Config
from hairclip.editing.editor import HairEditor
from hairclip.networks.mapper import HairMapper
from hairclip.pretrained.bundle import Bundle
from hairclip.training.setup import build_loss, network_bundle

__all__ = ["configured_editor", "measuring_networks"]


def measuring_networks(config: Config, device: torch.device, *, named: str) -> Bundle:
    """The networks of a configuration, encoder and judge among them.

    Args:
        config: the configuration.
        device: where they shall be.
        named: its file, for the message.

    Raises:
        HairclipError: if encoder or judge is missing.
    """
    networks = network_bundle(config, device)
    missing = [part for part in ("encoder", "judge") if part not in networks.parts]
    if missing:
        raise HairclipError(
            f"{named}: there is no {' and no '.join(missing)} among its networks, so nothing can be measured: "
            "use a configuration whose networks.bundle has them, such as configs/portraits.yaml."
        )
    return networks


def configured_editor(config: Config, networks: Bundle, mapper: HairMapper) -> HairEditor:
    """An editor with the layer groups and losses of a configuration."""
    groups = config.mapper.groups[0], config.mapper.groups[1]
    return HairEditor(networks, mapper=mapper.eval(), groups=groups, loss=build_loss(config, networks))
