"""The generator against the official numbers, against the formulation of the paper in float64, and its conveniences."""

import json
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hairclip.common.errors import HairclipError
from hairclip.networks import stylegan2_ops as ops
from hairclip.networks.stylegan2 import Generator
from hairclip.networks.stylegan2_layers import ModulatedConv, ToRGB
from tests.golden import agrees, golden, official, tensor
from tests.helpers.foreign import build

TAPS = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.float64)
BLUR = torch.outer(TAPS, TAPS) / 16
SMALL = {4: 12, 8: 10, 16: 8, 32: 6}


def small(seed: int = 0, dtype: torch.dtype = torch.float32, **options) -> Generator:
    torch.manual_seed(seed)
    generator = Generator(**{"size": 32, "w_dim": 16, "z_dim": 8, "mapping_layers": 2, "channels": SMALL} | options)
    for layer in generator.layers:
        torch.nn.init.normal_(layer.noise_strength, 0.3, 0.1)
        torch.nn.init.normal_(layer.bias, 0.0, 0.2)
    return generator.to(dtype)


# The paper's formulation: modulated and demodulated weights per sample, one grouped convolution; nothing of ours.


def naive_modulated(x: Tensor, style: Tensor, weight: Tensor, *, demodulate: bool, upsample: bool = False) -> Tensor:
    batch, channels, height, width = x.shape
    out, _, k, _ = weight.shape
    kernels = weight[None] * style[:, None, :, None, None] / math.sqrt(channels * k * k)
    if demodulate:
        kernels = kernels * torch.rsqrt(kernels.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8)
    x = x.reshape(1, batch * channels, height, width)
    if not upsample:
        y = F.conv2d(x, kernels.flatten(0, 1), padding=k // 2, groups=batch)
        return y.view(batch, out, height, width)
    y = F.conv_transpose2d(x, kernels.transpose(1, 2).reshape(batch * channels, out, k, k), stride=2, groups=batch)
    y = y.view(batch * out, 1, 2 * height + 1, 2 * width + 1)
    return F.conv2d(y, BLUR[None, None], padding=1).view(batch, out, 2 * height, 2 * width)


def naive_upsample(image: Tensor) -> Tensor:
    batch, colors, height, width = image.shape
    spread = image.new_zeros(batch, colors, 2 * height, 2 * width)
    spread[:, :, ::2, ::2] = image
    return F.conv2d(F.pad(spread, (2, 1, 2, 1)).flatten(0, 1)[:, None], BLUR[None, None]).view_as(spread)


def naive_generator(g: Generator, w_plus: Tensor) -> Tensor:
    def affine(module: torch.nn.Module, w: Tensor) -> Tensor:
        return w @ module.style.weight.T / math.sqrt(g.w_dim) + module.style.bias

    def layer(module: ModulatedConv, x: Tensor, w: Tensor) -> Tensor:
        y = naive_modulated(x, affine(module, w), module.weight, demodulate=True, upsample=module.upsample)
        return math.sqrt(2) * F.leaky_relu(y + module.noise_strength * module.noise + module.bias[:, None, None], 0.2)

    def colors(module: ToRGB, x: Tensor, w: Tensor) -> Tensor:
        weight = module.weight[:, :, None, None]
        return naive_modulated(x, affine(module, w), weight, demodulate=False) + module.bias[:, None, None]

    x = layer(g.layers[0], g.constant.expand(len(w_plus), -1, -1, -1), w_plus[:, 0])
    image = colors(g.to_rgb[0], x, w_plus[:, 1])
    for j in range(1, len(g.to_rgb)):
        x = layer(g.layers[2 * j - 1], x, w_plus[:, 2 * j - 1])
        x = layer(g.layers[2 * j], x, w_plus[:, 2 * j])
        image = naive_upsample(image) + colors(g.to_rgb[j], x, w_plus[:, 2 * j + 1])
    return image


def close(ours: Tensor, theirs: Tensor, tolerance: float = 1e-10) -> None:
    ours, theirs = ours.detach(), theirs.detach()
    assert float((ours - theirs).norm() / theirs.norm()) <= tolerance


def test_formulation_equals_per_sample_convolutions_in_float64_with_all_gradients():
    generator = small(dtype=torch.float64)
    w_plus = torch.randn(3, generator.n_latent, 16, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    inputs = [w_plus, *(p for name, p in generator.named_parameters() if not name.startswith("mapping"))]
    ours, theirs = generator(w_plus), naive_generator(generator, w_plus)
    close(ours, theirs)
    for a, b in zip(
        torch.autograd.grad((ours * weights).sum(), inputs), torch.autograd.grad((theirs * weights).sum(), inputs)
    ):
        close(a, b)


def test_second_derivatives_exist_and_agree():
    generator = small(dtype=torch.float64, size=8)
    w_plus = torch.randn(2, generator.n_latent, 16, dtype=torch.float64, requires_grad=True)
    results = []
    for network in (generator, lambda w: naive_generator(generator, w)):
        (slope,) = torch.autograd.grad(network(w_plus).square().sum(), w_plus, create_graph=True)
        results.append(torch.autograd.grad(slope.square().sum(), generator.layers[1].weight)[0])
    close(*results)


@pytest.fixture(scope="module")
def stylegan2_64() -> Generator:
    average = tensor("latent_avg", (512,), 0, 0.3)
    generator = build({"g_ema": official("stylegan2_64"), "latent_avg": average}, "generator")
    return generator.eval().requires_grad_(False)


def test_agrees_with_the_official_generator(stylegan2_64):
    g = stylegan2_64
    w, w2 = g.mapping(tensor("z", (2, 512))), g.mapping(tensor("z2", (2, 512)))
    agrees(w, "stylegan2_64.z.latent")
    agrees(g(g.expand(w)), "stylegan2_64.z.image")
    agrees(g(tensor("w_plus", (2, 10, 512), 0, 0.7)), "stylegan2_64.w_plus.image")
    agrees(g(g.expand(g.truncate(w, 0.5))), "stylegan2_64.truncated_half.image")
    agrees(g(torch.cat([g.expand(w)[:, :4], g.expand(w2)[:, 4:]], dim=1)), "stylegan2_64.mixed_at_4.image")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["text_text", "none_none"])
def test_agrees_with_the_decoder_of_hairclip_pt(mode):
    generator = build({"state_dict": official("hairclip_pt", "decoder.")}, "generator")
    with torch.no_grad():
        image = generator(torch.from_numpy(golden(f"hairclip_pt.{mode}.w_hat")))
    agrees(F.adaptive_avg_pool2d(image, 64), f"hairclip_pt.{mode}.image_64")


def test_bfloat16_autocast_stays_close_and_keeps_the_mapping_exact(stylegan2_64):
    z = tensor("z", (2, 512))
    w = stylegan2_64.mapping(z)
    exact = stylegan2_64(stylegan2_64.expand(w))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(stylegan2_64.mapping(z), w)
        image = stylegan2_64(stylegan2_64.expand(w))
    assert image.dtype == torch.float32
    assert 1e-6 < float((image - exact).norm() / exact.norm()) < 0.02


def test_upsampling_equals_inserting_zeros_and_blurring():
    image = torch.randn(2, 3, 5, 5, dtype=torch.float64)
    close(ops.upsample_image(image), naive_upsample(image))
    close(ops._doubled(ops._doubled(image, 2), 3), naive_upsample(image))  # as compiled for a GPU


def test_what_a_gpu_computes_instead_is_the_same():
    """Every form of an upsampling convolution, and the product in pieces, whatever device this is."""
    random = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(*shape, generator=random, dtype=torch.float64) for shape in ((2, 5, 6, 6), (4, 5, 3, 3)))
    expected = ops.upsampling_convolution(x, weight)
    wide = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
    close(expected, F.conv2d(F.pad(wide, (1, 1, 1, 1)).flatten(0, 1)[:, None], BLUR[None, None]).view(2, 4, 12, 12))
    close(ops._Blur.apply(wide), expected)
    close(F.conv_transpose2d(x, ops._blurred(weight).transpose(0, 1), stride=2, padding=2), expected)
    assert torch.autograd.gradcheck(ops._Blur.apply, wide[:1, :1].clone().requires_grad_())
    a = torch.randn(2, 3, 3 * ops._PIECE, generator=random, dtype=torch.float64)
    b = torch.randn(2, 3 * ops._PIECE, 4, generator=random, dtype=torch.float64)
    close(ops._product_in_pieces(a, b), a @ b)
    close(ops._product_in_pieces(a[..., 1:], b[:, 1:]), a[..., 1:] @ b[:, 1:])


