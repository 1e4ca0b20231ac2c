"""CLIP by open_clip's names: the tag's weights, the activation they were trained with, the width that follows."""

import inspect
import json
import socket
import time
from pathlib import Path

import huggingface_hub
import open_clip
import pytest
import torch
from safetensors.torch import save_file

from hairclip import pretrained
from hairclip.common.errors import HairclipError
from hairclip.networks import clip as networks
from hairclip.networks.clip import Clip
from hairclip.pretrained.open_clip import DEFAULT

TEXT = {"context_length": 12, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}
VISION = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16}
PLAIN = {"embed_dim": 24, "vision_cfg": VISION, "text_cfg": TEXT}
MODELS = {
    "Clip": PLAIN,
    "TowersClip": {**PLAIN, "custom_text": True, "init_logit_bias": -10.0},
    "CocaClip": {
        **PLAIN,
        "custom_text": True,
        "vision_cfg": {**VISION, "attentional_pool": True, "attn_pooler_heads": 1, "output_tokens": True},
        "text_cfg": {**TEXT, "embed_cls": True, "output_tokens": True},
        "multimodal_cfg": {**TEXT, "attn_pooler_heads": 1},
    },
}


@pytest.fixture(params=list(MODELS))
def named(request, tmp_path, monkeypatch) -> tuple[str, torch.nn.Module, Path]:
    """A small model known to open_clip by a name, with a pretrained tag: class name, open_clip's network, its file."""
    name, model = request.param, MODELS[request.param]
    monkeypatch.setattr(open_clip, "list_models", lambda: ["tiny"])
    monkeypatch.setattr(open_clip, "get_model_config", lambda _: json.loads(json.dumps(model)))
    monkeypatch.setattr(open_clip, "list_pretrained_tags_by_model", lambda _: ["here", "there"])
    weights = {"url": "", "hf_hub": "", "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "quick_gelu": True}
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda _, tag: weights if tag == "here" else {})
    torch.manual_seed(0)
    theirs = getattr(networks, name)({**model, "quick_gelu": True}).eval()
    path = tmp_path / "open_clip_model.safetensors"
    save_file(theirs.state_dict(), path)
    monkeypatch.setattr(open_clip, "download_pretrained", lambda _: str(path))
    return name, theirs, path


def test_a_name_and_a_tag_give_open_clips_network(named):
    name, theirs, _ = named
    clip = pretrained.load_clip("tiny/here")
    assert type(clip).__name__ == name
    assert clip.width == 24
    assert not any(parameter.requires_grad for parameter in clip.parameters())
    assert clip.pixel_mean.flatten().tolist() == [0.5] * 3
    texts, images = ["red hair", "bob cut"], torch.rand(2, 3, 32, 32) * 2 - 1
    tokens = open_clip.SimpleTokenizer(context_length=12)(texts)
    base = {"Clip": open_clip.CLIP, "TowersClip": open_clip.CustomTextCLIP, "CocaClip": open_clip.CoCa}[name]
    normalized = {"normalize": True}
    with torch.no_grad():
        expected = base.encode_text(theirs, tokens, **normalized), base.encode_image(theirs, images, **normalized)
    found = clip.encode_text(texts), clip.encode_image(images)
    assert found[0].shape == found[1].shape == (2, 24)
    for ours, official in zip(found, expected):
        torch.testing.assert_close(torch.nn.functional.normalize(ours, dim=1), official)


def test_it_is_written_and_read_as_our_own(named, tmp_path):
    clip = pretrained.load_clip("tiny/here")
    pretrained.save_network(tmp_path / "clip.safetensors", "clip", clip)
    again = pretrained.load_clip(tmp_path / "clip.safetensors")
    assert type(again) is type(clip)
    assert again.config == clip.config
    images = torch.rand(1, 3, 64, 64) * 2 - 1
    assert torch.equal(again.encode_image(images), clip.encode_image(images))


