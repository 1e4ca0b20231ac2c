import math
from dataclasses import replace

import pytest
import torch
from tiny_networks import N_LATENT, SIZE, W_DIM

from hairclip.inversion_check import LIMITS, InversionLimits, check_inversion
from hairclip.invert import METHODS, Inversion, InversionMethod


def inversion(identity: list[float], psnr: list[float], size: int = SIZE) -> Inversion:
    count = len(psnr)
    pictures, codes = torch.zeros(count, 3, size, size), torch.zeros(count, N_LATENT, W_DIM)
    return Inversion(codes, pictures, torch.tensor(psnr), 0, "encoder", torch.tensor(identity))


def test_a_stranger_is_told_in_one_sentence_and_a_likeness_is_not():
    found = inversion([0.95, 0.1, 0.95, 0.1], [30.0, 30.0, 12.5, 12.5])
    limits = InversionLimits(identity=0.4, psnr=20.0)
    told = [check_inversion(found, i, limits=limits, name="me.jpg") for i in range(4)]
    assert told[0] is None
    assert told[1] == (
        "me.jpg is rebuilt poorly (identity 0.10, good is 0.40 and more): the generated face is not this person's, so "
        "keep the photo's own by blending, or try --invert pivotal."
    )
    assert "12.5 dB" in told[2]
    assert "identity" not in told[2]
    assert "identity 0.10" in told[3]
    assert "12.5 dB" in told[3]


@pytest.mark.parametrize("method", METHODS)
def test_limits_follow_the_method(method: InversionMethod):
    limits = LIMITS[method]
    good = replace(inversion([limits.identity + 0.01], [limits.psnr + 0.1]), method=method)
    assert check_inversion(good) is None
    poor = replace(inversion([limits.identity - 0.01], [limits.psnr + 0.1]), method=method)
    sentence = check_inversion(poor)
    assert sentence.count(".") == 3  # two numbers and the end
    assert ("pivotal" in sentence) == (method != "pivotal")


def test_what_cannot_be_compared_is_not_judged_and_nan_is_poor():
    assert check_inversion(replace(inversion([0.0], [10.0]), identity=None)) is None
    assert "nan" in check_inversion(inversion([math.nan], [30.0]))


def test_large_generators_have_other_limits():
    """Published encoders of real faces rebuild about 19 dB: the small bundle's limit would refuse everyone."""
    assert check_inversion(inversion([0.5], [18.0], size=256)) is None
    assert check_inversion(inversion([0.1], [25.0], size=256)) is not None