def test_noise_kinds():
    generator = small().requires_grad_(False)
    w_plus = torch.randn(2, generator.n_latent, 16)

    def random(seed: int) -> Tensor:
        return generator(w_plus, noise="random", generator=torch.Generator().manual_seed(seed))

    assert torch.equal(random(1), random(1))
    assert not torch.equal(random(1), random(2))
    constant = generator(w_plus, noise="const")
    assert torch.equal(constant, generator(w_plus))
    for layer in generator.layers:
        layer.noise.zero_()
    none = generator(w_plus, noise="none")
    torch.testing.assert_close(generator(w_plus, noise="const"), none)
    assert not torch.allclose(constant, none)
    # Each sample has its own random noise.
    same = generator(w_plus[:1].expand(2, -1, -1), noise="random")
    assert not torch.allclose(same[0], same[1])


def test_a_sample_does_not_depend_on_its_batch():
    generator = small(dtype=torch.float64).requires_grad_(False)
    w_plus = torch.randn(3, generator.n_latent, 16, dtype=torch.float64)
    alone = torch.cat([generator(code[None]) for code in w_plus])
    close(generator(w_plus), alone, 1e-12)


def test_a_frozen_generator_computes_gradients_of_codes_only():
    generator = small().requires_grad_(False)
    w_plus = torch.randn(2, generator.n_latent, 16, requires_grad=True)
    generator(w_plus).square().mean().backward()
    assert w_plus.grad is not None
    assert all(w_plus.grad[:, k].norm() > 0 for k in range(generator.n_latent))
    assert all(p.grad is None for p in generator.parameters())


