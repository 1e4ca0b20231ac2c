"""Saving and loading: the same network comes back, official files are recognized, every wrong file is one sentence."""

import pickle
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from hairclip import pretrained
from hairclip.cli import main as cli
from hairclip.common.errors import HairclipError
from hairclip.networks.classifier import HairstyleClassifier
from hairclip.networks.clip import Clip
from hairclip.networks.denoiser import HairPainter
from hairclip.networks.e4e import E4EEncoder
from hairclip.networks.face_parser import BiSeNet, UNetParser
from hairclip.networks.ir_se import IdentityEncoder
from hairclip.networks.mapper import HairCondition
from hairclip.networks.stylegan2 import Generator
from hairclip.networks.text_encoder import TextEncoder
from hairclip.pretrained import HairMapper
from hairclip.pretrained.network_files import stored
from hairclip.pretrained.weight_files import write_safetensors
from tests.golden.fill import HERE, agrees, official, tensor

CLIP = {
    "embed_dim": 32,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 8},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1},
}
CHANNELS = {4: 8, 8: 8, 16: 8}
MAKERS = {
    "generator": lambda: Generator(16, w_dim=16, z_dim=16, mapping_layers=2, channels=CHANNELS),
    "clip": lambda: Clip(CLIP),
    "parser": lambda: UNetParser(filters=(4, 6, 8), input_size=16),
    "identity": lambda: IdentityEncoder(units=(1, 1), widths=(4, 8), input_size=16, embedding=8, frame=32),
    "encoder": lambda: E4EEncoder(
        n_latent=6, w_dim=16, input_size=32, units=(1, 1, 1, 1), widths=(4, 6, 8, 10), fpn_width=8
    ),
    "mapper": lambda: HairMapper(6, w_dim=16, condition_dim=32, groups=(2, 4)),
    "judge": lambda: HairstyleClassifier(["bob cut", "afro"], widths=(4, 8), input_size=16),
    "denoiser": lambda: HairPainter(8, channels=(6, 6), coarse=(8, 16), fine=(8, 8), middle=(2, 1), hidden=(16, 16)),
    "text_encoder": lambda: TextEncoder(
        n_latent=6, w_dim=16, condition_dim=32, width=8, components=4, hairstyles=["afro"], colors=["red"]
    ),
}


def make(kind):
    torch.manual_seed(0)
    network = MAKERS[kind]()
    if kind == "generator":
        network.latent_avg = torch.randn(16)
    return network.eval()


def load(kind, path):
    return getattr(pretrained, f"load_{kind}")(path)


def one_sentence(error: HairclipError, *parts: object) -> None:
    message = str(error)
    assert "\n" not in message, message
    assert message.endswith("."), message
    for part in parts:
        assert str(part) in message, message


@pytest.mark.parametrize("kind", MAKERS)
def test_a_saved_network_comes_back_bit_for_bit(kind, tmp_path):
    network = make(kind)
    path = tmp_path / "network.safetensors"
    pretrained.save_network(path, kind, network)
    again = load(kind, path)
    assert type(again) is type(network)
    assert again.config == network.config
    assert not again.training
    expected = network.state_dict()
    found = again.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    assert all(p.requires_grad == (kind == "mapper") for p in again.parameters())
    assert [p.name for p in tmp_path.iterdir()] == ["network.safetensors"]


def test_half_precision_halves_weights_and_keeps_statistics(tmp_path):
    parser = make("parser")
    parser.final.weight.data[0, 0] = 1e6  # beyond float16: this tensor stays float32
    path = tmp_path / "parser.safetensors"
    pretrained.save_network(path, "parser", parser, half=True)
    with safe_open(path, framework="pt") as file:
        stored = {key: file.get_tensor(key).dtype for key in file.keys()}  # noqa: SIM118
    assert stored["center.conv1.0.weight"] == torch.float16
    assert stored["center.conv1.1.running_var"] == stored["final.weight"] == torch.float32
    again = pretrained.load_parser(path)
    for key, value in again.state_dict().items():
        torch.testing.assert_close(value, parser.state_dict()[key], rtol=1e-3, atol=1e-6)


def test_float8_takes_the_kind_that_rounds_less():
    weight = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    for scale, kind in ((0.1, torch.float8_e4m3fn), (1e-4, torch.float8_e5m2), (1e3, torch.float8_e5m2)):
        kept = stored("weight", scale * weight, half=True, quarter_above=4000)  # e4m3 ends at 448, and at 0.002
        assert kept.dtype == kind
        assert (kept.float() / scale - weight).norm() < 0.1 * weight.norm()
    assert stored("weight", weight, half=True, quarter_above=5000).dtype == torch.float16


