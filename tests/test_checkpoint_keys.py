"""Foreign generators and mappers: names both ways, refusals in one sentence, pickles that are read but never run."""

import collections
import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from reference import agrees, official, tensor
from reference.fill import HERE

from hairclip import checkpoint_keys as keys
from hairclip.errors import HairclipError
from hairclip.networks.mapper import HairMapper
from hairclip.networks.stylegan2 import Generator
from hairclip.nvidia_pickle import is_pickle, read_nvidia_pickle

NVIDIA = HERE / "nvidia_32.pkl"


def small_generator() -> Generator:
    torch.manual_seed(0)
    return Generator(16, w_dim=6, z_dim=5, mapping_layers=3, channels={4: 8, 8: 7, 16: 4})


def test_rosinality_both_ways_is_exact_and_in_the_official_order():
    theirs = official("stylegan2_64")
    ours = keys.generator_from_rosinality(theirs)
    back = keys.generator_to_rosinality(ours)
    assert list(back) == list(theirs)
    for key, value in theirs.items():
        assert torch.equal(back[key], value), key


def test_ours_to_rosinality_and_back_rebuilds_the_generator():
    generator = small_generator()
    generator.latent_avg = torch.randn(6)
    theirs = keys.generator_to_rosinality(generator.state_dict())
    name, config, state = keys.generator({"g_ema": theirs, "latent_avg": generator.latent_avg})
    assert (name, config) == ("Generator", generator.config)
    assert state.keys() == generator.state_dict().keys()
    assert all(torch.equal(state[key], value) for key, value in generator.state_dict().items())


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
        name, config, state = keys.generator(content)
        Generator(**config).load_state_dict(state)
        assert name == "Generator"
        assert ("latent_avg" in state) == ("latent_avg" in content)
    assert keys.generator({"weight": torch.zeros(1)}) is None
    assert keys.generator({"g_ema": 3}) is None


def test_every_official_generator_key_has_a_place():
    # Only names: the 1024 px recipe is listed, not filled.
    with torch.device("meta"):
        generator = Generator(1024)
        theirs = keys.generator_to_rosinality(generator.state_dict())
    import json

    rows = json.loads((HERE / "recipes" / "stylegan2_1024.json").read_text())
    assert [row[0] for row in rows] == list(theirs)
    assert all(list(theirs[row[0]].shape) == row[1] for row in rows)
    assert len(theirs) == 171


def test_a_changed_checkpoint_is_refused_by_name():
    theirs = keys.generator_to_rosinality(small_generator().state_dict())
    with pytest.raises(HairclipError, match=r"holds 'convs\.0\.extra'"):
        keys.generator_from_rosinality(theirs | {"convs.0.extra": torch.zeros(1)})
    del theirs["convs.1.conv.weight"]
    with pytest.raises(HairclipError, match=r"lacks 'convs\.1\.conv\.weight'"):
        keys.generator_from_rosinality(theirs)
    with pytest.raises(HairclipError, match="classes"):
        keys.generator_from_nvidia({"mapping.embed.weight": torch.zeros(1)})


def test_mapper_names_both_ways():
    theirs = official("hair_mapper")
    ours = keys.mapper_from_hairclip(theirs)
    assert list(keys.mapper_to_hairclip(ours)) == list(theirs)
    content = {"state_dict": {f"mapper.{key}": value for key, value in theirs.items()}}
    name, config, state = keys.mapper(content)
    assert (name, config["n_latent"], config["absent"]) == ("HairMapper", 18, "passthrough")
    mapper = HairMapper(**config)
    mapper.load_state_dict(state)
    assert sum(p.numel() for p in mapper.parameters()) == 19_729_920
    with pytest.raises(HairclipError, match=r"fine_mapping\.extra"):
        keys.mapper_from_hairclip({"fine_mapping.extra": torch.zeros(1)})
    assert keys.mapper({"state_dict": {"x": torch.zeros(1)}}) is None


def test_a_mapper_without_some_groups_of_a_smaller_generator():
    mapper = HairMapper(10, w_dim=6, condition_dim=5, medium=False)
    theirs = {f"mapper.{k}": v for k, v in keys.mapper_to_hairclip(mapper.state_dict()).items()}
    decoder = {f"decoder.to_rgbs.{j}.bias": torch.zeros(1, 3, 1, 1) for j in range(4)}
    _, config, state = keys.mapper({"state_dict": theirs | decoder})
    assert config == mapper.config
    HairMapper(**config).load_state_dict(state)


# NVIDIA pickles


def test_nvidia_pickle_agrees_and_runs_nothing():
    assert is_pickle(NVIDIA)
    networks = read_nvidia_pickle(NVIDIA)  # its source text raises when executed
    assert set(networks) == {"G_ema"}
    assert networks["G_ema"].class_name == "Generator"
    _, config, state = keys.generator(networks["G_ema"].tensors)
    generator = Generator(**config).requires_grad_(False)
    generator.load_state_dict(state)
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
