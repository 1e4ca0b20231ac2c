import torch
from torch.nn import functional as F

from hairclip.common.metrics import psnr
from hairclip.editing.inversion.loss import ReconstructionLoss, gradient_loss, pyramid_loss, texture_loss


def test_losses_vanish_for_equal_pictures_and_psnr_follows_its_formula():
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    for loss in (pyramid_loss, gradient_loss, texture_loss, lambda a, b: ReconstructionLoss().to(b)(a)):
        assert loss(images, images).eq(0).all()
    torch.testing.assert_close(psnr(torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 0.2)), torch.tensor([20.0]))


def test_texture_counts_how_much_detail_there_is_and_not_where():
    """Other strands of the same hair are nearer than no strands; pixels say the contrary."""
    random = torch.Generator().manual_seed(0)
    strands, others = torch.randn(2, 2, 3, 64, 64, generator=random) * 0.2
    smooth = F.avg_pool2d(strands, 9, stride=1, padding=4)
    assert (texture_loss(others, strands) < 0.2 * texture_loss(smooth, strands)).all()
    assert (pyramid_loss(others, strands) > pyramid_loss(smooth, strands)).all()


def test_texture_of_flat_and_of_tiny_pictures_has_a_gradient():
    for size in (8, 32):
        images = torch.zeros(1, 3, size, size, requires_grad=True)
        loss = texture_loss(images, torch.rand(1, 3, size, size)).sum() + 0 * images.sum()
        assert torch.autograd.grad(loss, images)[0].isfinite().all()


def test_every_term_counts_with_its_weight():
    images, target = torch.rand(2, 1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1

    def identity(images: torch.Tensor) -> torch.Tensor:
        return images.mean(dim=(2, 3)) + torch.tensor([1.0, 0.0, 0.0])

    plain = ReconstructionLoss(texture_weight=0.0).to(target)(images)
    with_texture = ReconstructionLoss(texture_weight=2.0).to(target)(images)
    torch.testing.assert_close(with_texture - plain, 2.0 * texture_loss(images, target))
    known = ReconstructionLoss(identity=identity, texture_weight=0.0, identity_weight=0.5).to(target)(images)
    cosine = F.cosine_similarity(identity(images), identity(target))
    torch.testing.assert_close(known - plain, 0.5 * (1 - cosine), atol=1e-6, rtol=1e-3)
