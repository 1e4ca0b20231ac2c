"""Colors of a picture that was recolored all over come back."""

import torch

from hairclip.editing.blending.colors import match_colors


def scene(seed: int = 0) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 12, 16, generator=random) * 1.4 - 0.7
    return torch.nn.functional.interpolate(coarse, size=(96, 128), mode="bicubic").clamp(-0.9, 0.9)


def test_gains_offsets_and_saturation_are_undone_although_a_quarter_was_changed():
    photo = scene()
    gray = photo.mean(dim=1, keepdim=True)
    picture = torch.lerp(gray, photo, 0.8) * torch.tensor([0.9, 0.8, 0.7]).view(3, 1, 1) + 0.1
    shared = torch.ones(1, 1, 96, 128, dtype=torch.bool)
    changed = picture.clone()
    changed[..., :48, :64] = scene(4)[..., :48, :64]
    match = match_colors(photo, changed, shared)
    off = (match.apply(picture) - photo).abs()
    assert float(off[..., 60:, 70:].max()) < 0.03
    assert float(off.mean()) < 0.03


def test_a_shade_that_varies_slowly_is_undone():
    photo = scene()
    ramp = torch.linspace(-0.12, 0.12, 128).view(1, 1, 1, -1)
    match = match_colors(photo, photo - ramp, torch.ones(1, 1, 96, 128, dtype=torch.bool))
    assert float((match.apply(photo - ramp) - photo).abs()[..., 12:-12].mean()) < 0.02


def test_nothing_shared_leaves_the_colors():
    photo = scene()
    match = match_colors(photo, photo * 0.5, torch.zeros(1, 1, 96, 128, dtype=torch.bool))
    torch.testing.assert_close(match.apply(photo * 0.5), photo * 0.5)