def test_gradients_keep_channels_last_on_their_way_down():
    generator = small().requires_grad_(False)
    layouts = []
    for layer in generator.layers:
        layer.register_full_backward_hook(
            lambda _, __, grads: layouts.append(grads[0].is_contiguous(memory_format=torch.channels_last))
        )
    generator(torch.randn(2, generator.n_latent, 16, requires_grad=True)).sum().backward()
    assert layouts == [True] * len(generator.layers)


@pytest.mark.parametrize("size", [8, 16, 64, 128])
def test_any_size_and_config_round_trip(size):
    channels = {2**i: max(4, 64 >> i) for i in range(2, size.bit_length())}
    torch.manual_seed(0)
    generator = Generator(size, w_dim=6, z_dim=5, mapping_layers=1, channels=channels)
    again = Generator(**json.loads(json.dumps(generator.config)))
    again.load_state_dict(generator.state_dict())
    w_plus = again.expand(again.mapping(torch.randn(1, 5)))
    image = generator(w_plus)
    assert image.shape == (1, 3, size, size)
    assert image.is_contiguous()
    assert w_plus.shape[1] == generator.n_latent == 2 * int(math.log2(size)) - 2
    assert torch.equal(image, again(w_plus))


def test_official_sizes():
    with torch.device("meta"):
        generator = Generator(1024)
    assert generator.n_latent == 18
    assert sum(p.numel() for p in generator.parameters()) == 30_370_060
    assert sum(b.numel() for name, b in generator.named_buffers() if name.endswith(".noise")) == 2_796_176


def test_latent_avg_follows_the_checkpoint():
    generator = small()
    assert generator.latent_avg is None
    assert "latent_avg" not in generator.state_dict()
    w = generator.mapping(torch.randn(2, 8))
    assert generator.truncate(w, 1.0) is w
    with pytest.raises(HairclipError, match="latent_avg"):
        generator.truncate(w, 0.5)

    seeded = torch.Generator().manual_seed(3)
    average = generator.mean_latent(2500, seeded)
    assert torch.equal(average, generator.mean_latent(2500, torch.Generator().manual_seed(3)))
    generator.latent_avg = average
    other = small(seed=1)
    other.load_state_dict(generator.state_dict())
    torch.testing.assert_close(other.latent_avg, average)
    torch.testing.assert_close(other.truncate(w, 0.0), average.expand(2, -1))
    torch.testing.assert_close(other.truncate(other.expand(w), 0.5), other.expand((w + average) / 2))
    other.load_state_dict(small().state_dict())
    assert other.latent_avg is None


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="power of two"):
        Generator(100)
    with pytest.raises(ValueError, match=r"lacks the resolutions \[32\]"):
        Generator(32, channels={4: 4, 8: 4, 16: 4})
    generator = small()
    with pytest.raises(ValueError, match=r"\(B, 8, 16\)"):
        generator(torch.zeros(1, 9, 16))
    with pytest.raises(Exception, match="noise"):
        generator(torch.zeros(1, 8, 16), noise="loud")


