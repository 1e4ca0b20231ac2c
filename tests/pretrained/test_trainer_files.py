"""Files as other projects' trainers write them: read without running anything, or refused in a true sentence."""

import argparse
import collections
import pickle
import sys
import types
from pathlib import Path, PosixPath, PureWindowsPath

import numpy as np
import pytest
import torch
from torch import nn

from hairclip import pretrained
from hairclip.common.errors import HairclipError
from hairclip.networks.e4e import E4EEncoder
from hairclip.networks.face_parser import BiSeNet
from hairclip.networks.stylegan2 import Generator
from hairclip.networks.stylegan2_ops import upsample_image
from hairclip.pretrained.foreign import FORMATS, generator_to_rosinality
from hairclip.pretrained.readers.nvidia import read_nvidia_pickle
from hairclip.pretrained.weight_files import map_torch, read_torch
from tests.golden.fill import HERE, tensor


@pytest.fixture(scope="module")
def generator() -> Generator:
    torch.manual_seed(0)
    return Generator(16, w_dim=6, z_dim=6, mapping_layers=2, channels={4: 4, 8: 3, 16: 2})


@pytest.fixture(scope="module")
def official(generator: Generator) -> dict[str, torch.Tensor]:
    return generator_to_rosinality(generator.state_dict())


def same(found: nn.Module, expected: nn.Module) -> bool:
    """Whether all tensors are equal that both have."""
    ours, theirs = found.state_dict(), expected.state_dict()
    return all(torch.equal(ours[key], theirs[key]) for key in ours.keys() & theirs.keys())


def refused(path: Path, loader: str = "generator") -> str:
    with pytest.raises(HairclipError) as caught:
        getattr(pretrained, f"load_{loader}")(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    assert len(message) - len(str(path)) < 400
    return message


def optimizer_state() -> dict[str, object]:
    optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(3))])
    optimizer.param_groups[0]["params"][0].grad = torch.ones(3)
    optimizer.step()
    return optimizer.state_dict()


ARGUMENTS = argparse.Namespace(
    size=16,
    path=PosixPath("/data/faces"),
    place=PureWindowsPath("C:/faces"),
    rate=np.float64(0.1),
    step=np.int64(7),
    shape=torch.Size([4, 4]),
    kind=torch.float16,
    device=torch.device("cuda", 0),
    order=collections.OrderedDict(a=1),
    counts=collections.defaultdict(list, {"a": [1, 2]}),
    mean=np.arange(6.0, dtype=np.float32).reshape(2, 3),
    inner=types.SimpleNamespace(deep=argparse.Namespace(deeper=b"\x00\xff")),
)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_checkpoint_with_its_trainers_arguments_is_read_as_plain_values(generator, official, zipped, tmp_path):
    path = tmp_path / "120000.pt"
    content = {
        "g": {key: value + 1 for key, value in official.items()},
        "d": {"convs.0.0.weight": torch.zeros(1)},
        "g_ema": official,
        "g_optim": optimizer_state(),
        "args": ARGUMENTS,
        "ada_aug_p": np.float64(0.1),
    }
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert same(pretrained.load_generator(path), generator)
    read = read_torch(path)
    assert read["ada_aug_p"] == 0.1
    arguments = read["args"]
    assert type(arguments) is dict
    assert arguments["path"] == "/data/faces"
    assert arguments["place"] == "C:\\faces"
    assert (arguments["rate"], arguments["step"], arguments["shape"]) == (0.1, 7, (4, 4))
    assert (arguments["order"], arguments["counts"]) == ({"a": 1}, {"a": [1, 2]})
    assert torch.equal(arguments["mean"], torch.arange(6.0).view(2, 3))
    assert arguments["inner"] == {"deep": {"deeper": b"\x00\xff"}}
    assert torch.equal(map_torch(path)["g_ema"]["input.input"], official["input.input"])


def test_options_of_e4e_may_be_a_namespace(tmp_path):
    options = argparse.Namespace(encoder_type="GradualStyleEncoder", start_from_latent_avg=True)
    save_encoder(tmp_path / "psp.pt", options)
    assert not pretrained.load_encoder(tmp_path / "psp.pt").offsets