def test_spared_tensors_are_not_stored_as_float8(tmp_path):
    path = tmp_path / "parser.safetensors"
    spared = "center.conv1.0.weight"
    pretrained.save_network(path, "parser", UNetParser(input_size=64), half=True, quarter_above=1000, spared=[spared])
    with safe_open(path, framework="pt") as file:
        assert file.get_tensor(spared).dtype == torch.float16
        assert file.get_tensor("center.conv2.0.weight").itemsize == 1


def test_bisenet_is_rebuilt_as_bisenet(tmp_path):
    pretrained.save_network(tmp_path / "p.safetensors", "parser", BiSeNet(input_size=64))
    parser = pretrained.load_parser(tmp_path / "p.safetensors")
    assert isinstance(parser, BiSeNet)
    assert parser.input_size == 64


def test_codes_that_move_together_are_kept_as_principal_components(tmp_path):
    codes = torch.randn(40, 3) @ torch.randn(3, 48) + torch.randn(48)
    codes = (codes + 0.001 * torch.randn(40, 48)).unflatten(1, (6, 8))
    for components in (None, 3, 2):
        pretrained.save_latents(tmp_path / f"{components}.safetensors", codes, components=components)
    whole, three, two = (pretrained.load_latents(tmp_path / f"{name}.safetensors") for name in (None, 3, 2))
    assert torch.equal(whole, codes)
    assert three.shape == codes.shape
    torch.testing.assert_close(three, codes, rtol=0, atol=0.01)
    assert (two - codes).norm() > 10 * (three - codes).norm()
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in (None, 3)]
    assert sizes[1] < 0.5 * sizes[0]


def test_components_that_do_not_fit_are_refused(tmp_path):
    tensors = {"mean": torch.zeros(6, 8), "basis": torch.zeros(3, 47), "coefficients": torch.zeros(5, 3)}
    write_safetensors(tmp_path / "l.safetensors", tensors, {"hairclip_kind": "latents"})
    with pytest.raises(HairclipError, match="do not fit together"):
        pretrained.load_latents(tmp_path / "l.safetensors")


def test_latents_come_back_with_their_labels(tmp_path):
    codes = torch.randn(5, 6, 16)
    labels = {"hairstyle": ["afro"] * 5}
    pretrained.save_latents(tmp_path / "l.safetensors", codes, labels, half=True)
    again = pretrained.load_latents(tmp_path / "l.safetensors")
    assert again.dtype == torch.float32
    torch.testing.assert_close(again, codes.half().float())
    assert pretrained.load_latent_labels(tmp_path / "l.safetensors") == labels
    torch.save(codes, tmp_path / "train_faces.pt")
    assert torch.equal(pretrained.load_latents(tmp_path / "train_faces.pt"), codes)


def test_a_mapper_brings_its_companions(tmp_path):
    for kind in ("generator", "clip"):
        pretrained.save_network(tmp_path / f"{kind}.safetensors", kind, make(kind))
    beside = tmp_path / "mapper.safetensors"
    pretrained.save_network(beside, "mapper", make("mapper"))
    mapper, generator, clip = pretrained.load_hairclip(beside)
    assert isinstance(mapper, HairMapper)
    assert isinstance(generator, Generator)
    assert isinstance(clip, Clip)
    elsewhere = tmp_path / "run" / "mapper.safetensors"
    names = {kind: str(tmp_path / f"{kind}.safetensors") for kind in ("generator", "clip")}
    pretrained.save_network(elsewhere, "mapper", make("mapper"), companions=names)
    assert pretrained.load_hairclip(elsewhere)[1].size == 16


def test_a_bundle_loads_each_part_once(tmp_path):
    for kind in MAKERS:
        pretrained.save_network(tmp_path / f"{kind}.safetensors", kind, make(kind))
    bundle = pretrained.load_bundle(tmp_path)
    for kind in MAKERS:
        part = getattr(bundle, kind)
        assert type(part) is type(make(kind))
        assert getattr(bundle, kind) is part


def test_a_part_that_a_bundle_lacks_is_named(tmp_path):
    pretrained.save_network(tmp_path / "judge.safetensors", "judge", make("judge"))
    with pytest.raises(HairclipError) as caught:
        _ = pretrained.load_bundle(tmp_path).clip
    one_sentence(caught.value, "no clip", "judge")
    with pytest.raises(HairclipError) as caught:
        pretrained.load_bundle(tmp_path / "nothing")
    one_sentence(caught.value, "nothing", "portraits")