@pytest.mark.parametrize("noise", ["const", "random"])
def test_recomputing_gives_equal_pictures_and_gradients(noise):
    generator = small().requires_grad_(False)
    found = []
    for recompute in (False, True):
        w_plus = torch.randn(2, generator.n_latent, 16, generator=torch.Generator().manual_seed(3)).requires_grad_()
        torch.manual_seed(4)
        image = generator(w_plus, noise, recompute=recompute)
        (gradient,) = torch.autograd.grad(image.square().sum(), w_plus)
        found.append((image, gradient))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])
    with pytest.raises(ValueError, match="computed again"):
        generator(w_plus, "random", torch.Generator(), recompute=True)


def test_recomputing_keeps_less_for_the_backward_pass():
    generator, kept = small().requires_grad_(False), []
    for recompute in (False, True):
        held: dict[int, int] = {}

        def pack(tensor: Tensor, held: dict[int, int] = held) -> Tensor:
            held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        w_plus = torch.randn(2, generator.n_latent, 16, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            image = generator(w_plus, recompute=recompute)
        kept.append(sum(held.values()))
        del image
    assert kept[1] < kept[0] / 2


def test_low_resolutions_stay_in_float32_as_asked():
    generator = small().requires_grad_(False)
    w_plus = torch.randn(2, generator.n_latent, 16, generator=torch.Generator().manual_seed(5))
    exact = generator(w_plus)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half, some, every = (generator(w_plus, float32_until=until) for until in (0, 8, 32))
    assert torch.equal(every, exact)
    assert 0 < float((some - exact).norm()) < float((half - exact).norm())


# ------------------------------------------------------------------------------------------ the space S


def test_offsets_of_zero_change_no_bit_of_the_image():
    generator = small()
    w_plus = torch.randn(2, generator.n_latent, 16)
    zeros = [torch.zeros(2, width) for width in generator.style_widths]
    plain = generator(w_plus)
    assert torch.equal(generator(w_plus, style_offsets=zeros), plain)
    assert torch.equal(generator(w_plus, style_offsets=[None] * len(zeros)), plain)
    assert torch.equal(generator(w_plus, style_offsets=zeros, recompute=True), plain)


def test_an_offset_equals_a_larger_bias_of_the_style():
    generator = small(dtype=torch.float64)
    w_plus = torch.randn(2, generator.n_latent, 16, dtype=torch.float64)
    for layer, width in enumerate(generator.style_widths):
        offsets: list[Tensor | None] = [None] * len(generator.style_widths)
        offsets[layer] = torch.zeros(2, width, dtype=torch.float64)
        offsets[layer][:, 1] = 0.7
        moved = generator(w_plus, style_offsets=offsets)
        with torch.no_grad():
            generator.layers[layer].style.bias[1] += 0.7
            torch.testing.assert_close(moved, generator(w_plus), atol=1e-10, rtol=0)
            generator.layers[layer].style.bias[1] -= 0.7
        assert not torch.allclose(moved, generator(w_plus))


def test_styles_are_the_affine_maps_of_the_codes():
    generator = small(dtype=torch.float64)
    w_plus = torch.randn(2, generator.n_latent, 16, dtype=torch.float64)
    styles = generator.styles(w_plus)
    assert tuple(style.shape[1] for style in styles) == generator.style_widths
    for k, (style, layer) in enumerate(zip(styles, generator.layers, strict=True)):
        torch.testing.assert_close(style, w_plus[:, k] @ layer.style.weight.T / math.sqrt(16) + layer.style.bias)


def test_the_official_space_has_the_published_sizes():
    with torch.device("meta"):
        assert sum(Generator(1024).style_widths) == 6048  # StyleSpace Analysis, section 3: 9088 with image outputs
        assert sum(Generator(256).style_widths) == 5760


def test_offsets_that_do_not_fit_are_refused():
    generator = small()
    w_plus = torch.randn(1, generator.n_latent, 16)
    with pytest.raises(ValueError, match="do not fit"):
        generator(w_plus, style_offsets=[torch.zeros(1, 3)] * len(generator.style_widths))
    with pytest.raises(ValueError, match="do not fit"):
        generator(w_plus, style_offsets=[None])
