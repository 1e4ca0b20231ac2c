"""Read face parsers: the U-Net of CelebAMask-HQ, and BiSeNet under two sets of names."""

import re
from collections.abc import Mapping
from typing import Any

from hairclip.pretrained.foreign.formats import Format, State, Surroundings, series


def _read_unet(state: State, around: Surroundings) -> tuple[dict[str, Any], State]:
    blocks = [*series(state, "conv{}.conv1.0.weight", first=1), state["center.conv1.0.weight"]]
    return {"filters": [weight.shape[0] for weight in blocks]}, {}


def _unet_name(ours: str, config: Mapping[str, Any]) -> str:
    depth = len(config["filters"]) - 1
    ours = re.sub(r"^down\.(\d+)\.", lambda match: f"conv{int(match[1]) + 1}.", ours)
    return re.sub(r"^up\.(\d+)\.", lambda match: f"up_concat{depth - int(match[1])}.", ours)


def _read_bisenet(state: State, around: Surroundings) -> tuple[dict[str, Any], State]:
    block = re.compile(r"(?:cp\.resnet|fpn\.backbone)\.layer([1-4])\.\d+\.conv1\.weight")
    layers = [match[1] for key in state if (match := block.fullmatch(key)) is not None]
    return {"blocks": [layers.count(layer) for layer in "1234"]}, {}


#: Our names, which are those of 79999_iter.pth, to those of yakhyo/face-parsing, one after the other.
_YAKHYO = (
    (r"\.conv_atten\.", ".attention.0."),
    (r"\.bn_atten\.", ".attention.1."),
    (r"^(conv_out|cp\.arm\d+)\.conv\.(?=conv\.|bn\.)", r"\1.conv_block."),
    (r"^conv_out\.conv_out\.", "conv_out.conv."),
    (r"^ffm\.convblk\.", "ffm.conv_block."),
    (r"^cp\.resnet\.", "fpn.backbone."),
    (r"^cp\.", "fpn."),
    (r"\.bn\.", ".norm."),
)


def _yakhyo_name(ours: str, config: Mapping[str, Any]) -> str:
    for pattern, name in _YAKHYO:
        ours = re.sub(pattern, name, ours)
    return ours


PARSER_FORMATS = (
    Format(
        name="the U-Net of CelebAMask-HQ",
        kind="parser",
        class_name="UNetParser",
        names=r"(conv\d+|center|up_concat\d+)\.(up|conv|conv\d)\..+|final\.(weight|bias)",
        sizes={"conv1.conv1.0.weight": 4, "center.conv1.0.weight": 4, "final.weight": 4},
        read=_read_unet,
        theirs=_unet_name,
    ),
    Format(
        name="BiSeNet",
        kind="parser",
        class_name="BiSeNet",
        names=r"(cp|ffm|conv_out\d*)\..+",
        sizes={"cp.resnet.conv1.weight": 4},
        read=_read_bisenet,
        unused=r"(conv_out16|conv_out32|cp\.resnet\.fc)\..+",
    ),
    Format(
        name="yakhyo's BiSeNet",
        kind="parser",
        class_name="BiSeNet",
        names=r"(fpn|ffm|conv_out\d*)\..+",
        sizes={"fpn.backbone.conv1.weight": 4},
        read=_read_bisenet,
        theirs=_yakhyo_name,
        unused=r"(conv_out16|conv_out32|fpn\.backbone\.fc)\..+",
    ),
)