def test_a_generator_without_noise_maps_gets_the_same_ones_every_time(generator, official, tmp_path):
    path = tmp_path / "550000.pt"
    torch.save({"g_ema": {k: v for k, v in official.items() if not k.startswith("noises.")}}, path)
    first, second = pretrained.load_generator(path), pretrained.load_generator(path)
    assert same(first, second)
    assert torch.equal(first.constant, generator.constant)
    maps = [layer.noise for layer in first.layers]
    assert [tuple(noise.shape) for noise in maps] == [(4, 4), (8, 8), (8, 8), (16, 16), (16, 16)]
    assert 0.8 < torch.cat([noise.flatten() for noise in maps]).std() < 1.2
    torch.save({"g_ema": {k: v for k, v in official.items() if k != "noises.noise_1"}}, path)
    assert "lacks 'noises.noise_1'" in refused(path)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"g_ema": {f"module.{key}": value for key, value in state.items()}},
        lambda state: {"state_dict": {f"module.decoder.{key}": value for key, value in state.items()}},
        lambda state: {"state_dict": {f"decoder.module.{key}": value for key, value in state.items()}},
        lambda state: {"G_ema": state},
        lambda state: {"g": state, "g_ema": state},
    ],
    ids=["DDP", "DDP around all", "DDP inside", "G_ema", "g the same"],
)
def test_every_place_of_a_generator_is_found(generator, official, wrap, tmp_path):
    torch.save(wrap({key: value.half().float() for key, value in official.items()}), tmp_path / "g.pt")
    found = pretrained.load_generator(tmp_path / "g.pt")
    assert torch.equal(found.constant, generator.constant.half().float())


def test_nvidias_tensors_under_g_ema_are_read(tmp_path):
    tensors = read_nvidia_pickle(HERE / "nvidia_32.pkl")["G_ema"].tensors
    torch.save({"G_ema": tensors, "G": {}, "step": 3}, tmp_path / "network.pt")
    assert same(pretrained.load_generator(tmp_path / "network.pt"), pretrained.load_generator(HERE / "nvidia_32.pkl"))


def test_a_generator_without_its_average_is_named(official, tmp_path):
    torch.save({"g": official, "d": {}}, tmp_path / "g.pt")
    assert "holds a generator `g` in the middle of training, but not its average `g_ema`" in refused(tmp_path / "g.pt")


def persistent(class_name: str, tensors: dict[str, torch.Tensor], **settings: object) -> "Persistent":
    """Nested objects as torch_utils.persistence pickles them."""
    module = Persistent(class_name, {"_parameters": {}, "_buffers": {}, "_modules": {}, **settings})
    for name, value in tensors.items():
        if "." not in name:
            module.state["_parameters"][name] = nn.Parameter(value)
    for child in {name.partition(".")[0] for name in tensors if "." in name}:
        inside = {name.partition(".")[2]: value for name, value in tensors.items() if name.startswith(f"{child}.")}
        module.state["_modules"][child] = persistent("Layer", inside, **settings)
    return module


class Persistent:
    def __init__(self, class_name: str, state: dict[str, object]) -> None:
        self.class_name, self.state = class_name, state

    def __reduce__(self):
        meta = {"type": "class", "version": 6, "module_src": "raise SystemExit", "class_name": self.class_name}
        return _reconstruct_persistent_obj, ({**meta, "state": self.state},)


def _reconstruct_persistent_obj(meta):
    raise AssertionError("this would run the source in the file")


@pytest.fixture
def nvidia_code(monkeypatch):
    """Make the function above go into pickles under NVIDIA's name."""
    module = types.ModuleType("torch_utils.persistence")
    module._reconstruct_persistent_obj = _reconstruct_persistent_obj
    monkeypatch.setitem(sys.modules, "torch_utils", types.ModuleType("torch_utils"))
    monkeypatch.setitem(sys.modules, "torch_utils.persistence", module)
    monkeypatch.setattr(_reconstruct_persistent_obj, "__module__", "torch_utils.persistence")


def test_a_module_that_pti_saved_is_read(nvidia_code, tmp_path):
    tensors = read_nvidia_pickle(HERE / "nvidia_32.pkl")["G_ema"].tensors
    for zipped in (True, False):
        torch.save(persistent("Generator", tensors), tmp_path / "model.pt", _use_new_zipfile_serialization=zipped)
        found = pretrained.load_generator(tmp_path / "model.pt")
        assert same(found, pretrained.load_generator(HERE / "nvidia_32.pkl"))


