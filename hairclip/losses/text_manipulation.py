"""Text manipulation loss: the edited picture against the hairstyle and the colour that a text asks for."""

from hairclip.images import Embeddings, Flags, Scores
from hairclip.losses.masked import cosine_distance


def text_loss(edited: Embeddings, text: Embeddings, applies: Flags) -> Scores:
    """1 - cosine between CLIP's embedding of the whole edited picture and of a text (HairCLIP section 3.3).

    Args:
        edited: embeddings of the edited pictures, ``(B, width)``.
        text: embeddings of the prompts, ``(B, width)``; rows that do not apply are ignored.
        applies: whether the sample is asked for by a text.
    """
    return cosine_distance(edited, text, applies)
