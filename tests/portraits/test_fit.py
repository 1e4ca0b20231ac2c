"""The recipes of the portrait networks, on a handful of tiny pictures that no renderer had to draw."""

import numpy as np
import pytest
import torch

from hairclip.errors import HairclipError
from hairclip.networks.face_parser import HAIR
from hairclip.networks.stylegan2 import MappingNetwork
from hairclip.portraits.fit import clip as clip_recipe
from hairclip.portraits.fit.data import Quads, augment, load_quads
from hairclip.portraits.fit.discriminator import Discriminator, gradient_penalty
from hairclip.portraits.fit.generator import GeneratorFit, GeneratorRecipe, Mixture, draw
from hairclip.portraits.fit.judge import fit_judge
from hairclip.portraits.fit.latents import energy_distance, fit_mapping
from hairclip.portraits.fit.loop import run
from hairclip.portraits.fit.parser import fit_parser

CPU = torch.device("cpu")


@pytest.fixture
def quads() -> Quads:
    rng = np.random.default_rng(0)
    count, size = 6, 32
    labels = np.zeros((count, 2, 2, size, size), np.uint8)
    labels[..., :12, :] = HAIR
    styles = np.broadcast_to(np.arange(count)[:, None, None] % 3, (count, 2, 2)).copy()
    styles[:, 1] = (styles[:, 1] + 1) % 3
    return Quads(
        images=rng.integers(0, 256, (count, 2, 2, size, size, 3), dtype=np.uint8),
        labels=labels,
        styles=styles,
        colors=np.broadcast_to(np.arange(2), (count, 2, 2)).copy(),
        persons=rng.integers(0, 9, (count, 2, 2)),
        metadata=[],
        style_names=("afro", "bald", "bob cut"),
        color_names=("blue", "red"),
    )


def test_a_draw_asks_for_what_its_codes_hold(quads):
    chosen = np.array([0, 2, 5, 1])
    for seed in range(8):
        drawn = draw(quads, chosen, 0.5, np.random.default_rng(seed))
        shape, color = drawn.encoded[drawn.mixture.shape.numpy()], drawn.encoded[drawn.mixture.color.numpy()]
        np.testing.assert_array_equal(shape // 2, drawn.targets // 2)  # same quad and head
        np.testing.assert_array_equal(color // 4, drawn.targets // 4)  # same quad
        np.testing.assert_array_equal(color % 2, drawn.targets % 2)  # in the wanted colour
        other_head = color // 2 != drawn.targets // 2
        assert other_head.any()
        assert not (quads.styles.reshape(-1)[color[other_head]] == quads.style_names.index("bald")).any()


def test_mixture_joins_codes_at_the_fine_layers():
    codes = torch.arange(2 * 10 * 3.0).reshape(2, 10, 3)
    flags = torch.tensor([False, True])
    mixed = Mixture(shape=torch.tensor([1, 1]), color=torch.tensor([0, 0]), single=flags).apply(codes)
    torch.testing.assert_close(mixed[0, :8], codes[1, :1].expand(8, -1))  # source 1 is read as one code for all layers
    torch.testing.assert_close(mixed[:, 8:], codes[0, 8:].expand(2, -1, -1))


def test_augmentation_moves_labels_with_pixels(quads):
    labels = torch.from_numpy(quads.labels.reshape(-1, 32, 32).astype(np.int64))
    images = torch.where((labels == HAIR)[:, None], 1.0, -1.0).expand(-1, 3, -1, -1)
    moved, moved_labels = augment(images, labels, np.random.default_rng(0))
    bright = moved.mean(dim=1) > moved.mean(dim=(1, 2, 3))[:, None, None]
    agreement = ((moved_labels == HAIR) == bright).float().mean()
    assert agreement > 0.95
    assert not torch.equal(moved, images)


def test_captions_are_positive_for_every_portrait_they_are_true_of():
    captions = clip_recipe.Captions(
        ["red hair", "afro hairstyle", "red afro"], np.array([-1, 0, 0]), np.array([1, -1, 1])
    )
    fits = clip_recipe.truth(captions, styles=np.array([0, 1, 2]), colors=np.array([1, 1, 0]), bald=1)
    assert fits.tolist() == [[True, True, True], [False, False, False], [False, False, False]]
    fits = clip_recipe.truth(captions, styles=np.array([0, 2]), colors=np.array([0, 1]), bald=1)
    assert fits.tolist() == [[False, True, False], [True, False, False]]


def test_contrastive_loss_is_least_for_the_truth():
    fits = torch.tensor([[True, False], [False, True]])
    good = clip_recipe.contrastive_loss(torch.where(fits, 10.0, -10.0), fits)
    bad = clip_recipe.contrastive_loss(torch.where(fits, -10.0, 10.0), fits)
    assert good < 1e-3 < bad


@pytest.mark.parametrize("fit", [fit_parser, fit_judge])
def test_recognisers_learn_and_resume(fit, quads, tmp_path):
    whole = fit(quads, tmp_path / "whole", CPU, steps=3, batch=4)
    fit(quads, tmp_path / "parts", CPU, steps=3, batch=4)
    again = fit(quads, tmp_path / "parts", CPU, steps=3, batch=4)  # nothing left to do: read from the checkpoint
    for a, b in zip(whole.state_dict().values(), again.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_the_loop_resumes_where_it_stopped(tmp_path):
    weight = torch.nn.Linear(1, 1)
    seen: list[tuple[int, float]] = []

    def step(index: int, rng: np.random.Generator) -> dict[str, float]:
        seen.append((index, float(rng.random())))
        return {}

    run("once", steps=4, state={"weight": weight}, step=step, folder=tmp_path)
    straight, seen = seen, []
    run("twice", steps=2, state={"weight": weight}, step=step, folder=tmp_path)
    run("twice", steps=4, state={"weight": weight}, step=step, folder=tmp_path)
    assert seen == straight


def test_generator_recipe_runs_all_stages(quads, tmp_path):
    recipe = GeneratorRecipe(
        size=32,
        w_dim=8,
        channels={4: 8, 8: 8, 16: 8, 32: 8},
        critic_channels={4: 8, 8: 8, 16: 8, 32: 8},
        encoder={"components": 8, "component_size": 16, "input_size": 16, "widths": (8, 8), "neck": 4},
        quads_per_batch=2,
        half_steps=2,
        full_steps=2,
        adversarial_steps=2,
    )
    pair = GeneratorFit(quads, recipe, tmp_path, CPU).fit()
    assert pair.generator.size == 32
    assert all(value.isfinite().all() for value in pair.state_dict().values())


def test_gradient_penalty_of_a_linear_critic_is_its_squared_slope():
    class Linear(Discriminator):
        def forward(self, images):
            return 3 * images.flatten(1).sum(dim=1), []

    critic = Linear(8, {4: 4, 8: 4})
    penalty = gradient_penalty(critic, torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert penalty.item() == pytest.approx(9 * 3 * 8 * 8)


def test_mapping_learns_the_distribution(tmp_path):
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    w = torch.randn(400, 4, generator=generator) * 0.3 + torch.tensor([2.0, -1.0, 0.0, 1.0])
    mapping = MappingNetwork(4, 4, 2)
    z = torch.randn(400, 4, generator=generator)
    before = energy_distance(mapping(z), w).item()
    fit_mapping(mapping, w, 4, tmp_path, steps=200, batch=128)
    after = energy_distance(mapping(z), w).item()
    assert after < 0.2 * before


def test_a_folder_without_quads_is_a_user_error(tmp_path):
    with pytest.raises(HairclipError, match="render_portraits"):
        load_quads(tmp_path)
