"""Writing mappers for other code: HairCLIP's checkpoint, key by key, and folders of the Hugging Face Hub."""

import json
from pathlib import Path

import pytest
import torch
import yaml

import hairclip
from hairclip.cli import main as cli
from hairclip.common.errors import HairclipError
from hairclip.networks.clip import VIT_B_32, Clip
from hairclip.networks.mapper import HairCondition
from hairclip.networks.stylegan2 import Generator
from hairclip.pretrained import (
    HairMapper,
    load_clip,
    load_generator,
    load_hairclip,
    load_mapper,
    save_hairclip,
    save_network,
)
from hairclip.pretrained.official_export import official_opts, official_state_dict, refuse_unofficial
from hairclip.pretrained.registry import WEIGHTS
from tests.golden import fill
from tests.helpers.tiny_networks import N_LATENT, W_DIM, WIDTH, tiny_networks

TRAINING = {
    "networks": {"generator": "stylegan2-ffhq", "clip": "/home/someone/clips/clip.safetensors"},
    "data": {"latents": "celeba-hq-train", "reference_pool": 4000},
    "optimizer": {"name": "ranger", "lr": 5e-4},
    "losses": {"latent": 0.8},
}


def tiny_mapper(**settings) -> HairMapper:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return HairMapper(
            **{"n_latent": N_LATENT, "w_dim": W_DIM, "condition_dim": WIDTH, "groups": (3, 5), **settings}
        )


def same_weights(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    ours, theirs = first.state_dict(), second.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


# ------------------------------------------------------------------------------------- HairCLIP's checkpoint


def test_the_checkpoint_has_the_official_keys_shapes_and_types_in_the_official_order():
    with torch.device("meta"):
        mapper, generator, clip = HairMapper(18), Generator(1024), Clip(VIT_B_32)
    state = official_state_dict(mapper.state_dict(), generator.state_dict(), clip.state_dict())
    rows = json.loads((fill.HERE / "recipes" / "hairclip_pt.json").read_text())
    wanted = [(key, tuple(shape), torch.float16 if kind == "half" else torch.float32) for key, shape, kind, *_ in rows]
    found = [(key, tuple(tensor.shape), tensor.dtype) for key, tensor in state.items()]
    assert len(found) == 683
    assert found == wanted


def test_what_is_written_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # tiny networks are not official; at 64 px their layers suffice for the official groups
    monkeypatch.setattr("hairclip.pretrained.official_export.refuse_unofficial", lambda *configs: None)
    generator = Generator(64, W_DIM, W_DIM, 2, dict.fromkeys((4, 8, 16, 32, 64), 8))
    mapper = tiny_mapper(n_latent=10, groups=(4, 8), medium=False)
    mapper.notes = {"training": TRAINING, "opts": {"id_lambda": 9.0, "learning_rate": 9.0, "stylegan_size": 1}}
    towers = {"vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16}}
    towers["text_cfg"] = {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}
    clip = Clip({"embed_dim": WIDTH, "quick_gelu": True, **towers}).half().float()  # what float16 can hold
    save_hairclip(tmp_path / "tiny.pt", mapper, generator, clip)
    content = torch.load(tmp_path / "tiny.pt", weights_only=True)
    assert content.keys() == {"state_dict", "opts"}
    opts = content["opts"]
    assert (opts["no_coarse_mapper"], opts["no_medium_mapper"], opts["stylegan_size"]) == (False, True, 64)
    assert (opts["learning_rate"], opts["latent_l2_lambda"], opts["id_lambda"]) == (5e-4, 0.8, 9.0)
    again = load_mapper(tmp_path / "tiny.pt")
    assert again.medium is None
    assert same_weights(again, mapper)
    assert again.notes["opts"]["optim_name"] == "ranger"
    decoder = load_generator(tmp_path / "tiny.pt")
    decoder.latent_avg = None  # official files hold none: it was measured while loading
    assert same_weights(decoder, generator)
    assert same_weights(load_clip(tmp_path / "tiny.pt"), clip)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.pt"]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"groups": (3, 8)}, "mapper.groups is [3, 8]"),
        ({"scale": 0.2}, "mapper.scale is 0.2"),
        ({"pixel_norm": "feature"}, "mapper.pixel_norm is feature"),
        ({"output": "linear"}, "mapper.output is linear"),
        ({"absent": "zero"}, "mapper.absent is zero"),
        ({"w_dim": 256}, "width is 256"),
        ({"n_latent": 14}, "number of layers is 14"),
    ],
)
def test_mappers_that_the_official_code_would_run_otherwise_are_refused(changed: dict, words: str):
    with torch.device("meta"):
        good, bad = HairMapper(18).config, HairMapper(**{"n_latent": 18, **changed}).config
        large, small = Generator(1024).config, Generator(512).config
    wide = {**large, "channels": dict.fromkeys((4, 8, 16, 32, 64, 128, 256, 512, 1024), 512)}
    clip = {"model": VIT_B_32}
    refuse_unofficial(good, large, clip, clip)
    with pytest.raises(HairclipError) as caught:
        refuse_unofficial(bad, large, clip, clip)
    assert words in str(caught.value)
    with pytest.raises(HairclipError, match="size in pixels is 512, but its code has 1024 fixed"):
        refuse_unofficial(good, small, clip, clip)
    with pytest.raises(HairclipError, match="channels"):
        refuse_unofficial(good, wide, clip, clip)
    with pytest.raises(HairclipError, match="the generator's strands"):
        refuse_unofficial(good, {**large, "strands": {"read_at": 64}}, clip, clip)
    with pytest.raises(HairclipError, match="the generator's number of latents is 16, but its code has 18 fixed"):
        refuse_unofficial(good, {**large, "n_latent": 16}, clip, clip)
    with pytest.raises(HairclipError, match="CLIP"):
        refuse_unofficial(good, large, {"model": {**VIT_B_32, "embed_dim": 768}}, clip)


