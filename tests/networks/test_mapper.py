"""The mapper against the official numbers, and what a batch that mixes tasks relies on."""

import json

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hairclip.networks.mapper import HairCondition, HairMapper, SubMapper
from tests.golden import agrees, official, tensor
from tests.helpers.foreign import build


def conditions(batch: int, width: int, seed: int = 0) -> HairCondition:
    """All four kinds of edit in turn, with random embeddings even where absent."""
    source = torch.Generator().manual_seed(seed)
    kinds = torch.arange(batch)
    return HairCondition(
        hairstyle=torch.randn(batch, width, generator=source),
        color=torch.randn(batch, width, generator=source),
        has_hairstyle=kinds % 2 == 0,
        has_color=kinds % 4 < 2,
    )


def small(**options) -> HairMapper:
    torch.manual_seed(0)
    return HairMapper(**{"n_latent": 7, "w_dim": 12, "condition_dim": 9, "groups": (2, 4)} | options)


@pytest.mark.parametrize(("name", "ours", "layers"), [("course_mapping", "coarse", 4), ("fine_mapping", "fine", 10)])
def test_sub_mappers_agree_with_the_official_ones(name, ours, layers):
    state = {f"{name}.{key}": value for key, value in official("hair_mapper", f"{name}.").items()}
    mapper = getattr(build(state, "mapper"), ours)
    w = tensor(f"{name}:w", (2, layers, 512), 0, 0.7)
    embedding = tensor(f"{name}:e", (2, 1, 512), 0, 0.4)[:, 0]
    agrees(mapper(w, embedding, torch.tensor([True, True])), f"{name}.modulated")
    agrees(mapper(w, embedding, torch.tensor([False, False])), f"{name}.absent")


@pytest.fixture(scope="module")
def hairclip_pt() -> HairMapper:
    checkpoint = {}
    for group in ("course", "medium", "fine"):
        prefix = f"mapper.{group}_mapping."
        checkpoint |= {prefix + key: value for key, value in official("hairclip_pt", prefix).items()}
    return build({"state_dict": checkpoint}, "mapper")


def test_no_condition_still_moves_as_the_official_mapper_does(hairclip_pt):
    w = tensor("w_1024", (1, 18, 512), 0, 0.5)
    agrees(w + hairclip_pt(w, HairCondition.absent(1, 512)), "hairclip_pt.none_none.w_hat")


@pytest.mark.slow
def test_text_and_image_conditions_agree_with_hairclip_pt(hairclip_pt):
    import open_clip

    clip = open_clip.create_model("ViT-B-32-quickgelu").eval()
    clip.load_state_dict({key: value.float() for key, value in official("hairclip_pt", "mapper.clip_model.").items()})

    def reference(name: str) -> Tensor:
        image = F.interpolate(tensor(name, (1, 3, 32, 32), 0, 0.6), size=(1024, 1024), mode="bilinear").clamp(-1, 1)
        mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
        std = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
        return (F.adaptive_avg_pool2d(image, 224) * 0.5 + 0.5 - mean) / std

    w = tensor("w_1024", (1, 18, 512), 0, 0.5)
    with torch.no_grad():
        texts = clip.encode_text(open_clip.get_tokenizer("ViT-B-32-quickgelu")(["bob cut hairstyle", "red hair"]))
        images = clip.encode_image(torch.cat([reference("ref_style"), reference("ref_color")]))
    for mode, (style, color), present in (
        ("text_text", texts, (True, True)),
        ("text_none", texts, (True, False)),
        ("none_text", texts, (False, True)),
        ("image_image", images, (True, True)),
    ):
        condition = HairCondition(style[None], color[None], torch.tensor([present[0]]), torch.tensor([present[1]]))
        agrees(w + hairclip_pt(w, condition), f"hairclip_pt.{mode}.w_hat")


@pytest.mark.parametrize("absent", ["passthrough", "zero"])
@pytest.mark.parametrize("pixel_norm", ["layer", "feature"])
def test_a_mixed_batch_equals_each_sample_alone(absent, pixel_norm):
    mapper = small(absent=absent, pixel_norm=pixel_norm).double()
    w, condition = torch.randn(8, 7, 12, dtype=torch.float64), conditions(8, 9)
    together = mapper(w, condition)
    alone = torch.cat([mapper(w[i : i + 1], condition[i]) for i in range(8)])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-12)


def test_zero_leaves_absent_layers_exactly_untouched():
    mapper, w, condition = small(absent="zero"), torch.randn(8, 7, 12), conditions(8, 9)
    delta = mapper(w, condition)
    style, color = condition.has_hairstyle, condition.has_color
    assert (delta[~style, :4] == 0).all()
    assert (delta[~color, 4:] == 0).all()
    assert (delta[style, :4] != 0).any(dim=2).all()
    assert (delta[color, 4:] != 0).any(dim=2).all()
    # Present conditions move alike, whatever becomes of absent ones.
    passthrough = small(absent="passthrough")(w, condition)
    assert torch.equal(delta[style, :4], passthrough[style, :4])
    assert torch.equal(delta[color, 4:], passthrough[color, 4:])
    assert (passthrough[~style, :4] != 0).any()


