"""Foreign generators and mappers: names both ways, refusals in one sentence, pickles that are read but never run."""

import collections
import io
import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from hairclip.common.errors import HairclipError
from hairclip.networks.mapper import HairMapper
from hairclip.networks.stylegan2 import Generator
from hairclip.pretrained import foreign as keys
from hairclip.pretrained.foreign.parsers import _yakhyo_name
from hairclip.pretrained.readers.nvidia import is_pickle, read_nvidia_pickle
from tests.golden import agrees, official, tensor
from tests.golden.fill import HERE
from tests.helpers.foreign import build

NVIDIA = HERE / "nvidia_32.pkl"


def small_generator(size: int = 16) -> Generator:
    torch.manual_seed(0)
    channels = {4: 8, 8: 7, 16: 4} | dict.fromkeys((32, 64, 128, 256, 512, 1024), 2)
    return Generator(size, w_dim=6, z_dim=5, mapping_layers=3, channels=channels)


def refusal(content: object, kind: str) -> str:
    with pytest.raises(HairclipError) as caught:
        build(content, kind)
    message = str(caught.value)
    assert message.endswith(".")
    assert "\n" not in message
    return message


def test_rosinality_both_ways_is_exact_and_in_the_official_order():
    theirs = official("stylegan2_64")
    back = keys.generator_to_rosinality(build(theirs, "generator").state_dict())
    assert list(back) == list(theirs)
    for key, value in theirs.items():
        assert torch.equal(back[key], value), key


@pytest.mark.parametrize("size", [32, 128, 1024])
def test_generators_of_every_size_come_back(size):
    generator = small_generator(size)
    generator.latent_avg = torch.randn(6)
    theirs = keys.generator_to_rosinality(generator.state_dict())
    again = build({"g_ema": theirs, "g": {}, "d": {}, "latent_avg": generator.latent_avg}, "generator")
    assert again.config == generator.config
    assert again.state_dict().keys() == generator.state_dict().keys()
    assert all(torch.equal(again.state_dict()[key], value) for key, value in generator.state_dict().items())


def test_every_place_of_a_rosinality_generator_is_found():
    theirs = keys.generator_to_rosinality(small_generator().state_dict())
    decoder = {f"decoder.{key}": value for key, value in theirs.items()}
    rows = torch.ones(6).expand(6, 6)
    for content in (
        theirs,
        {"g_ema": theirs},
        {"state_dict": decoder | {"encoder.x": torch.zeros(1)}, "opts": {}},
        {"state_dict": decoder, "latent_avg": rows},
    ):
        generator = build(content, "generator")
        if "latent_avg" in content:
            assert torch.equal(generator.latent_avg, torch.ones(6))
    assert keys.recognize({"weight": torch.zeros(1)}, "generator") is None
    assert keys.recognize({"g_ema": 3}, "generator") is None
    assert keys.recognize([1], "generator") is None


def test_a_missing_average_latent_is_computed():
    generator = small_generator()
    again = build(keys.generator_to_rosinality(generator.state_dict()), "generator")
    with torch.no_grad():
        expected = again.mapping(torch.randn(20_000, 5, generator=torch.Generator().manual_seed(1))).mean(dim=0)
    torch.testing.assert_close(again.latent_avg, expected, rtol=0, atol=0.05)
    assert torch.equal(
        build(keys.generator_to_rosinality(generator.state_dict()), "generator").latent_avg, again.latent_avg
    )


def test_every_official_generator_key_has_a_place():
    # Only names: the 1024 px recipe is listed, not filled.
    with torch.device("meta"):
        generator = Generator(1024)
        theirs = keys.generator_to_rosinality(generator.state_dict())
    rows = json.loads((HERE / "recipes" / "stylegan2_1024.json").read_text())
    assert [row[0] for row in rows] == list(theirs)
    assert all(list(theirs[row[0]].shape) == row[1] for row in rows)
    assert len(theirs) == 171


