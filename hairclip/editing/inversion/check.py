"""Say when an inversion is poor, so that nobody gets a stranger's face as their own."""

from collections.abc import Mapping

from hairclip.editing.inversion.invert import Inversion
from hairclip.pretrained.bundle_files import InversionLimits

__all__ = ["describe_poor_inversion"]


def describe_poor_inversion(
    inversion: Inversion,
    sample: int = 0,
    *,
    limits: Mapping[str, InversionLimits],
    name: str = "the photo",
    blend: bool = True,
) -> str | None:
    """Return a sentence if one sample of an inversion is poor, else None.

    Args:
        inversion: inversion of a batch.
        sample: index of the sample in the batch.
        limits: method of inversion -> least figures of a good inversion; a bundle has them.
        name: what the sentence calls the photo.
        blend: whether the photo keeps its own face. The advice in the sentence depends on it.

    Returns:
        One sentence with the figures that are too low and an advice. None if both figures reach their limits, or if
        there is no identity network to compare with.
    """
    if inversion.identity is None:
        return None
    limit, identity, psnr = limits[inversion.method], float(inversion.identity[sample]), float(inversion.psnr[sample])
    missed = []
    if not identity >= limit.identity:  # NaN is poor, too
        missed.append(f"identity {identity:.2f}, good is {limit.identity:.2f} and more")
    if not psnr >= limit.psnr:
        missed.append(f"{psnr:.1f} dB, good is {limit.psnr:.0f} dB and more")
    if not missed:
        return None
    can_be_better = inversion.method != "pivotal"
    if blend:
        advice = "so only its hair is used" + ('; inversion="pivotal" is nearer' if can_be_better else "")
    else:
        advice = "and without blending it would replace the photo's: leave out blend=False"
        advice += ', or try inversion="pivotal"' if can_be_better else ""
    return f"{name} is rebuilt poorly ({'; '.join(missed)}): the generated face is not this person's, {advice}."
