"""Image manipulation loss: the edited hair against the hairstyle and the colour of reference pictures."""

from hairclip.common.color import LabColors
from hairclip.common.images import Embeddings, Flags, Scores
from hairclip.losses.masked import asked_rows, cosine_distance, where_asked


def hairstyle_loss(edited_hair: Embeddings, reference_hair: Embeddings, applies: Flags) -> Scores:
    """1 - cosine between CLIP's embeddings of the edited and of the reference hair (HairCLIP section 3.3).

    Args:
        edited_hair: embeddings of the edited pictures with all but the hair set to 0, ``(B, width)``.
        reference_hair: embeddings of the references, prepared the same way; rows that do not apply are ignored.
        applies: whether the sample has a hairstyle reference.
    """
    return cosine_distance(edited_hair, reference_hair, applies)


def hair_color_loss(edited: LabColors, wanted: LabColors, applies: Flags) -> Scores:
    """Mean absolute difference of two mean Lab hair colours (HairCLIP section 3.3), in Lab units.

    Args:
        edited: mean Lab of the edited hair, ``(B, 3)``, see :func:`hairclip.common.color.mean_lab`.
        wanted: mean Lab of the reference's hair; rows that do not apply are ignored.
        applies: whether the sample has a colour reference.
    """
    return where_asked(applies, (edited - asked_rows(applies, wanted)).abs().mean(dim=1))
