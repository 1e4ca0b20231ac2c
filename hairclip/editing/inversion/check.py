"""Say when an inversion is poor, so that nobody gets a stranger's face as their own."""

from collections.abc import Mapping

from hairclip.editing.inversion.invert import Inversion
from hairclip.pretrained.bundle_files import InversionLimits

__all__ = ["describe_poor_inversion", "describe_unknown_person"]


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
    missed = _list_missed(inversion, sample, limits)
    if not missed:
        return None
    can_be_better = inversion.method != "pivotal"
    if blend:
        advice = "so only its hair is used" + ('; inversion="pivotal" is nearer' if can_be_better else "")
    else:
        advice = "and without blending it would replace the photo's: leave out blend=False"
        advice += ', or try inversion="pivotal"' if can_be_better else ""
    return f"{name} is rebuilt poorly ({missed}): the generated face is not this person's, {advice}."


def describe_unknown_person(
    inversion: Inversion,
    sample: int = 0,
    *,
    limits: Mapping[str, InversionLimits],
    hairstyle: str,
    color: str | None = None,
    for_others: str | None = None,
    name: str = "the photo",
) -> str | None:
    """Return a sentence if the networks do not know a person well enough for a new hairstyle, else None.

    Args:
        inversion: inversion of a batch.
        sample: index of the sample in the batch.
        limits: method of inversion -> least figures of a good inversion; a bundle has them.
        hairstyle: the hairstyle that is asked for.
        color: the color that is asked for, which can be had alone; None for none.
        for_others: the bundle to download for people whom these networks do not know; None for none.
        name: what the sentence calls the photo.

    Returns:
        One sentence with the figures that are too low and what helps. None as for `describe_poor_inversion`.
    """
    missed = _list_missed(inversion, sample, limits)
    if not missed:
        return None
    ways = []
    if for_others is not None:
        ways.append(f'run "python -m hairclip download {for_others}" and give bundle="{for_others}"')
    elif inversion.method != "pivotal":
        ways.append('try inversion="pivotal"')
    if color is not None:
        ways.append(f'ask for the color alone, color="{color}"')
    ways.append("force=True makes the edit all the same")
    return (
        f"these networks do not know the person in {name} ({missed}), so the hairstyle {hairstyle} would look unreal: "
        f"{', or '.join(ways)}."
    )


def _list_missed(inversion: Inversion, sample: int, limits: Mapping[str, InversionLimits]) -> str:
    """Return the figures of a sample that are too low in words; nothing where none is, or none can be measured."""
    if inversion.identity is None:
        return ""
    limit, identity, psnr = limits[inversion.method], float(inversion.identity[sample]), float(inversion.psnr[sample])
    missed = []
    if not identity >= limit.identity:  # NaN is poor, too
        missed.append(f"identity {identity:.2f}, good is {limit.identity:.2f} and more")
    if not psnr >= limit.psnr:
        missed.append(f"{psnr:.1f} dB, good is {limit.psnr:.0f} dB and more")
    return "; ".join(missed)
