"""InceptionResnetV1 of facenet-pytorch (FaceNet, Schroff et al. 2015; VGGFace2 weights) as an identity network."""

from collections.abc import Sequence
from typing import Any

from facenet_pytorch import InceptionResnetV1

from hairclip.networks.ir_se import FACE_CROP, Embeddings, FaceEncoder, Faces


class FacenetEncoder(FaceEncoder):
    """Aligned faces of any size to identity embeddings of facenet-pytorch's network.

    Args:
        input_size: pixels of the faces that the network sees; it was trained with 160.
        frame: pixels to which the aligned face is resized before the crop.
        crop: (top, bottom, left, right) of the crop as fractions of the frame; the one of the identity loss, which is
            about as tight as the face boxes that the network was trained with.
    """

    def __init__(self, *, input_size: int = 160, frame: int = 256, crop: Sequence[float] = FACE_CROP) -> None:
        super().__init__(input_size=input_size, frame=frame, crop=crop)
        self.backbone = InceptionResnetV1()

    @property
    def config(self) -> dict[str, Any]:
        """The arguments of the constructor, fit for JSON."""
        return {"input_size": self.input_size, "frame": self.frame, "crop": list(self.crop)}

    def embed(self, faces: Faces) -> Embeddings:
        """See `FaceEncoder.embed`."""
        return self.backbone(faces * (127.5 / 128))  # trained on (pixels - 127.5) / 128