def test_names_resolve_to_the_embedded_files(tmp_path, monkeypatch):
    monkeypatch.setattr("hairclip.pretrained.sources.data_folder", lambda: tmp_path)
    with pytest.raises(HairclipError) as caught:
        pretrained.load_judge("portraits/judge")
    one_sentence(caught.value, "portraits/judge", tmp_path)
    pretrained.save_network(tmp_path / "portraits" / "judge.safetensors", "judge", make("judge"))
    assert pretrained.load_judge("portraits/judge").classes == ["bob cut", "afro"]
    assert pretrained.load_bundle("portraits").judge.input_size == 16


def test_official_files_are_recognized(tmp_path):
    parser, identity, encoder, clip = (make(kind) for kind in ("parser", "identity", "encoder", "clip"))
    depth = 2
    state = {}
    for key, value in parser.state_dict().items():
        part, *rest = key.split(".")
        if part == "down":
            part = f"conv{int(rest.pop(0)) + 1}"
        elif part == "up":
            part = f"up_concat{depth - int(rest.pop(0))}"
        state[".".join([part, *rest])] = value
    torch.save(state, tmp_path / "parsenet.pth")
    found = pretrained.load_parser(tmp_path / "parsenet.pth")
    assert found.config == {"filters": [4, 6, 8], "input_size": 512}
    assert all(torch.equal(v, parser.state_dict()[k]) for k, v in found.state_dict().items())

    torch.save(
        {k: v for k, v in identity.backbone.state_dict().items() if "num_batches" not in k}, tmp_path / "ir_se.pth"
    )
    faces = torch.rand(2, 3, 16, 16)
    assert torch.equal(pretrained.load_identity(tmp_path / "ir_se.pth").backbone(faces), identity.backbone(faces))

    state = {f"encoder.{k}": v for k, v in encoder.state_dict().items() if k != "latent_avg"}
    torch.save({"state_dict": state, "latent_avg": torch.ones(6, 16)}, tmp_path / "e4e.pt")
    images = torch.rand(1, 3, 32, 32)
    found = pretrained.load_encoder(tmp_path / "e4e.pt")(images)
    torch.testing.assert_close(found, encoder(images) + 1)

    save_file({k: v.half() for k, v in clip.state_dict().items()}, tmp_path / "open_clip.safetensors")
    assert pretrained.load_clip(tmp_path / "open_clip.safetensors").config == clip.config


def wrong_files(folder: Path) -> dict[str, Path]:
    files = {name: folder / f"{name}.pt" for name in ("text", "empty", "list", "other", "executing")}
    files["text"].write_text("not weights")
    files["empty"].write_bytes(b"")
    torch.save([1, 2], files["list"])
    torch.save({"layer.weight": torch.zeros(3)}, files["other"])
    files["executing"].write_bytes(pickle.dumps(Attack(), protocol=2))
    files["missing"] = folder / "missing.pt"
    files["folder"] = folder
    files["damaged"] = folder / "damaged.safetensors"
    pretrained.save_network(files["damaged"], "judge", make("judge"))
    files["damaged"].write_bytes(files["damaged"].read_bytes()[:-100])
    files["foreign"] = folder / "foreign.safetensors"
    save_file({"layer.weight": torch.zeros(3)}, files["foreign"])
    return files


class Attack:
    def __reduce__(self):
        return (print, ("a weight file was executed",))


@pytest.mark.parametrize("kind", [*MAKERS, "hairclip", "latents"])
def test_a_wrong_file_is_one_sentence(kind, tmp_path, capsys):
    for name, path in wrong_files(tmp_path).items():
        with pytest.raises(HairclipError) as caught:
            load(kind, path)
        one_sentence(caught.value, path.name), name
    assert "executed" not in capsys.readouterr().out


def test_the_wrong_kind_names_both(tmp_path):
    pretrained.save_network(tmp_path / "a.safetensors", "parser", make("parser"))
    with pytest.raises(HairclipError) as caught:
        pretrained.load_generator(tmp_path / "a.safetensors")
    one_sentence(caught.value, "parser", "generator", "a.safetensors")


@pytest.mark.parametrize(
    ("config", "class_name"),
    [
        ('{"widths": 3}', ""),
        ("{", ""),
        ("[1]", ""),
        ('{"filters": [4, 6, 9], "input_size": 16}', "UNetParser"),
        ("{}", "New"),
    ],
)
def test_a_file_that_contradicts_itself_is_one_sentence(config, class_name, tmp_path):
    path = tmp_path / "p.safetensors"
    metadata = {"hairclip_kind": "parser", "hairclip_class": class_name, "config": config}
    save_file(make("parser").state_dict(), path, metadata)
    with pytest.raises(HairclipError) as caught:
        pretrained.load_parser(path)
    one_sentence(caught.value, path)


def test_an_unwritable_place_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HairclipError) as caught:
        pretrained.save_network(tmp_path / "file" / "judge.safetensors", "judge", make("judge"))
    one_sentence(caught.value, "judge.safetensors")