def test_a_config_beside_the_file_tells_its_sizes(named):
    name, theirs, path = named
    config = {"model_cfg": theirs.model_config, "preprocess_cfg": {"mean": [0.1, 0.2, 0.3], "std": [1, 1, 1]}}
    path.with_name("open_clip_config.json").write_text(json.dumps(config))
    clip = pretrained.load_clip(path)
    assert type(clip).__name__ == name
    assert torch.equal(clip.encode_text(["red"]), theirs.encode_text(["red"]))
    torch.testing.assert_close(clip.pixel_mean.flatten(), torch.tensor([0.1, 0.2, 0.3]))
    vast = {**theirs.model_config, "text_cfg": {**TEXT, "width": 10**7}}
    path.with_name("open_clip_config.json").write_text(json.dumps({"model_cfg": vast}))
    with pytest.raises(HairclipError, match=r"open_clip_model\.safetensors"):
        pretrained.load_clip(path)


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "{",
        "[" * 10**5,
        "3",
        '{"model_cfg": 3}',
        '{"model_cfg": {}, "preprocess_cfg": [1]}',
        '{"model_cfg": {}, "preprocess_cfg": {"mean": 3}}',
        '{"model_cfg": {}, "preprocess_cfg": {"std": [1, 2]}}',
        '{"model_cfg": {}, "preprocess_cfg": {"std": ["a", 1, 2]}}',
    ],
)
def test_a_damaged_config_beside_the_file_is_one_sentence(content, tmp_path):
    torch.save({"visual.conv1.weight": torch.zeros(1)}, tmp_path / "clip.pt")
    (tmp_path / "open_clip_config.json").write_text(content)
    with pytest.raises(HairclipError, match=r"open_clip_config\.json is no config") as caught:
        pretrained.load_clip(tmp_path / "clip.pt")
    assert "\n" not in str(caught.value)


def test_mistakes_are_one_sentence(named, monkeypatch):
    _, theirs, path = named
    with pytest.raises(HairclipError, match=r"tiny/nowhere names no weights.*add one of here, there"):
        pretrained.load_clip("tiny/nowhere")
    with pytest.raises(HairclipError, match="no weight file"):
        pretrained.load_clip("unknown/here")
    state = theirs.state_dict()
    save_file({key: value for key, value in state.items() if key != "visual.conv1.weight"}, path)
    with pytest.raises(HairclipError, match=r"lacks 'visual\.conv1\.weight'"):
        pretrained.load_clip("tiny/here")

    def offline(_: object) -> str:
        raise OSError("no\nnetwork")

    monkeypatch.setattr(open_clip, "download_pretrained", offline)
    with pytest.raises(HairclipError, match=r"cannot be fetched \(no network\)") as caught:
        pretrained.load_clip("tiny/here")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("variable", ["HAIRCLIP_OFFLINE", None])
def test_weights_of_the_hub_are_taken_from_its_cache_or_refused_at_once(variable, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(open_clip, "download_pretrained", lambda _: pytest.fail("asked the network"))
    monkeypatch.setattr(socket, "getaddrinfo", fail)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    if variable is not None:
        monkeypatch.setenv(variable, "1")
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *names: asked.append(names))
    started = time.monotonic()
    with pytest.raises(HairclipError, match="weights of ViT-B-32-quickgelu/openai cannot be fetched"):
        pretrained.load_clip(DEFAULT)
    assert time.monotonic() - started < 3
    assert ("timm/vit_base_patch32_clip_224.openai", "open_clip_model.safetensors") in asked


def test_the_default_is_openais_vit_b_32():
    assert inspect.signature(pretrained.load_clip).parameters["name_or_path"].default == DEFAULT
    assert DEFAULT == "ViT-B-32-quickgelu/openai"
    assert open_clip.get_pretrained_cfg(*DEFAULT.split("/"))["quick_gelu"]
    assert open_clip.get_model_config("ViT-B-32-quickgelu") == networks.VIT_B_32


def test_nothing_is_fetched_for_a_tower_that_a_file_names():
    with pytest.raises(ValueError, match="would have to be fetched"):
        Clip({**PLAIN, "vision_cfg": {"timm_model_name": "hf-hub:someone/model", "image_size": 32}})


def test_a_residual_clip_is_recognized(tmp_path):
    vision = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 64, "patch_size": None}
    model = {**PLAIN, "quick_gelu": True, "vision_cfg": vision}
    clip = Clip(model).eval()
    torch.save(clip.state_dict(), tmp_path / "RN.pt")
    assert pretrained.load_clip(tmp_path / "RN.pt").config == {"model": model}
