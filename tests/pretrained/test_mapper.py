"""A mapper is used with the networks it was trained with: told by their content, not by their size."""

from pathlib import Path

import pytest
import torch

from hairclip.common.errors import HairclipError
from hairclip.networks.stylegan2 import Generator
from hairclip.pretrained import HairMapper, load_bundle, load_hairclip, load_mapper, save_network
from hairclip.pretrained.mapper import check_companions, describe_companions
from hairclip.pretrained.sources import content_of


def generator_file(path: Path, seed: int) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        save_network(
            path, "generator", Generator(16, w_dim=16, z_dim=16, mapping_layers=2, channels={4: 8, 8: 8, 16: 8})
        )
    return path


def mapper_file(path: Path, **notes: object) -> HairMapper:
    save_network(path, "mapper", HairMapper(6, w_dim=16, condition_dim=32, groups=(2, 4)), notes=notes)
    return load_mapper(path)


def test_the_shipped_mapper_knows_its_generator_and_clip_by_name(tmp_path: Path):
    mapper, parts = load_mapper("portraits/mapper"), load_bundle("portraits").parts
    check_companions(mapper, parts)
    mapper.notes = {key: note for key, note in mapper.notes.items() if key != "contents"}
    check_companions(mapper, parts)  # in a file without contents the names must do
    other = generator_file(tmp_path / "generator.safetensors", seed=0)
    with pytest.raises(HairclipError, match="the mapper was trained with another generator .portraits/generator. than"):
        check_companions(mapper, {**parts, "generator": other})
    with pytest.raises(HairclipError, match="another clip.*check_companions=False"):
        check_companions(mapper, {**parts, "clip": "clip-vit-b-32"})


def test_a_network_of_equal_size_and_other_weights_is_refused(tmp_path: Path):
    first, second = (generator_file(tmp_path / f"{seed}.safetensors", seed) for seed in (0, 1))
    mapper = mapper_file(tmp_path / "mapper.safetensors", contents=describe_companions({"generator": first}))
    check_companions(mapper, {"generator": first})
    moved = first.rename(tmp_path / "moved.safetensors")
    check_companions(mapper, {"generator": moved})
    with pytest.raises(HairclipError, match="another generator than 1.safetensors"):
        check_companions(mapper, {"generator": second})


def test_a_checkpoint_whose_companion_was_replaced_is_refused(tmp_path: Path):
    generator = generator_file(tmp_path / "generator.safetensors", seed=0)
    mapper_file(tmp_path / "mapper.safetensors", contents=describe_companions({"generator": generator}))
    generator_file(generator, seed=1)
    with pytest.raises(HairclipError, match="another generator"):
        load_hairclip(tmp_path / "mapper.safetensors")


def test_one_network_published_in_several_files_is_one_network():
    assert content_of("clip", "ffhq/clip") == content_of("clip", "ViT-B-32-quickgelu/openai") == "clip-vit-b-32"
    assert content_of("generator", "hairclip") == content_of("generator", "stylegan2-ffhq-nvidia")
    assert content_of("clip", "hairclip") != content_of("generator", "hairclip")
    mapper = HairMapper(6, w_dim=16, condition_dim=32, groups=(2, 4))
    mapper.notes = {"companions": {"generator": "stylegan2-ffhq", "clip": "clip-vit-b-32"}}
    check_companions(mapper, load_bundle("ffhq").parts)


def test_what_cannot_be_compared_is_accepted(tmp_path: Path):
    mapper = mapper_file(tmp_path / "mapper.safetensors", step=3)
    check_companions(mapper, load_bundle("portraits").parts)
    mapper.notes = {"companions": {"generator": "/gone/generator.safetensors"}}
    check_companions(mapper, load_bundle("portraits").parts)
