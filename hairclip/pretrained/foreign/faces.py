"""Read networks that look at aligned faces: IR-SE and Inception-ResNet, and the encoders of e4e and pSp."""

import math
from collections.abc import Mapping
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from hairclip.common.errors import HairclipError
from hairclip.pretrained.foreign.formats import Format, State, Surroundings, series


def _without_backbone(ours: str, config: Mapping[str, Any]) -> str:
    return ours.removeprefix("backbone.")


def _read_ir_se(state: State, around: Surroundings) -> tuple[dict[str, Any], State]:
    config: dict[str, Any] = _residual_stages(state)
    config["embedding"], features = state["output_layer.3.weight"].shape
    spatial = math.isqrt(features // config["widths"][-1])
    config["input_size"] = spatial * 2 ** len(config["units"])
    return config, {}


def _read_inception(state: State, around: Surroundings) -> tuple[dict[str, Any], State]:
    return {}, {}


#: What the option `encoder_type` of e4e's and pSp's training names -> whether styles after the first are offsets.
#: Files without the option are taken for e4e.
_ENCODER_TYPES = {None: True, "Encoder4Editing": True, "GradualStyleEncoder": False}


def _read_e4e(state: State, around: Surroundings) -> tuple[dict[str, Any], State]:
    encoder_type = around.options.get("encoder_type")
    if encoder_type not in _ENCODER_TYPES:
        raise HairclipError(
            f"it is an encoder of the type {str(encoder_type)[:60]}, which hairclip does not have: give one of e4e "
            "(Encoder4Editing) or pSp (GradualStyleEncoder)"
        )
    n_latent = len(series(state, "styles.{}.linear.weight"))
    halvings = [sum(f"styles.{i}.convs.{2 * j}.weight" in state for j in range(16)) for i in range(n_latent)]
    w_dim, style_width = state["styles.0.linear.weight"].shape
    config = {
        **_residual_stages(state),
        "n_latent": n_latent,
        "w_dim": w_dim,
        "style_width": style_width,
        "input_size": 16 * 2 ** halvings[0],
        "fpn_width": state["latlayer1.weight"].shape[0],
        "levels": [sum(count <= halvings[0] + level for count in halvings) for level in (0, 1)],
        "offsets": _ENCODER_TYPES[encoder_type],
    }
    # The official code adds no average to the codes if start_from_latent_avg was off in training.
    average = around.content.get("latent_avg")
    if not isinstance(average, Tensor) or around.options.get("start_from_latent_avg") is False:
        average = torch.zeros(n_latent, w_dim)
    return config, {"latent_avg": average.repeat(n_latent, 1) if average.ndim == 1 else average}


def _residual_stages(state: State) -> dict[str, Any]:
    """Return units and widths of the stages of an IR-SE body; units of one width in a row are one stage."""
    each = [weight.shape[0] for weight in series(state, "body.{}.res_layer.1.weight")]
    stages = [(width, len(list(run))) for width, run in groupby(each)]
    return {"units": [length for _, length in stages], "widths": [width for width, _ in stages]}


FACE_FORMATS = (
    Format(
        name="IR-SE50 face recognition",
        kind="identity",
        class_name="IdentityEncoder",
        names=r"(input_layer|output_layer|body)\..+",
        sizes={"input_layer.0.weight": 4, "output_layer.3.weight": 2, "body.0.res_layer.5.fc1.weight": 4},
        read=_read_ir_se,
        theirs=_without_backbone,
    ),
    Format(
        name="facenet-pytorch's InceptionResnetV1",
        kind="identity",
        class_name="FacenetEncoder",
        names=r"(conv2d_\d[ab]|repeat_\d|mixed_\d[ab]|block8|last_linear|last_bn|logits)\..+",
        sizes={"conv2d_1a.conv.weight": 4, "last_linear.weight": 2},
        read=_read_inception,
        theirs=_without_backbone,
        unused=r"logits\..+",  # the classes of its training set
    ),
    Format(
        name="the e4e or pSp encoder",
        kind="encoder",
        class_name="E4EEncoder",
        names=r"(input_layer|body|styles|latlayer\d)\..+",
        sizes={"input_layer.0.weight": 4, "latlayer1.weight": 4, "styles.0.linear.weight": 2},
        read=_read_e4e,
        holders=("state_dict", ""),
        prefixes=("encoder.", ""),
        unused="latent_avg",
    ),
)
