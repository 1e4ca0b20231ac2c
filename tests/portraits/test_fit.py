"""The recipes of the portrait networks, on a handful of tiny pictures that no renderer had to draw."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from hairclip.common.errors import HairclipError
from hairclip.common.face_labels import CELEBAMASK_CLASSES, HAIR
from hairclip.networks.stylegan2_layers import MappingNetwork
from hairclip.portraits.dataset import DatasetSpec, quad_specs
from hairclip.portraits.fit import clip as clip_recipe
from hairclip.portraits.fit.data import Quads, augment, load_quads, mirror_labels
from hairclip.portraits.fit.generator import GeneratorFit, GeneratorRecipe
from hairclip.portraits.fit.judge import fit_judge
from hairclip.portraits.fit.latents import energy_distance, fit_mapping
from hairclip.portraits.fit.likeness import Recognizers
from hairclip.portraits.fit.loop import run
from hairclip.portraits.fit.mixture import Mixture, draw
from hairclip.portraits.fit.networks import choose_latents, fit_networks
from hairclip.portraits.fit.optimizers import Optimizers
from hairclip.portraits.fit.parser import fit_parser
from hairclip.portraits.fit.texture import OrientedEnergy, gabor_pairs
from hairclip.portraits.fit.traits import quad_traits
from tests.helpers.tiny_networks import tiny_networks

CPU = torch.device("cpu")


def portraits(index: int) -> list[list[dict[str, Any]]]:
    geometries, colors = quad_specs(DatasetSpec(count=6, seed=0, split="train", mode="quads"), index)
    return [[replace(geometry, color=color).to_dict() for color in colors] for geometry in geometries]


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
        metadata=[portraits(index) for index in range(count)],
        style_names=("afro", "bald", "bob cut"),
        color_names=("blue", "red"),
    )


def test_a_draw_asks_for_what_its_codes_hold(quads):
    chosen = np.array([0, 2, 5, 1])
    for seed in range(8):
        drawn = draw(quads, chosen, np.random.default_rng(seed))
        shape, color = drawn.encoded[drawn.mixture.shape.numpy()], drawn.encoded[drawn.mixture.color.numpy()]
        np.testing.assert_array_equal(shape // 2, drawn.targets // 2)  # same quad and head
        np.testing.assert_array_equal(color // 4, drawn.targets // 4)  # same quad
        np.testing.assert_array_equal(color % 2, drawn.targets % 2)  # in the wanted color
        other_head = color // 2 != drawn.targets // 2
        assert other_head.any()
        assert not (quads.styles.reshape(-1)[color[other_head]] == quads.style_names.index("bald")).any()


def test_mixture_joins_codes_at_the_fine_layers():
    codes = torch.arange(2 * 10 * 3.0).reshape(2, 10, 3)
    mixed = Mixture(shape=torch.tensor([1, 1]), color=torch.tensor([0, 0])).apply(codes)
    torch.testing.assert_close(mixed[:, :8], codes[1, :8].expand(2, -1, -1))
    torch.testing.assert_close(mixed[:, 8:], codes[0, 8:].expand(2, -1, -1))


def test_traits_tell_styles_apart_and_keep_color_to_the_end(quads):
    traits = quad_traits(quads, sketch_components=4, shape_components=2)
    assert traits.shape[0] == 24
    assert traits.isfinite().all()
    quad = traits.view(6, 2, 2, -1)
    sketch = slice(None, 4)  # the pictures here are noise: two of one head differ outside their hair
    rest = torch.cat([quad[..., 4:-3]], dim=-1)
    torch.testing.assert_close(rest[:, :, 0], rest[:, :, 1])  # only the color differs between the portraits of a head
    assert (quad[:, :, 0, -3:] != quad[:, :, 1, -3:]).any(dim=-1).all()
    assert not torch.allclose(rest[:, 0], rest[:, 1])
    assert quad[..., sketch].std() > 0


def test_sketches_do_not_show_the_color_of_the_hair(quads):
    quads.images[..., 12:, :, :] = 100
    before = quad_traits(quads, sketch_components=4, shape_components=2)
    quads.images[..., :12, :, :] = 7
    torch.testing.assert_close(before, quad_traits(quads, sketch_components=4, shape_components=2))


def orthogonalized(matrix: torch.Tensor) -> torch.Tensor:
    """Muon's five steps of Newton and Schulz (Jordan et al. 2024), written down plainly, in float32."""
    x = matrix / matrix.norm()
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x


def test_a_step_of_a_filter_is_orthogonal_and_as_large_as_its_rate():
    for shape in ((3, 8, 1, 1), (6, 10, 3, 3), (20, 6)):
        weight = torch.nn.Parameter(torch.zeros(shape))
        gradient = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        optimizers = Optimizers([([weight], 0.5)], [([torch.nn.Parameter(torch.zeros(1))], 0.1)])
        optimizers.set_rate(0.1)
        optimizers.descend((weight * gradient).sum())
        flat = gradient.flatten(1)
        rows, columns = flat.shape
        exact = (
            -0.05 * max(rows, columns) ** 0.5 * (orthogonalized(flat.T).T if rows > columns else orthogonalized(flat))
        )
        error = (weight.detach().flatten(1) - exact).norm() / exact.norm()
        assert error < 0.03  # timm computes in bfloat16


