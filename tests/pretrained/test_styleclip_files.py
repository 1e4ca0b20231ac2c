"""Files of StyleCLIP: mappers in the official layout, fs3.npy, and our own."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from hairclip.common.errors import HairclipError
from hairclip.networks.style_directions import StyleDirections
from hairclip.networks.style_mappers import StyleMappers
from hairclip.pretrained import load_directions, load_mapper, load_style_mappers, save_network
from hairclip.pretrained.inspect import describe_file
from hairclip.pretrained.registry import WEIGHTS

W_DIM = 6


def official_mapper(folder: Path, *, fine: bool = False) -> tuple[Path, dict[str, torch.Tensor]]:
    """Write a checkpoint as StyleCLIP's trainer does: "course" in its names, the decoder beside the mapper."""
    random = torch.Generator().manual_seed(0)
    state = {}
    for group in ("course", "medium", "fine") if fine else ("course", "medium"):
        for number in range(1, 5):
            layer = f"mapper.{group}_mapping.mapping.{number}"
            state[f"{layer}.weight"] = torch.randn(W_DIM, W_DIM, generator=random) / 0.01
            state[f"{layer}.bias"] = torch.randn(W_DIM, generator=random)
    state["decoder.input.input"] = torch.randn(1, 3, 4, 4, generator=random)
    for number in range(4):
        state[f"decoder.to_rgbs.{number}.bias"] = torch.zeros(1, 3, 1, 1)
    path = folder / "afro.pt"
    torch.save({"state_dict": state, "opts": {"description": "a person with an afro", "no_fine_mapper": True}}, path)
    return path, state


def official_change(state: dict[str, torch.Tensor], w: torch.Tensor) -> torch.Tensor:
    """The official network's 0.1 M(w): EqualLinear with lr_mul 0.01 and fused leaky ReLU, on stored numbers."""
    parts = []
    for group, x in (("course", w[:, :4]), ("medium", w[:, 4:8]), ("fine", w[:, 8:])):
        if f"mapper.{group}_mapping.mapping.1.weight" not in state:
            parts.append(torch.zeros_like(x))
            continue
        x = x * torch.rsqrt(torch.mean(x**2, dim=1, keepdim=True) + 1e-8)
        for number in range(1, 5):
            layer = f"mapper.{group}_mapping.mapping.{number}"
            x = x @ (state[f"{layer}.weight"] * (1 / math.sqrt(W_DIM)) * 0.01).T + state[f"{layer}.bias"] * 0.01
            x = torch.where(x > 0, x, 0.2 * x) * math.sqrt(2)
        parts.append(x)
    return 0.1 * torch.cat(parts, dim=1)


@pytest.mark.parametrize("fine", [False, True])
def test_a_published_mapper_moves_codes_as_the_official_network_does(tmp_path: Path, fine: bool):
    path, state = official_mapper(tmp_path, fine=fine)
    mappers = load_style_mappers(path)
    assert mappers.words == {"a person with an afro": ("coarse", "medium", "fine") if fine else ("coarse", "medium")}
    w = torch.randn(2, mappers.n_latent, W_DIM, generator=torch.Generator().manual_seed(1))
    assert mappers.n_latent == 10  # four image outputs above the first
    found = mappers(w, ["a person with an afro"] * 2)
    torch.testing.assert_close(found, official_change(state, w), atol=1e-6, rtol=1e-5)
    assert torch.equal(mappers.constant, state["decoder.input.input"][0])


def test_a_published_mapper_is_named_and_is_no_mapper_of_hairclip(tmp_path: Path):
    path, _ = official_mapper(tmp_path)
    assert any("StyleCLIP's latent mapper" in line for line in describe_file(path))
    with pytest.raises(HairclipError, match="style_mappers weights"):
        load_mapper(path)


def test_the_published_mappers_have_names():
    named = [name for name, weight in WEIGHTS.items() if "load_style_mappers" in weight.loads]
    assert named == [f"styleclip-{n}" for n in ("afro", "bob-cut", "bowl-cut", "curly-hair", "mohawk", "purple-hair")]


def test_mappers_stored_as_bytes_move_codes_alike_and_take_a_quarter_of_the_room(tmp_path: Path):
    torch.manual_seed(0)
    mappers = StyleMappers(6, 32, {"afro": ["coarse", "medium"], "red": ["coarse", "medium", "fine"]}, (2, 4))
    path, whole = tmp_path / "small.safetensors", tmp_path / "whole.safetensors"
    save_network(path, "style_mappers", mappers, bytes_above=1000, notes={"steps": 3})
    save_network(whole, "style_mappers", mappers)
    loaded = load_style_mappers(path)
    assert loaded.notes == {"steps": 3}
    assert path.stat().st_size < 0.35 * whole.stat().st_size
    w = torch.randn(2, 6, 32)
    exact, rounded = mappers(w, ["afro", "red"]), loaded(w, ["afro", "red"])
    assert float((exact - rounded).detach().norm() / exact.detach().norm()) < 0.05
    weight = mappers.levels["coarse"].weight.detach()
    step = weight.abs().amax(dim=(-2, -1), keepdim=True) / 127
    assert bool(((loaded.levels["coarse"].weight - weight).abs() <= 0.5001 * step).all())


def test_directions_keep_their_numbers(tmp_path: Path):
    directions = StyleDirections(4, 3)
    directions.relevance.copy_(torch.eye(4)[:, :3])
    directions.deviation.copy_(torch.arange(4.0))
    save_network(tmp_path / "d.safetensors", "directions", directions, half=True, notes={"images": 100})
    loaded = load_directions(tmp_path / "d.safetensors")
    assert torch.equal(loaded.relevance, directions.relevance)
    assert torch.equal(loaded.deviation, directions.deviation)
    assert loaded.notes == {"images": 100}


def test_the_official_array_becomes_unit_directions_without_statistics(tmp_path: Path):
    array = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    np.save(tmp_path / "fs3.npy", array)
    loaded = load_directions(tmp_path / "fs3.npy")
    np.testing.assert_allclose(
        loaded.relevance.numpy(), array / np.linalg.norm(array, axis=1, keepdims=True), rtol=1e-5
    )
    assert (loaded.measured, loaded.deviation, loaded.channels, loaded.width) == (False, None, 5, 3)


def test_an_array_of_objects_is_refused(tmp_path: Path):
    np.save(tmp_path / "fs3.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(HairclipError, match="Python objects"):
        load_directions(tmp_path / "fs3.npy")


def test_an_array_of_another_shape_is_refused(tmp_path: Path):
    np.save(tmp_path / "codes.npy", np.zeros((2, 18, 4), np.float32))
    with pytest.raises(HairclipError, match=r"holds an array \(2, 18, 4\)"):
        load_directions(tmp_path / "codes.npy")