def test_options_name_the_files_that_the_official_inference_reads():
    opts = official_opts(tiny_mapper().config, 1024)
    assert opts["parsenet_weights"].endswith("parsenet.pth")
    assert opts["stylegan_size"] == 1024
    assert "learning_rate" not in opts


@pytest.mark.slow
def test_the_official_checkpoint_goes_through_unchanged(tmp_path: Path):
    official = fill.official("hairclip_pt")
    torch.save(
        {"state_dict": official, "opts": {"learning_rate": 5e-4, "stylegan_size": 1024}}, tmp_path / "hairclip.pt"
    )
    arguments = ["export", "--to", "hairclip", "--mapper", str(tmp_path / "hairclip.pt"), "--out"]
    assert cli.main([*arguments, str(tmp_path / "again.pt")]) == 0
    again = torch.load(tmp_path / "again.pt", weights_only=True)
    assert list(again["state_dict"]) == list(official)
    for key, tensor in official.items():
        assert again["state_dict"][key].dtype == tensor.dtype, key
        assert torch.equal(again["state_dict"][key], tensor), key
    assert again["opts"]["learning_rate"] == 5e-4


# ------------------------------------------------------------------------------------- the Hub


def test_the_public_mapper_is_the_one_that_loaders_give(tmp_path: Path):
    assert hairclip.HairMapper is HairMapper
    save_network(tmp_path / "m.safetensors", "mapper", tiny_mapper())
    assert type(load_mapper(tmp_path / "m.safetensors")) is HairMapper


def test_a_folder_gives_the_same_mapper(tmp_path: Path):
    mapper = tiny_mapper(groups=(2, 5), absent="zero", fine=False)
    mapper.notes = {"step": 7, "companions": {"generator": "stylegan2-ffhq"}}
    mapper.save_pretrained(tmp_path / "folder")
    assert {path.name for path in (tmp_path / "folder").iterdir()} == {"README.md", "config.json", "model.safetensors"}
    assert json.loads((tmp_path / "folder" / "config.json").read_text()) == mapper.config
    again = HairMapper.from_pretrained(tmp_path / "folder")
    assert type(again) is HairMapper
    assert again.config == mapper.config
    assert again.notes == mapper.notes
    assert same_weights(again, mapper)
    w_plus, condition = torch.randn(2, N_LATENT, W_DIM), HairCondition.absent(2, WIDTH)
    assert torch.equal(again(w_plus, condition), mapper(w_plus, condition))
    assert same_weights(load_mapper(tmp_path / "folder" / "model.safetensors"), mapper)
    assert HairMapper.from_pretrained(str(tmp_path / "folder"), scale=0.3).scale == 0.3