def test_what_does_not_fit_is_named_with_what_was_expected():
    theirs = keys.generator_to_rosinality(small_generator().state_dict())
    del theirs["convs.1.conv.weight"]
    theirs["convs.0.extra"] = torch.zeros(1)
    theirs["style.2.weight"] = torch.zeros(6, 7)
    theirs["noises.noise_1"] = torch.zeros(1, 1, 8, 8, dtype=torch.int64)
    message = refusal({"g_ema": theirs}, "generator")
    assert "looks most like rosinality's StyleGAN2" in message
    assert "lacks 'convs.1.conv.weight'" in message
    assert "holds 'convs.0.extra', which it should not" in message
    assert "'style.2.weight' is (6, 7), expected (6, 6)" in message
    assert "'noises.noise_1' holds int64, expected float32" in message


def test_long_lists_are_cut():
    theirs = official("parsenet")
    kept = {key: value for key, value in theirs.items() if not key.startswith("up_concat2.")}
    lost = "lacks 14 tensors ('up_concat2.up.weight', 'up_concat2.up.bias', 'up_concat2.conv.conv1.0.weight', ...)"
    assert f"looks most like the U-Net of CelebAMask-HQ, but {lost}" in refusal(kept, "parser")
    kept = {key: value for key, value in theirs.items() if not key.startswith("conv3.")}
    assert "lacks 'conv3.conv1.0.weight'" in refusal(kept, "parser")


def test_a_file_that_lacks_what_tells_its_sizes_is_still_recognized():
    theirs = official("ir_se50")
    del theirs["output_layer.3.weight"]
    assert "looks most like IR-SE50 face recognition, but lacks 'output_layer.3.weight'" in refusal(theirs, "identity")
    theirs = official("ir_se50") | {"output_layer.3.weight": torch.zeros(512)}
    assert "'output_layer.3.weight' has the shape (512,), expected 2 dimensions" in refusal(theirs, "identity")


def test_another_kind_is_named():
    message = refusal(official("parsenet"), "generator")
    assert "holds parser weights (the U-Net of CelebAMask-HQ), but generator weights are needed" in message
    assert "first entry 'layer.weight'" in refusal({"layer.weight": torch.zeros(3)}, "clip")
    assert "a list" in refusal([1, 2], "clip")


def test_generators_that_hairclip_cannot_use_are_named():
    message = refusal(
        read_nvidia_pickle(NVIDIA)["G_ema"].tensors | {"mapping.embed.weight": torch.zeros(1)}, "generator"
    )
    assert "classes" in message
    third = {"synthesis.input.weight": torch.zeros(4, 4), "synthesis.L0_36_512.weight": torch.zeros(1)}
    assert "StyleGAN3" in refusal(third, "generator")


def test_mapper_names_both_ways():
    theirs = official("hair_mapper")
    content = {"state_dict": {f"mapper.{key}": value for key, value in theirs.items()}}
    mapper = build(content, "mapper")
    assert (mapper.n_latent, mapper.absent, mapper.scale, mapper.pixel_norm) == (18, "passthrough", 0.1, "layer")
    assert mapper.output == "leaky_relu"
    assert list(keys.mapper_to_hairclip(mapper.state_dict())) == list(theirs)
    assert sum(p.numel() for p in mapper.parameters()) == 19_729_920
    assert "looks most like HairCLIP's mapper" in refusal({"fine_mapping.extra": torch.zeros(1)}, "mapper")
    changed = content["state_dict"] | {"mapper.fine_mapping.extra": torch.zeros(1)}
    assert "holds 'mapper.fine_mapping.extra'" in refusal({"state_dict": changed}, "mapper")
    assert keys.recognize({"state_dict": {"x": torch.zeros(1)}}, "mapper") is None


def test_a_mapper_without_some_groups_of_a_smaller_generator():
    mapper = HairMapper(10, w_dim=6, condition_dim=5, medium=False)
    theirs = {f"mapper.{k}": v for k, v in keys.mapper_to_hairclip(mapper.state_dict()).items()}
    decoder = {f"decoder.to_rgbs.{j}.bias": torch.zeros(1, 3, 1, 1) for j in range(4)}
    assert build({"state_dict": theirs | decoder}, "mapper").config == mapper.config


