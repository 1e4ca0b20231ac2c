"""Say when an inversion is poor, so that nobody is handed a stranger's face as their own."""

from dataclasses import dataclass

from hairclip.editing.inversion.invert import Inversion, InversionMethod

__all__ = ["LIMITS", "InversionLimits", "check_inversion"]


@dataclass(frozen=True)
class InversionLimits:
    """Below which figures an inversion is poor.

    Attributes:
        identity: least cosine of the identity embeddings of photo and inversion.
        psnr: least PSNR, dB; networks trained on few faces confuse what lies far from all of them, so that the cosine
            alone lets a blurred grey face pass for another.
    """

    identity: float
    psnr: float


LIMITS: dict[InversionMethod, InversionLimits] = {
    "encoder": InversionLimits(identity=0.70, psnr=22.0),
    "optimize": InversionLimits(identity=0.95, psnr=23.0),
    "pivotal": InversionLimits(identity=0.95, psnr=23.0),
}
"""For the portraits bundle. Of 200 held-out portraits the encoder rebuilds 1 below 0.70, which one pair of strangers in
a hundred reaches, and none below 23.0 dB. Where identity is a term of the descent itself, more is asked: of 16
portraits none is below 0.98 and 24.6 dB by `optimize`, 0.98 and 25.5 dB by `pivotal`. A real photograph got 0.75 and
17.7 dB by the encoder and 0.98 and 20.9 dB by `optimize`: there the decibels tell."""

FFHQ_LIMITS = InversionLimits(identity=0.25, psnr=0.0)
"""For generators of photographs, by any method: about where ArcFace tells people apart. Not calibrated."""


def check_inversion(
    inversion: Inversion,
    sample: int = 0,
    *,
    limits: InversionLimits | None = None,
    name: str = "the photo",
    blend: bool = True,
) -> str | None:
    """A sentence if one sample's inversion is poor, None if it is good enough or there is no identity to compare.

    Args:
        inversion: of a batch.
        sample: which of its samples.
        limits: None takes `LIMITS` for generators under 256 pixels, and the cosine at which ArcFace tells people apart
            for larger ones.
        name: of the photo, for the sentence.
        blend: whether the photo's own face will be kept; what the sentence advises depends on it.
    """
    if inversion.identity is None:
        return None
    if limits is None:
        limits = LIMITS[inversion.method] if inversion.images.shape[-1] < 256 else FFHQ_LIMITS
    identity, psnr = float(inversion.identity[sample]), float(inversion.psnr[sample])
    missed = []
    if not identity >= limits.identity:
        missed.append(f"identity {identity:.2f}, good is {limits.identity:.2f} and more")
    if not psnr >= limits.psnr:
        missed.append(f"{psnr:.1f} dB, good is {limits.psnr:.0f} dB and more")
    if not missed:
        return None
    if blend:
        advice = "so only its hair is used" + ("" if inversion.method == "pivotal" else "; --invert pivotal is nearer")
    else:
        other = "" if inversion.method == "pivotal" else ", or try --invert pivotal"
        advice = f"and without blending it would replace the photo's: leave out --no-blend{other}"
    return f"{name} is rebuilt poorly ({'; '.join(missed)}): the generated face is not this person's, {advice}."
