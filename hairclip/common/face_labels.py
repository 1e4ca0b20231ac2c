"""The ids of CelebAMask-HQ, which every label map of this project uses."""

__all__ = ["BACKGROUND", "CELEBAMASK_CLASSES", "HAIR", "MIRRORED"]

CELEBAMASK_CLASSES = (
    "background", "skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "l_ear", "r_ear",
    "mouth", "u_lip", "l_lip", "hair", "hat", "ear_r", "neck_l", "neck", "cloth",
)  # fmt: skip
"""Names of the classes in the order of their ids (Lee et al. 2020, "MaskGAN"). Left and right as seen in the image."""

BACKGROUND = CELEBAMASK_CLASSES.index("background")
HAIR = CELEBAMASK_CLASSES.index("hair")

_PAIRS = {"l_eye": "r_eye", "l_brow": "r_brow", "l_ear": "r_ear"}
_OTHER_SIDE = _PAIRS | {right: left for left, right in _PAIRS.items()}
MIRRORED = tuple(CELEBAMASK_CLASSES.index(_OTHER_SIDE.get(name, name)) for name in CELEBAMASK_CLASSES)
"""Id of a class -> its id in the mirrored picture, where left and right have changed places."""
