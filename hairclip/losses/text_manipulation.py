"""Text manipulation loss: the edited picture against the hairstyle and the colour that a text asks for."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from hairclip.common.images import Embeddings, Flags, Scores
from hairclip.losses.masked import asked_rows, cosine_distance, where_asked


def text_loss(edited: Embeddings, text: Embeddings, applies: Flags) -> Scores:
    """1 - cosine between CLIP's embedding of the whole edited picture and of a text (HairCLIP section 3.3).

    Args:
        edited: embeddings of the edited pictures, ``(B, width)``.
        text: embeddings of the prompts, ``(B, width)``; rows that do not apply are ignored.
        applies: whether the sample is asked for by a text.
    """
    return cosine_distance(edited, text, applies)


def contrast_loss(
    edited: Embeddings, asked: Embeddings, words: Float[Tensor, "words embedding"], scale: float, applies: Flags
) -> Scores:
    """How much less CLIP reads what was asked than other words: a divergence of two zero-shot classifications.

    Not in HairCLIP. The cosine to a text grows with everything that the text shares with its rivals; what sets it
    apart from them is a small part. CLIP was trained to tell captions apart (Radford et al. 2021, section 2.3), and so
    does this term: Kullback-Leibler divergence from the distribution over `words` that belongs to what was asked to
    that of the edited picture, in nats. An embedding between several words asks for just that mixture.

    Args:
        edited: embeddings of the edited pictures, ``(B, width)``.
        asked: embeddings of texts, or of references seen as such, ``(B, width)``; rows that do not apply are ignored.
        words: embeddings of all the words that there are, ``(words, width)``.
        scale: CLIP's logit scale, the inverse of its temperature.
        applies: whether the sample is asked for.
    """
    words = F.normalize(words, dim=1)
    seen, wanted = (
        (scale * F.normalize(embeddings, dim=1) @ words.T).log_softmax(dim=1)
        for embeddings in (edited, asked_rows(applies, asked))
    )
    return where_asked(applies, (wanted.exp() * (wanted - seen)).sum(dim=1))