def test_nvidia_pickles_give_a_generator():
    generator = pretrained.load_generator(HERE / "nvidia_32.pkl")
    assert (generator.size, generator.z_dim, generator.w_dim) == (32, 64, 64)
    w = generator.mapping(tensor("nv:z", (2, 64)))
    agrees(w, "nvidia.latent")
    agrees(generator(generator.expand(w)), "nvidia.z.image")


@pytest.mark.slow
def test_an_official_hairclip_checkpoint_gives_all_three(tmp_path):
    torch.save({"state_dict": official("hairclip_pt"), "opts": {"batch_size": 1}}, tmp_path / "hairclip.pt")
    mapper, generator, clip = pretrained.load_hairclip(tmp_path / "hairclip.pt")
    assert (generator.size, generator.n_latent, clip.width) == (1024, 18, 512)
    w_plus = tensor("w_1024", (1, 18, 512), 0, 0.5)
    hairstyle, color = clip.encode_text(["bob cut hairstyle", "red hair"]).split(1)
    yes = torch.ones(1, dtype=torch.bool)
    condition = HairCondition(hairstyle=hairstyle, color=color, has_hairstyle=yes, has_color=yes)
    agrees(w_plus + mapper(w_plus, condition), "hairclip_pt.text_text.w_hat")


def test_loading_leaves_the_global_random_numbers_alone(tmp_path):
    pretrained.save_network(tmp_path / "judge.safetensors", "judge", make("judge"))
    before = torch.random.get_rng_state()
    pretrained.load_judge(tmp_path / "judge.safetensors")
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_tensor_that_is_not_finite_is_named(value, tmp_path, capsys):
    for half in (False, True):
        parser = make("parser")
        parser.final.weight.data[0, 0] = value
        pretrained.save_network(tmp_path / "p.safetensors", "parser", parser, half=half)
        with pytest.raises(HairclipError) as caught:
            pretrained.load_parser(tmp_path / "p.safetensors")
        one_sentence(caught.value, "p.safetensors", "its tensor final.weight holds NaN or infinity")
    assert cli.main(["doctor", "--file", str(tmp_path / "p.safetensors")]) == 2
    assert "final.weight holds NaN or infinity" in capsys.readouterr().err
    identity = make("identity")
    state = {key: value for key, value in identity.backbone.state_dict().items() if "num_batches" not in key}
    state["input_layer.0.weight"][0] = value
    torch.save(state, tmp_path / "ir_se.pth")
    with pytest.raises(HairclipError, match="input_layer.0.weight holds NaN or infinity"):
        pretrained.load_identity(tmp_path / "ir_se.pth")


def test_a_run_or_a_checkpoint_in_place_of_a_mapper_says_what_to_give(tmp_path):
    mapper = make("mapper")
    state = {"step": 3, "config": {}, "mapper": mapper.state_dict(), "optimizer": {"state": {}}}
    torch.save(state, tmp_path / "checkpoint-3.pt")
    with pytest.raises(HairclipError) as caught:
        pretrained.load_mapper(tmp_path / "checkpoint-3.pt")
    one_sentence(caught.value, "is a checkpoint of a training run", f"give {tmp_path / 'mapper.safetensors'}")
    pretrained.save_network(tmp_path / "mapper.safetensors", "mapper", mapper)
    with pytest.raises(HairclipError) as caught:
        pretrained.load_mapper(tmp_path)
    one_sentence(caught.value, "is a folder", f"give {tmp_path / 'mapper.safetensors'}")


def test_no_refusal_is_longer_than_people_read(tmp_path):
    long = "x" * 5000
    state, path = make("parser").state_dict(), tmp_path / "p.safetensors"
    described = {"hairclip_kind": "parser", "hairclip_class": "UNetParser", "config": "{}"}
    many = {f"{long}.{number}": torch.zeros(1) for number in range(20)}
    files = [
        (state, described | {"hairclip_class": long}),
        (state, described | {"hairclip_kind": long}),
        (state, described | {"config": f'{{"{long}": 1}}'}),
        (state, described | {"config": f'{{"input_size": "{long}"}}'}),
        (state, described | {"config": long}),
        (many, described),
        (state | many, described | {"config": '{"filters": [4, 6, 8], "input_size": 16}'}),
        (many, {}),
    ]
    for tensors, metadata in files:
        save_file(tensors, path, metadata)
        for kind in ("parser", "generator", "clip", "latents"):
            with pytest.raises(HairclipError) as caught:
                load(kind, path)
            assert len(str(caught.value)) < 400 + len(str(path)), (kind, str(caught.value))
    with pytest.raises(HairclipError) as caught:
        pretrained.load_parser("no-such-name")
    assert len(str(caught.value)) < 400
