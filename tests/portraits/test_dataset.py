"""Data sets: uniform over styles and colors, split by person, deterministic, resumable."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from hairclip.common.errors import HairclipError
from hairclip.portraits import dataset as data
from hairclip.portraits.dataset import DatasetSpec, portrait_spec, quad_specs, render_dataset
from hairclip.portraits.fit.data import load_quads
from hairclip.portraits.spec import COLOR_NAMES, STYLE_NAMES, PortraitSpec, split_of


def test_quads_are_uniform_and_in_their_split() -> None:
    quads = [quad_specs(DatasetSpec(count=44, seed=1, mode="quads", split="val"), index) for index in range(44)]
    styles = Counter(geometry.hair.style for geometries, _ in quads for geometry in geometries)
    colors = Counter(color.name for _, pair in quads for color in pair)
    assert set(styles) == set(STYLE_NAMES)
    assert set(colors) == set(COLOR_NAMES)
    assert max(styles.values()) < 2 * min(styles.values()) + 4
    for index, ((a, b), (one, two)) in enumerate(quads):
        assert a.hair.style != b.hair.style
        assert one.name != two.name
        assert (a.identity == b.identity) == (index % 2 == 1)
        assert {split_of(a.identity.seed), split_of(b.identity.seed)} == {"val"}
        assert a.scene.background_colors != b.scene.background_colors


def test_some_pairs_of_one_person_keep_the_pose() -> None:
    pairs = [
        quad_specs(DatasetSpec(count=40, seed=2, mode="quads", split="train"), index)[0] for index in range(1, 40, 2)
    ]
    kept = [a.scene.yaw == b.scene.yaw and a.scene.smile == b.scene.smile for a, b in pairs]
    assert any(kept)


def test_items_are_independent_of_count() -> None:
    small, large = DatasetSpec(count=10, seed=4), DatasetSpec(count=10_000, seed=4)
    assert portrait_spec(small, 7) == portrait_spec(large, 7)
    assert portrait_spec(small, 7) != portrait_spec(small, 8)
    assert large.shards == 200
    assert list(DatasetSpec(count=70, seed=0).items(1)) == list(range(50, 70))


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    pytest.importorskip("anny")
    monkeypatch.setattr(data, "PER_SHARD", 2)


@pytest.mark.usefixtures("small_shards")
def test_quad_shards_resume_and_repeat(tmp_path: Path) -> None:
    spec = DatasetSpec(count=3, seed=0, size=32, split="train", mode="quads")
    assert list(render_dataset(spec, tmp_path / "a")) == [2, 1]
    first = (tmp_path / "a" / "train-00000.npz").read_bytes()
    (tmp_path / "a" / "train-00001.npz").unlink()
    assert list(render_dataset(spec, tmp_path / "a")) == [2, 1], "two found, one rendered again"
    assert list(render_dataset(spec, tmp_path / "b")) == [2, 1]
    assert (tmp_path / "b" / "train-00000.npz").read_bytes() == first
    with np.load(tmp_path / "a" / "train-00000.npz") as shard:
        assert shard["images"].shape == (2, 2, 2, 32, 32, 3)
        assert shard["labels"].shape == (2, 2, 2, 32, 32)
        assert shard["images"].dtype == shard["labels"].dtype == shard["coverage"].dtype == np.uint8
        assert shard["coverage"].shape == (2, 2, 32, 32)
        assert shard["direction"].shape == (2, 2, 32, 32, 2)
        assert np.abs(shard["direction"]).max() <= 127
        line = json.loads(str(shard["metadata"][1, 0, 1]))
        older = {name: shard[name] for name in ("images", "labels", "landmarks", "metadata")}
    (tmp_path / "older").mkdir()
    np.savez(tmp_path / "older" / "train-00000.npz", **older)  # as it was before coverage and direction
    assert np.array_equal(load_quads(tmp_path / "older").images, older["images"])
    assert line["quad"] == 1
    assert line["split"] == "train"
    restored = PortraitSpec.from_dict({key: line[key] for key in ("identity", "scene", "hair", "color", "seed")})
    assert restored.identity == quad_specs(spec, 1)[0][0].identity


@pytest.mark.usefixtures("small_shards")
def test_portraits_are_png_with_metadata(tmp_path: Path) -> None:
    list(render_dataset(DatasetSpec(count=3, seed=0, size=32), tmp_path))
    lines = [json.loads(line) for line in (tmp_path / "metadata.jsonl").read_text().splitlines()]
    assert [line["file"] for line in lines] == [f"images/all-{index:06d}.png" for index in range(3)]
    assert all((tmp_path / line["file"]).exists() and line["caption"] for line in lines)
    assert len(list((tmp_path / "labels").glob("*.png"))) == 3
    assert not list(tmp_path.glob(".writing-*"))
    for other in (DatasetSpec(count=3, seed=1, size=32), DatasetSpec(count=3, seed=0, size=32, poses="wide")):
        with pytest.raises(HairclipError, match="other settings"):
            list(render_dataset(other, tmp_path))
    (tmp_path / "dataset.json").write_text('{"seed": 0, "size": 32, "mode": "portraits"}')  # as older versions wrote it
    assert list(render_dataset(DatasetSpec(count=3, seed=0, size=32), tmp_path)) == [3]


@pytest.mark.slow
@pytest.mark.usefixtures("small_shards")
def test_processes_render_the_same_bytes(tmp_path: Path) -> None:
    spec = DatasetSpec(count=2, seed=0, size=32, mode="quads", split="train")
    list(render_dataset(spec, tmp_path / "one"))
    list(render_dataset(spec, tmp_path / "two", workers=2))
    name = spec.shard_name(0)
    assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.usefixtures("small_shards")
def test_a_damaged_shard_is_rendered_again(tmp_path: Path) -> None:
    spec = DatasetSpec(count=1, seed=0, size=32, mode="quads", split="train")
    shard = tmp_path / spec.shard_name(0)
    list(render_dataset(spec, tmp_path))
    whole = shard.read_bytes()
    for damaged in (b"", b"text", whole[:1000]):
        shard.write_bytes(damaged)
        list(render_dataset(spec, tmp_path))
        assert shard.read_bytes() == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dataset.json", shard.name]