def test_optimizers_descend_and_resume():
    target = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))

    def fresh() -> tuple[torch.nn.Parameter, torch.nn.Parameter, Optimizers]:
        weight, bias = torch.nn.Parameter(torch.zeros(4, 6)), torch.nn.Parameter(torch.zeros(6))
        optimizers = Optimizers([([weight], 0.04)], [([bias], 0.01)])
        optimizers.set_rate(1.0)
        return weight, bias, optimizers

    def descend(weight: torch.nn.Parameter, bias: torch.nn.Parameter, optimizers: Optimizers, steps: int) -> None:
        for _ in range(steps):
            optimizers.descend((weight + bias - target).square().sum())

    weight, bias, optimizers = fresh()
    descend(weight, bias, optimizers, 40)
    assert (weight + bias - target).norm() < 0.3 * target.norm()
    part, part_bias, first = fresh()
    descend(part, part_bias, first, 20)
    second = Optimizers([([part], 0.04)], [([part_bias], 0.01)])
    second.load_state_dict(first.state_dict())
    descend(part, part_bias, second, 20)
    torch.testing.assert_close(part, weight, rtol=0, atol=0)
    torch.testing.assert_close(part_bias, bias, rtol=0, atol=0)


def test_augmentation_moves_labels_with_pixels(quads):
    labels = torch.from_numpy(quads.labels.reshape(-1, 32, 32).astype(np.int64))
    images = torch.where((labels == HAIR)[:, None], 1.0, -1.0).expand(-1, 3, -1, -1)
    moved, moved_labels = augment(images, labels, np.random.default_rng(0))
    bright = moved.mean(dim=1) > moved.mean(dim=(1, 2, 3))[:, None, None]
    agreement = ((moved_labels == HAIR) == bright).float().mean()
    assert agreement > 0.95
    assert not torch.equal(moved, images)


def test_mirroring_swaps_left_and_right():
    left, right = CELEBAMASK_CLASSES.index("l_eye"), CELEBAMASK_CLASSES.index("r_eye")
    labels = torch.tensor([[[left, 0, HAIR, right]]])
    assert mirror_labels(labels).tolist() == [[[left, HAIR, 0, right]]]
    assert torch.equal(mirror_labels(mirror_labels(labels)), labels)


def test_augmented_labels_keep_left_on_the_left():
    left, right = CELEBAMASK_CLASSES.index("l_eye"), CELEBAMASK_CLASSES.index("r_eye")
    labels = torch.zeros(64, 16, 16, dtype=torch.long)
    labels[:, 4:12, :6], labels[:, 4:12, 10:] = left, right
    _, moved = augment(torch.zeros(64, 3, 16, 16), labels, np.random.default_rng(0))
    assert not (moved[..., :4] == right).any()
    assert not (moved[..., 12:] == left).any()
    assert (moved == left).any(dim=(1, 2)).all()


def test_gabor_pairs_ignore_brightness_and_see_their_direction():
    filters = gabor_pairs(4, wavelength=4.0, radius=5)
    assert filters.sum(dim=(2, 3)).abs().max() < 1e-5
    torch.testing.assert_close(filters.square().sum(dim=(2, 3)), torch.ones(8, 1))