def card(folder: Path) -> tuple[dict, str]:
    _, header, text = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(header), text


def test_the_card_tells_training_data_and_licenses(tmp_path: Path):
    mapper = tiny_mapper()
    companions = {"generator": "stylegan2-ffhq", "clip": "/home/someone/clips/clip.safetensors"}
    mapper.notes = {"training": TRAINING, "step": 500, "companions": companions}
    mapper.save_pretrained(tmp_path / "trained")
    header, text = card(tmp_path / "trained")
    assert header["license"] == "other"
    assert "for 500 steps" in text
    configuration = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
    assert configuration["optimizer"] == TRAINING["optimizer"]
    assert "- latents: celeba-hq-train" in text
    assert "stylegan2-ffhq (stylegan2-ffhq-config-f.pt): NVIDIA Source Code License-NC" in text
    assert "celeba-hq-train (train_faces.pt): derived from CelebA-HQ" in text
    assert "clip.safetensors" in text
    assert "/home/someone" not in text
    again = HairMapper.from_pretrained(tmp_path / "trained")
    assert again.notes["training"]["optimizer"] == TRAINING["optimizer"]
    assert again.notes["training"]["networks"]["clip"] == "clip.safetensors"
    assert again.notes["companions"] == {"generator": "stylegan2-ffhq"}


def test_cards_of_other_mappers(tmp_path: Path):
    load_mapper("portraits/mapper").save_pretrained(tmp_path / "portraits")
    header, text = card(tmp_path / "portraits")
    assert header["license"] == "mit"
    assert "CC0 meshes: MIT" in text
    mapper = load_mapper("portraits/mapper")
    mapper.notes = {**mapper.notes, "training": {"networks": {"bundle": "portraits"}, "data": {"latents": "my.pt"}}}
    mapper.save_pretrained(tmp_path / "mixed")
    assert card(tmp_path / "mixed")[0]["license"] == "other"
    mapper.notes = {"opts": {"learning_rate": 5e-4, "latents_train_path": "train_faces.pt"}}
    mapper.save_pretrained(tmp_path / "official")
    header, text = card(tmp_path / "official")
    assert header["license"] == "other"
    assert "- latents_train_path: train_faces.pt" in text
    assert WEIGHTS["hairclip"].license in text
    tiny_mapper().save_pretrained(tmp_path / "unknown")
    header, text = card(tmp_path / "unknown")
    assert header["license"] == "other"
    assert "does not say how" in text
    assert "not known to this file" in text


@pytest.mark.parametrize("broken", ["no folder", "no weights", "bad config"])
def test_a_folder_that_gives_no_mapper_is_one_sentence(broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HAIRCLIP_OFFLINE", "1")
    folder = tmp_path / "folder"
    if broken != "no folder":
        tiny_mapper().save_pretrained(folder)
    if broken == "no weights":
        (folder / "model.safetensors").unlink()
    if broken == "bad config":
        (folder / "config.json").write_text('{"n_latent": "many"}')
    with pytest.raises(HairclipError) as caught:
        HairMapper.from_pretrained("nobody/nothing" if broken == "no folder" else folder)
    assert "\n" not in str(caught.value)


def test_export_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    networks = tiny_networks()
    for part in ("generator", "clip"):
        save_network(tmp_path / f"{part}.safetensors", part, getattr(networks, part))
    save_network(tmp_path / "mapper.safetensors", "mapper", tiny_mapper())
    export = ["export", "--mapper", str(tmp_path / "mapper.safetensors"), "--to"]
    assert cli.main([*export, "huggingface", "--out", str(tmp_path / "folder")]) == 0
    assert same_weights(
        HairMapper.from_pretrained(tmp_path / "folder"), load_hairclip(tmp_path / "mapper.safetensors")[0]
    )
    assert cli.main([*export, "hairclip", "--out", str(tmp_path / "x.pt")]) == 2
    assert cli.main([*export, "huggingface", "--out", str(tmp_path / "clip.safetensors")]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert "HairCLIP's code cannot run this mapper" in errors[0]
    assert "is a file" in errors[1]
    assert not (tmp_path / "x.pt").exists()
