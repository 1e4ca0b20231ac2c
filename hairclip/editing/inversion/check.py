"""Say when an inversion is poor, so that nobody is handed a stranger's face as their own."""

from collections.abc import Mapping

from hairclip.editing.inversion.invert import Inversion
from hairclip.pretrained.bundle_files import InversionLimits

__all__ = ["check_inversion"]


def check_inversion(
    inversion: Inversion,
    sample: int = 0,
    *,
    limits: Mapping[str, InversionLimits],
    name: str = "the photo",
    blend: bool = True,
) -> str | None:
    """A sentence if one sample's inversion is poor, None if it is good enough or there is no identity to compare.

    Args:
        inversion: of a batch.
        sample: which of its samples.
        limits: method of inversion -> the figures below which it is poor, as a bundle gives them.
        name: of the photo, for the sentence.
        blend: whether the photo's own face will be kept; what the sentence advises depends on it.
    """
    if inversion.identity is None:
        return None
    limit, identity, psnr = limits[inversion.method], float(inversion.identity[sample]), float(inversion.psnr[sample])
    missed = []
    if not identity >= limit.identity:
        missed.append(f"identity {identity:.2f}, good is {limit.identity:.2f} and more")
    if not psnr >= limit.psnr:
        missed.append(f"{psnr:.1f} dB, good is {limit.psnr:.0f} dB and more")
    if not missed:
        return None
    if blend:
        advice = "so only its hair is used" + ("" if inversion.method == "pivotal" else "; --invert pivotal is nearer")
    else:
        other = "" if inversion.method == "pivotal" else ", or try --invert pivotal"
        advice = f"and without blending it would replace the photo's: leave out --no-blend{other}"
    return f"{name} is rebuilt poorly ({'; '.join(missed)}): the generated face is not this person's, {advice}."