def test_energy_tells_direction_and_strength_of_stripes_but_not_their_phase():
    def stripes(angle: float, phase: float, strength: float = 0.5) -> torch.Tensor:
        y, x = torch.meshgrid(torch.arange(48.0), torch.arange(48.0), indexing="ij")
        wave = torch.cos((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / 3 + phase) * strength
        return wave.expand(1, 3, -1, -1)

    energy = OrientedEnergy()
    wanted = stripes(0.0, 0.0)
    assert energy(wanted)[0].mean(dim=(0, 2, 3)).argmax() == 0
    shifted = energy.distance(stripes(0.0, 1.5), wanted)
    assert shifted < 0.05 * energy.distance(torch.zeros_like(wanted), wanted)
    assert shifted < 0.05 * energy.distance(stripes(np.pi / 2, 0.0), wanted)
    assert shifted < 0.1 * energy.distance(stripes(0.0, 0.0, strength=0.25), wanted)


def test_captions_are_positive_for_every_portrait_they_are_true_of():
    captions = clip_recipe.Captions(
        ["red hair", "afro hairstyle", "red afro"], np.array([-1, 0, 0]), np.array([1, -1, 1])
    )
    fits = clip_recipe.truth(captions, styles=np.array([0, 1, 2]), colors=np.array([1, 1, 0]), bald=1)
    assert fits.tolist() == [[True, True, True], [False, False, False], [False, False, False]]
    fits = clip_recipe.truth(captions, styles=np.array([0, 2]), colors=np.array([0, 1]), bald=1)
    assert fits.tolist() == [[False, True, False], [True, False, False]]


def test_views_hide_what_captions_must_not_speak_of(quads):
    views = np.array(["whole", "hair", "gray", "flat"] * 2)
    chosen = np.flatnonzero(quads.styles.reshape(-1) != quads.style_names.index("bald"))[:8]
    captions = clip_recipe.draw_captions(quads, chosen, views, np.random.default_rng(0))
    for i, view in enumerate(views):
        assert view != "gray" or captions.colors[i] == clip_recipe.ANYTHING
        assert view != "flat" or captions.styles[i] == clip_recipe.ANYTHING
    images = torch.rand(8, 3, 16, 16) * 2 - 1
    labels = torch.full((8, 16, 16), 13)
    labels[:, :8] = 0
    shown = clip_recipe.show(images, labels, views)
    assert torch.equal(shown[0], images[0])
    assert torch.equal(shown[1, :, 8:], images[1, :, 8:])
    assert not shown[1, :, :8].any()
    assert torch.equal(shown[2, 0], shown[2, 2])
    assert shown[3].flatten(1).std(dim=1).max() < 1e-6
    unseen = clip_recipe.UNSEEN
    captions = clip_recipe.Captions(
        ["red hair", "afro hairstyle", "red afro"], np.array([-1, 0, 0]), np.array([1, -1, 1])
    )
    fits = clip_recipe.truth(captions, styles=np.array([0, unseen]), colors=np.array([unseen, 1]), bald=9)
    assert fits.tolist() == [[False, True, False], [True, False, False]]


def test_contrastive_loss_is_least_for_the_truth():
    fits = torch.tensor([[True, False], [False, True]])
    good = clip_recipe.contrastive_loss(torch.where(fits, 10.0, -10.0), fits)
    bad = clip_recipe.contrastive_loss(torch.where(fits, -10.0, 10.0), fits)
    assert good < 1e-3 < bad


@pytest.mark.parametrize("fit", [fit_parser, fit_judge])
def test_recognizers_learn_and_resume(fit, quads, tmp_path):
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
        coder_width=8,
        encoder={
            "components": 8,
            "component_size": 16,
            "input_size": 16,
            "widths": (8, 8),
            "blocks": (1, 0),
            "neck": 4,
        },
        quads_per_batch=2,
        growth={16: 2, 32: 2},
        first_reading=2,
        joint_steps=2,
        last_reading=2,
    )
    tiny = tiny_networks()
    recognizers = Recognizers(tiny.parser, tiny.clip, tiny.identity)
    before = {name: value.clone() for name, value in recognizers.parser.state_dict().items()}
    networks = GeneratorFit(quads, recipe, recognizers, tmp_path, CPU).fit()
    for name, value in recognizers.parser.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    assert networks.generator.size == 32
    assert all(value.isfinite().all() for value in networks.state_dict().values())
    resumed = GeneratorFit(quads, recipe, recognizers, tmp_path, CPU)
    again = resumed.fit()  # nothing left to do: read from checkpoints
    assert resumed.told_latents().shape == (len(quads) * 4, 8)
    for a, b in zip(networks.state_dict().values(), again.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


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


def test_a_damaged_checkpoint_is_one_sentence(tmp_path):
    for content in (b"", b"damaged", b"PK\x03\x04"):
        (tmp_path / "parser.pt").write_bytes(content)
        with pytest.raises(HairclipError, match=r"parser\.pt cannot be continued .*: delete it to train anew"):
            run("parser", steps=1, state={}, step=lambda index, rng: {}, folder=tmp_path)


def test_shipped_latents_show_everybody_once_and_hold_the_last_twelfth_out(quads):
    chosen, labels = choose_latents(quads.metadata, 99)
    assert chosen.tolist() == [0, 5, 10, 15, 16, 21]  # one of each quad, each place in turn
    flat = [portrait for heads in quads.metadata for colors in heads for portrait in colors]
    assert labels["hairstyle"] == [flat[i]["hair"]["style"] for i in chosen]
    assert labels["color"] == [flat[i]["color"]["name"] for i in chosen]
    assert labels["split"] == ["train"] * 6
    assert choose_latents(quads.metadata * 4, 24)[1]["split"] == ["train"] * 22 + ["val"] * 2
    assert choose_latents(quads.metadata, 3)[0].tolist() == [0, 5, 10]


def test_a_folder_without_quads_is_a_user_error(tmp_path):
    with pytest.raises(HairclipError, match="render-portraits"):
        load_quads(tmp_path)


def test_networks_are_installed_with_a_description(quads, tmp_path):
    fit_networks(quads, [], checkpoints=tmp_path / "runs", install=tmp_path / "new", device=CPU)
    assert "framing: portraits" in (tmp_path / "new" / "bundle.yaml").read_text()
