"""Small random networks that fit together, for tests of everything above the networks."""

import copy
from pathlib import Path
from types import SimpleNamespace

import torch

from hairclip.common.framing import FFHQ
from hairclip.networks.classifier import HairstyleClassifier
from hairclip.networks.clip import Clip
from hairclip.networks.codec import Codec
from hairclip.networks.e4e import E4EEncoder
from hairclip.networks.face_parser import UNetParser
from hairclip.networks.hair_priors import HairPriors
from hairclip.networks.ir_se import IdentityEncoder
from hairclip.networks.mapper import HairMapper
from hairclip.networks.stylegan2 import Generator
from hairclip.networks.token_transformer import TokenTransformer
from hairclip.pretrained import save_network
from hairclip.pretrained.bundle_files import read_bundle

SIZE, N_LATENT, W_DIM, WIDTH = 32, 8, 16, 24
CLIP_CONFIG = {
    "embed_dim": WIDTH,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


def tiny_networks(seed: int = 0, absent: str = "zero") -> SimpleNamespace:
    """Return networks of a bundle with random weights, in eval mode and frozen, and what its YAML would say of them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator = Generator(SIZE, W_DIM, W_DIM, 2, {4: 8, 8: 8, 16: 8, 32: 8})
        networks = SimpleNamespace(
            generator=generator,
            clip=Clip(CLIP_CONFIG),
            parser=UNetParser(filters=(4, 4, 8, 8, 8), input_size=32),
            identity=IdentityEncoder(units=(1, 1), widths=(8, 8), input_size=32, embedding=12, frame=32),
            encoder=E4EEncoder(
                n_latent=N_LATENT, w_dim=W_DIM, input_size=64, units=(1, 1, 1, 1), widths=(8, 8, 8, 8), fpn_width=8
            ),
            mapper=HairMapper(N_LATENT, W_DIM, WIDTH, groups=(3, 5), absent=absent),
            hair_priors=HairPriors(("afro", "bob cut", "mohawk"), ("blond", "red"), size=8),
            codec=tiny_codec(),
            token_transformer=TokenTransformer(16, 6, WIDTH, 4, width=8, deep_width=8, layers=1, heads=2),
            judge=HairstyleClassifier(("afro", "bob cut", "mohawk"), widths=(8, 8), input_size=32),
        )
        make_hair_visible(networks.parser, generator)
        networks.hair_priors.shape[:, :, :3] = torch.tensor([1.0, 0.2, 0.0])[:, None, None, None]  # the upper rows
        networks.hair_priors.lab.copy_(torch.tensor([[80.0, 0.0, 20.0], [50.0, 40.0, 20.0]]))
    for network in vars(networks).values():
        network.eval().requires_grad_(False)
    networks.photo_parser = copy.deepcopy(networks.parser)
    networks.photo_parser.final.bias[13] += 100.0  # hair everywhere
    networks.framing, networks.plain_background = FFHQ, False
    networks.inversion_limits, networks.for_others = read_bundle("portraits").inversion_limits, "ffhq"
    return networks


def tiny_codec() -> Codec:
    """Return a codec of 16 entries that was fitted to random pictures of 32 px."""
    random = torch.Generator().manual_seed(3)
    smooth = torch.nn.functional.interpolate(torch.rand(8, 3, 8, 8, generator=random), size=(32, 32), mode="bilinear")
    return Codec(8, 6, 16, encoder_width=8, decoder_widths=(8, 8, 8)).fit(smooth * 2 - 1)


@torch.no_grad()
def make_hair_visible(parser: UNetParser, generator: Generator) -> None:
    """Bend the random parser so that about half of a generated picture is hair, in a shape that follows the picture."""
    parser.eval().final.weight[13] *= 30
    w_plus = torch.randn(8, N_LATENT, W_DIM, generator=torch.Generator().manual_seed(0))
    logits = parser.logits(generator(w_plus).clamp(-1, 1))
    margin = logits[:, 13] - logits[:, torch.arange(19) != 13].amax(dim=1)
    parser.final.bias[13] -= margin.median()


def save_bundle(folder: Path) -> Path:
    """The networks as files of a folder, which --bundle takes."""
    networks = tiny_networks()
    for part in ("generator", "clip", "parser", "identity", "encoder", "mapper", "judge"):
        save_network(folder / f"{part}.safetensors", part, getattr(networks, part))
    save_network(folder / "photo_parser.safetensors", "parser", networks.photo_parser)
    return folder