def test_yakhyos_file_with_its_unused_layers_is_bisenet():
    names = {ours: _yakhyo_name(ours, {}) for ours in official("bisenet")}
    assert names["cp.arm16.bn_atten.weight"] == "fpn.arm16.attention.1.weight"
    assert names["conv_out.conv.bn.weight"] == "conv_out.conv_block.norm.weight"
    renamed = {names[ours]: value for ours, value in official("bisenet").items()}
    renamed["fpn.backbone.fc.weight"] = torch.zeros(1000, 512)
    found = build({"state_dict": renamed}, "parser").state_dict()
    expected = build(official("bisenet"), "parser").state_dict()
    assert all(torch.equal(found[key], value) for key, value in expected.items())


# NVIDIA pickles


def test_nvidia_pickle_agrees_and_runs_nothing():
    assert is_pickle(NVIDIA)
    networks = read_nvidia_pickle(NVIDIA)  # its source text raises when executed
    assert set(networks) == {"G_ema"}
    assert networks["G_ema"].class_name == "Generator"
    generator = build(networks["G_ema"].tensors, "generator")
    w = generator.mapping(tensor("nv:z", (2, 64)))
    agrees(w, "nvidia.latent")
    agrees(generator(generator.expand(w)), "nvidia.z.image")
    agrees(generator(generator.expand(generator.truncate(w, 0.5))), "nvidia.z.truncated_half.image")


class Evil:
    def __reduce__(self):
        return os.system, ("touch executed",)


class Sneaky:
    """torch's loader of storages, handed a pickle of its own."""

    def __reduce__(self):
        return torch.storage._load_from_bytes, (pickle.dumps(Evil()),)


@pytest.mark.parametrize("payload", [Evil(), {"G_ema": Evil()}, {"G_ema": Sneaky()}, collections.Counter("ab")])
def test_a_pickle_that_asks_for_more_is_refused(payload, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("evil.pkl").write_bytes(pickle.dumps(payload))
    with pytest.raises(HairclipError, match=r"evil\.pkl"):
        read_nvidia_pickle("evil.pkl")
    assert not Path("executed").exists()


def test_a_pickle_cannot_change_the_stand_ins(tmp_path):
    # BUILD on a class would set its attributes, for this file and all that follow
    attack = b"\x80\x02ctorch_utils.persistence\n_reconstruct_persistent_obj\n(N}X\x05\x00\x00\x00tableK\x01stb."
    (tmp_path / "evil.pkl").write_bytes(attack)
    with pytest.raises(HairclipError):
        read_nvidia_pickle(tmp_path / "evil.pkl")
    assert read_nvidia_pickle(NVIDIA)["G_ema"].tensors


def test_a_tensor_beyond_its_storage_is_refused(tmp_path):
    class Beyond:
        def __reduce__(self):
            storage = torch.zeros(4).untyped_storage()
            buffer = io.BytesIO()
            torch.save(torch.storage.TypedStorage(wrap_storage=storage, dtype=torch.float32, _internal=True), buffer)
            return torch._utils._rebuild_tensor_v2, (Loaded(buffer.getvalue()), 0, (100,), (1,), False, None)

    class Loaded:
        def __init__(self, data):
            self.data = data

        def __reduce__(self):
            return torch.storage._load_from_bytes, (self.data,)

    path = tmp_path / "beyond.pkl"
    path.write_bytes(pickle.dumps({"G_ema": Beyond()}))
    with pytest.raises(HairclipError, match="beyond its storage"):
        read_nvidia_pickle(path)


def test_other_files_are_refused_in_one_sentence(tmp_path):
    with pytest.raises(HairclipError, match="check the path"):
        read_nvidia_pickle(tmp_path / "none.pkl")
    path = tmp_path / "other.pkl"
    for content, message in (
        (b"not a pickle", "cannot be read"),
        (NVIDIA.read_bytes()[:10_000], "cannot be read"),
        (pickle.dumps({"G_ema": 3, "n": np.arange(0).tolist()}), "holds no NVIDIA network"),
        (pickle.dumps([1, 2]), "holds no NVIDIA network"),
        (b"\x80\x02cdnnlib.tflib.network\nNetwork\n.", "TensorFlow"),
    ):
        path.write_bytes(content)
        with pytest.raises(HairclipError, match=message) as caught:
            read_nvidia_pickle(path)
        assert "\n" not in str(caught.value)
    torch.save({"a": torch.zeros(1)}, path)
    assert not is_pickle(path)
