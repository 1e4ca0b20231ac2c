import pytest
import torch
from torch.nn import functional as F

from hairclip.editing.inversion.perceptual import PerceptualDistance, parser_distance
from tests.helpers.tiny_networks import tiny_networks


def pictures(seed: int) -> torch.Tensor:
    coarse = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return F.interpolate(coarse, size=32, mode="bicubic").clamp(-1, 1)


def test_the_distance_orders_pictures_and_leaves_no_hook_behind():
    nets = tiny_networks()
    images = pictures(0)
    near = (images + 0.05).clamp(-1, 1)
    for distance in (PerceptualDistance(nets.judge, layers=["blocks.0", "blocks.1"]), parser_distance(nets.parser)):
        assert (distance(images, images) == 0).all()
        assert (distance(images, near) < distance(images, pictures(9))).all()
        assert not any(module._forward_hooks for module in distance.network.modules())
    assert PerceptualDistance(nets.parser)(images, near).shape == (2,)
    with pytest.raises(ValueError, match="no layer"):
        PerceptualDistance(nets.judge, layers=["missing"])(images, images)


def test_the_network_runs_no_further_than_the_last_layer_asked_for():
    nets = tiny_networks()
    seen: list[str] = []
    nets.parser.up[0].register_forward_hook(lambda *_: seen.append("up"))
    images = pictures(0)
    found = parser_distance(nets.parser).features(images)
    assert len(found) == 4  # the center has 2 pixels
    assert seen == []
    everything = PerceptualDistance(nets.parser, ["down.0", "up.3"], run=nets.parser.logits).features(images)
    assert seen == ["up"]
    torch.testing.assert_close(found[0], everything[0])


def test_features_say_where_to_go():
    distance = parser_distance(tiny_networks().parser)
    images, target = pictures(0).requires_grad_(), pictures(1)
    before = distance(images, target)
    (gradient,) = torch.autograd.grad(before.sum(), images)
    assert gradient.isfinite().all()
    step = images.detach() - 0.05 * gradient / gradient.flatten(1).norm(dim=1)[:, None, None, None]
    assert (distance(step, target) < before).all()
