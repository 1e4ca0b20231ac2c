"""One whole official training step at 1024 px: every term, their sum, and the gradient of every mapper parameter."""

import numpy as np
import pytest
import torch

from hairclip.conditions.encoder import ConditionEncoder
from hairclip.pretrained import foreign as checkpoint_keys
from tests.golden import golden, official, relative_error, tensor
from tests.helpers.foreign import build

TERMS = {
    "id": "identity",
    "th": "text_hairstyle",
    "tc": "text_color",
    "ih": "image_hairstyle",
    "ic": "image_color",
    "mc": "maintain_color",
    "bg": "background",
    "l2": "latent",
}
TERM_OF_HAIRSTYLE = {"text": "th", "img": "ih", "none": None}
TERM_OF_COLOR = {"text": "tc", "img": "ic", "none": None}
MODES = ["text_none", "img_none", "none_text", "none_img", "text_text", "img_img", "text_img", "none_none"]


@pytest.fixture(scope="module")
def step_networks(official_loss):
    checkpoint = {"state_dict": official("hairclip_pt")}
    mapper = build(checkpoint, "mapper").requires_grad_(True)
    return mapper, build(checkpoint, "generator"), official_loss


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_a_whole_step_agrees(mode, step_networks, picture):
    mapper, generator, loss = step_networks
    hairstyle_kind, color_kind = mode.split("_")
    hairstyle = {"text": "bob cut", "img": picture("step:ref_style"), "none": None}[hairstyle_kind]
    color = {"text": "red", "img": picture("step:ref_color"), "none": None}[color_kind]
    w_plus = tensor("step:w", (1, 18, 512), 0, 0.5)
    batch = ConditionEncoder(loss.clip, loss.parser).encode([hairstyle], [color])
    with torch.no_grad():
        source = loss.source_features(generator(w_plus, noise="const"))

    mapper.zero_grad()
    w_hat = w_plus + mapper(w_plus, batch.condition)
    output = loss(source, generator(w_hat, noise="const"), w_plus, w_hat, batch)
    output.total.backward()

    applicable = {"id", "bg", "l2", TERM_OF_HAIRSTYLE[hairstyle_kind], TERM_OF_COLOR[color_kind]}
    if hairstyle is not None and color is None:
        applicable.add("mc")
    for theirs, ours in TERMS.items():
        if theirs in applicable:
            assert relative_error(output.terms[ours][0], f"step.{mode}.{theirs}") < 1e-4, ours
        else:
            assert output.terms[ours].item() == 0, ours
    assert relative_error(output.total, f"step.{mode}.loss") < 1e-4

    parameters = checkpoint_keys.mapper_to_hairclip(dict(mapper.named_parameters()))
    ours = [parameters[str(name)].grad for name in golden("step.grad_names")]
    norms = torch.stack([torch.zeros(()) if gradient is None else gradient.norm() for gradient in ours])
    # Leaky-ReLU sign flips in float32 move gradients by up to 1e-3 between equally right formulations.
    assert relative_error(norms, f"step.{mode}.grad_norms") < 2e-3
    expected = golden(f"step.{mode}.grad_norms")
    np.testing.assert_array_equal(norms.numpy() == 0, expected == 0)