@pytest.mark.parametrize("absent", ["passthrough", "zero"])
def test_an_absent_embedding_changes_nothing_and_gets_no_gradient(absent):
    mapper, w, condition = small(absent=absent), torch.randn(4, 7, 12), conditions(4, 9)
    style = condition.hairstyle.clone().requires_grad_()
    mapper(
        w, HairCondition(style, condition.color, condition.has_hairstyle, condition.has_color)
    ).square().sum().backward()
    assert (style.grad[~condition.has_hairstyle] == 0).all()
    assert (style.grad[condition.has_hairstyle] != 0).any()
    other = HairCondition(
        torch.where(condition.has_hairstyle[:, None], condition.hairstyle, 0.0),
        torch.where(condition.has_color[:, None], condition.color, 0.0),
        condition.has_hairstyle,
        condition.has_color,
    )
    assert torch.equal(mapper(w, condition), mapper(w, other))


def test_scale_groups_and_disabled_mappers():
    w, condition = torch.randn(4, 7, 12), conditions(4, 9)
    torch.testing.assert_close(small(scale=0.3)(w, condition), 3 * small(scale=0.1)(w, condition))
    mapper = small(medium=False)
    assert not any(key.startswith("medium") for key in mapper.state_dict())
    delta = mapper(w, condition)
    assert (delta[:, 2:4] == 0).all()
    assert (delta[:, :2] != 0).any()
    assert (delta[:, 4:] != 0).any()


def test_pixel_norm_axes():
    w = torch.randn(2, 5, 12)
    for axis, dim in (("layer", 1), ("feature", 2)):
        mapper = SubMapper(12, 9, axis, depth=0)
        expected = w / w.square().mean(dim=dim, keepdim=True).sqrt()
        torch.testing.assert_close(mapper(w, torch.zeros(2, 9), torch.ones(2, dtype=torch.bool)), expected)


def test_a_linear_output_is_the_published_one_before_its_activation():
    w, condition = torch.randn(32, 7, 12), conditions(32, 9)
    published, linear = small(scale=1.0)(w, condition), small(scale=1.0, output="linear")(w, condition)
    for layers, present in ((slice(0, 4), condition.has_hairstyle), (slice(4, 7), condition.has_color)):
        assert torch.equal(F.leaky_relu(linear[present][:, layers], 0.01), published[present][:, layers])
        assert torch.equal(linear[~present][:, layers], published[~present][:, layers])


def test_config_round_trip():
    mapper = small(absent="zero", pixel_norm="feature", output="linear", fine=False, scale=0.2)
    again = HairMapper(**json.loads(json.dumps(mapper.config)))
    again.load_state_dict(mapper.state_dict())
    w, condition = torch.randn(4, 7, 12), conditions(4, 9)
    assert torch.equal(mapper(w, condition), again(w, condition))
    assert again.config == mapper.config


def test_bfloat16_autocast_keeps_the_codes_precision():
    mapper, w, condition = small(), torch.randn(4, 7, 12), conditions(4, 9)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        delta = mapper(w, condition)
    assert delta.dtype == torch.float32
    torch.testing.assert_close(delta, mapper(w, condition), rtol=0.1, atol=0.02)


def test_conditions_are_cut_and_joined():
    condition = conditions(6, 9)
    assert len(condition) == 6
    joined = HairCondition.cat([condition[:2], condition[torch.tensor([2, 3])], condition[4], condition[[5]]])
    for name in ("hairstyle", "color", "has_hairstyle", "has_color"):
        assert torch.equal(getattr(joined, name), getattr(condition, name))
    nothing = HairCondition.absent(3, 9).to("cpu")
    assert not nothing.has_hairstyle.any()
    assert not nothing.has_color.any()
    assert nothing.hairstyle.shape == (3, 9)


def test_wrong_arguments_are_named():
    embeddings, flags = torch.zeros(2, 9), torch.zeros(2, dtype=torch.bool)
    with pytest.raises(ValueError, match="flags are bool"):
        HairCondition(embeddings, embeddings, flags.float(), flags)
    with pytest.raises(ValueError, match="alike"):
        HairCondition(embeddings, embeddings[:1], flags, flags)
    with pytest.raises(ValueError, match="two rising layers"):
        small(groups=(4, 2))
    with pytest.raises(Exception, match="absent"):
        small(absent="nothing")
    with pytest.raises(Exception, match="output"):
        small(output="relu")
    with pytest.raises(ValueError, match=r"\(B, 7, 12\)"):
        small()(torch.zeros(2, 6, 12), HairCondition.absent(2, 9))
    with pytest.raises(ValueError, match=r"\(2, 9\)"):
        small()(torch.zeros(2, 7, 12), HairCondition.absent(2, 8))