def test_conv_clamp_limits_activations_as_nvidias_code_does(nvidia_code, tmp_path):
    tensors = read_nvidia_pickle(HERE / "nvidia_32.pkl")["G_ema"].tensors
    free = pretrained.load_generator(HERE / "nvidia_32.pkl")
    w_plus = free.expand(free.mapping(tensor("nv:z", (2, 64))))
    assert free.clamp == 256
    for limit in (0.5, 1e6):
        network = persistent("Generator", tensors, conv_clamp=limit)
        (tmp_path / "g.pkl").write_bytes(pickle.dumps({"G_ema": network, "D": network}))
        clamped = pretrained.load_generator(tmp_path / "g.pkl")
        assert clamped.config["clamp"] == limit
        pretrained.save_network(tmp_path / "own.safetensors", "generator", clamped)
        assert pretrained.load_generator(tmp_path / "own.safetensors").config == clamped.config
        torch.testing.assert_close(clamped(w_plus), by_nvidias_formula(clamped, w_plus, limit), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(clamped(w_plus), free(w_plus))


def by_nvidias_formula(generator: Generator, w_plus: torch.Tensor, limit: float) -> torch.Tensor:
    """The generator's picture layer by layer, activations clamped behind the gain and colors behind their bias."""
    x = generator.constant.expand(len(w_plus), -1, -1, -1)
    image = torch.zeros(len(w_plus), 3, 2, 2)
    for j, to_rgb in enumerate(generator.to_rgb):
        for k in (0,) if j == 0 else (2 * j - 1, 2 * j):
            layer = generator.layers[k]
            layer.clamp = None
            pixels, factors = layer(x, torch.ones_like(x[:, :, 0, 0]), w_plus[:, k])
            layer.clamp = limit
            x = (pixels * factors[:, :, None, None]).clamp(-limit, limit)
        colors = to_rgb(x, torch.ones_like(x[:, :, 0, 0]), w_plus[:, 2 * j + 1]).clamp(-limit, limit)
        image = colors if j == 0 else upsample_image(image) + colors
    return image


def test_stylegan3_is_named_not_called_hostile(nvidia_code, tmp_path):
    tensors = {"synthesis.input.weight": torch.zeros(4, 4), "synthesis.L0_36_512.weight": torch.zeros(1)}
    network = persistent("Generator", tensors, size=np.broadcast_to(np.asarray(36), [2]), rate=np.float64(2))
    for protocol in (2, 4, 5):
        (tmp_path / "stylegan3.pkl").write_bytes(pickle.dumps({"G_ema": network}, protocol=protocol))
        assert "it is a StyleGAN3 generator" in refused(tmp_path / "stylegan3.pkl")


class Model(nn.Module):
    """A whole module of another project."""


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_whole_module_gets_a_sentence_that_says_what_to_save(zipped, tmp_path):
    torch.save(Model(), tmp_path / "model.pt", _use_new_zipfile_serialization=zipped)
    message = refused(tmp_path / "model.pt")
    assert "holds an object of tests.pretrained.test_trainer_files.Model" in message
    assert "state_dict()" in message
    assert "trust" not in message


# Encoders and parsers


def save_encoder(path: Path, options: object, average: bool = True) -> E4EEncoder:
    torch.manual_seed(0)
    encoder = E4EEncoder(n_latent=6, w_dim=6, input_size=32, units=(1, 1, 1, 1), widths=(4, 6, 8, 10), fpn_width=8)
    state = {f"encoder.{key}": value for key, value in encoder.state_dict().items() if key != "latent_avg"}
    content = {"state_dict": state, "opts": options}
    torch.save(content | ({"latent_avg": torch.ones(6, 6)} if average else {}), path)
    return encoder.eval()


def test_psp_gives_each_layer_its_own_code(tmp_path):
    encoder = save_encoder(tmp_path / "psp.pt", {"encoder_type": "GradualStyleEncoder"})
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        maps = encoder.pyramid(images)
        expected = torch.stack([head(maps[i // 3 + (i >= 7)]) for i, head in enumerate(encoder.styles)], dim=1) + 1
        found = pretrained.load_encoder(tmp_path / "psp.pt")
        torch.testing.assert_close(found(images), expected)
        save_encoder(tmp_path / "e4e.pt", {"encoder_type": "Encoder4Editing"})
        torch.testing.assert_close(pretrained.load_encoder(tmp_path / "e4e.pt")(images), encoder(images) + 1)
    pretrained.save_network(tmp_path / "own.safetensors", "encoder", found)
    assert not pretrained.load_encoder(tmp_path / "own.safetensors").offsets


def test_other_encoders_are_refused_by_name(tmp_path):
    save_encoder(tmp_path / "w.pt", {"encoder_type": "BackboneEncoderUsingLastLayerIntoW"})
    assert "an encoder of the type BackboneEncoderUsingLastLayerIntoW" in refused(tmp_path / "w.pt", "encoder")


def test_the_average_is_added_only_where_training_started_from_it(tmp_path):
    save_encoder(tmp_path / "e4e.pt", {"encoder_type": "Encoder4Editing", "start_from_latent_avg": False})
    assert not pretrained.load_encoder(tmp_path / "e4e.pt").latent_avg.any()


def test_bisenet_on_resnet34_is_read_under_both_names(tmp_path):
    torch.manual_seed(0)
    parser = BiSeNet(blocks=(3, 4, 6, 3), input_size=64)
    (form,) = (form for form in FORMATS if form.name == "yakhyo's BiSeNet")
    for rename in (lambda name: name, lambda name: form.theirs(name, {})):
        torch.save({rename(key): value for key, value in parser.state_dict().items()}, tmp_path / "resnet34.pt")
        found = pretrained.load_parser(tmp_path / "resnet34.pt")
        assert found.blocks == (3, 4, 6, 3)
        assert same(found, parser)
    pretrained.save_network(tmp_path / "own.safetensors", "parser", parser)
    assert pretrained.load_parser(tmp_path / "own.safetensors").config == parser.config
