"""Sources kept in memory and on disk: the same numbers back, a budget kept, nothing stale, nothing damaged."""

from dataclasses import fields
from pathlib import Path

import pytest
import torch

from hairclip.common.errors import HairclipError
from hairclip.config import load_config
from hairclip.losses.hair_edit import SourceFeatures
from hairclip.training.latents import LatentSet
from hairclip.training.setup import build_parts
from hairclip.training.sources import SourceFolder, SourceMemory, features_key
from hairclip.training.tasks import Task
from tests.helpers.tiny_networks import N_LATENT, W_DIM, tiny_networks

SIZE = 8
BYTES = 3 * SIZE * SIZE * 4 + SIZE * SIZE + 5 * 4 + 3 * 4
KEY = "0" * 32


def features(seed: int) -> SourceFeatures:
    random = torch.Generator().manual_seed(seed)
    return SourceFeatures(
        images=torch.randn(1, 3, SIZE, SIZE, generator=random),
        hair_mask=torch.randn(1, 1, SIZE, SIZE, generator=random) > 0,
        identity=torch.randn(1, 5, generator=random),
        mean_lab=torch.randn(1, 3, generator=random),
    )


def same(first: SourceFeatures | None, second: SourceFeatures) -> bool:
    return first is not None and all(
        torch.equal(getattr(first, part.name), getattr(second, part.name)) for part in fields(SourceFeatures)
    )


def close(one: SourceFeatures, other: SourceFeatures) -> bool:
    return all(
        torch.allclose(a.float(), b.float(), rtol=1e-4, atol=1e-4)
        for a, b in zip(vars(one).values(), vars(other).values(), strict=True)
    )


def test_memory_stops_at_its_budget():
    store = SourceMemory(budget=2 * BYTES + 10)
    for number in range(4):
        store[number] = features(number)
    assert sorted(store) == [0, 1]
    assert store.used == 2 * BYTES
    assert same(store[1], features(1))
    unlimited = SourceMemory()
    for number in range(4):
        unlimited[number] = features(number)
    assert len(unlimited) == 4


def test_a_folder_gives_back_what_it_took_to_later_runs_too(tmp_path: Path):
    store = SourceFolder(tmp_path, KEY, 6)
    assert store.get(3) is None
    for number in (3, 0):
        store[number] = features(number)
    beside, later = SourceFolder(tmp_path, KEY, 6), SourceFolder(tmp_path, KEY, 6)
    for each in (store, beside, later):
        assert same(each.get(3), features(3))
        assert same(each.get(0), features(0))
        assert each.get(1) is None
        assert len(each) == 2
    later[1] = features(1)
    assert same(store.get(1), features(1))  # processes share it


def test_a_folder_stops_at_its_budget(tmp_path: Path):
    store = SourceFolder(tmp_path, KEY, 6, budget=2 * BYTES + 10)
    for number in (4, 1, 2):
        store[number] = features(number)
    assert [number for number in range(6) if store.get(number) is not None] == [1, 4]
    larger = SourceFolder(tmp_path, KEY, 6, budget=3 * BYTES)
    larger[2] = features(2)
    assert len(larger) == 3


def test_a_record_cut_off_is_not_used(tmp_path: Path):
    store = SourceFolder(tmp_path, KEY, 3)
    for number in range(3):
        store[number] = features(number)
    path = tmp_path / KEY / "records.bin"
    content = bytearray(path.read_bytes())
    content[BYTES + 7] ^= 1
    path.write_bytes(content)
    again = SourceFolder(tmp_path, KEY, 3)
    assert again.get(1) is None
    assert same(again.get(2), features(2))
    again[1] = features(1)
    assert same(SourceFolder(tmp_path, KEY, 3).get(1), features(1))


def test_a_full_disk_is_a_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = SourceFolder(tmp_path, KEY, 3)
    store[0] = features(0)
    opened = Path.open

    def full(path: Path, mode: str = "r", *arguments: object, **options: object) -> object:
        if mode == "r+b":
            raise OSError(28, "No space left on device")
        return opened(path, mode, *arguments, **options)

    monkeypatch.setattr(Path, "open", full)
    store[1] = features(1)
    assert store.get(1) is None
    assert same(store.get(0), features(0))


def test_unusable_folders_are_told(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(HairclipError, match="data.cache_folder"):
        SourceFolder(tmp_path / "file", KEY, 3)
    SourceFolder(tmp_path, KEY, 3)[0] = features(0)


@pytest.mark.parametrize(
    "layout",
    [b"[", b"", b"\xff\xfe", b"{}", b"[" * 5000, b'[["images", [3, 8, 8], "<f4"]]', b'[["images", "x", "O"]]',
     b'[["images", [-1], "<f4"], ["hair_mask", [1], "?"], ["identity", [5], "<f4"], ["mean_lab", [3], "<f4"]]',
     b'[[1, 2], [3]]', b"null", b'[["images", [1e99], "<f4"]]'],
)  # fmt: skip
def test_damaged_files_are_built_anew(tmp_path: Path, layout: bytes):
    SourceFolder(tmp_path, KEY, 3)[0] = features(0)
    (tmp_path / KEY / "layout.json").write_bytes(layout)
    again = SourceFolder(tmp_path, KEY, 3)
    assert again.get(0) is None
    again[1] = features(1)
    assert same(SourceFolder(tmp_path, KEY, 3).get(1), features(1))
    for name in ("records.bin", "index.bin"):
        (tmp_path / KEY / name).write_bytes(b"short")
        third = SourceFolder(tmp_path, KEY, 3)
        assert third.get(1) is None
        third[1] = features(1)
        assert same(third.get(1), features(1))


def test_a_disk_that_is_full_from_the_start_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = SourceFolder(tmp_path, KEY, 3)

    def full(handle: int, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.write", full)
    store[0] = features(0)
    assert store.get(0) is None
    assert sorted(path.name for path in (tmp_path / KEY).iterdir() if path.name != "lock") == []


def test_the_key_is_of_everything_that_matters():
    networks = tiny_networks()
    codes = torch.randn(4, N_LATENT, W_DIM, generator=torch.Generator().manual_seed(0))
    frozen = [networks.generator, networks.parser, networks.identity]
    key = features_key(frozen, {"gamma": "none"}, LatentSet(codes))
    assert key == features_key(frozen, {"gamma": "none"}, LatentSet(codes.clone()))
    others = [
        features_key(frozen, {"gamma": "srgb"}, LatentSet(codes)),
        features_key(frozen, {"gamma": "none"}, LatentSet(codes).subset([0, 1, 2])),
        features_key(frozen, {"gamma": "none"}, LatentSet(codes).subset([1, 0, 2, 3])),
    ]
    networks.parser.final.bias[0] += 1e-3
    others.append(features_key(frozen, {"gamma": "none"}, LatentSet(codes)))
    assert len({key, *others}) == 5


def test_training_takes_sources_from_the_folder(tiny_world: Path, tmp_path: Path):
    settings = ["data.cache_sources=true", f"data.cache_folder={tmp_path / 'cache'}"]
    tasks = [Task(3, None, "red"), Task(1, None, None), Task(3, "afro", None)]
    cpu = torch.device("cpu")
    in_memory = build_parts(load_config(tiny_world, settings[:1]), cpu).training.collate(tasks).source
    first = build_parts(load_config(tiny_world, settings), cpu).training.collate(tasks).source
    second = build_parts(load_config(tiny_world, settings), cpu)
    second.training.loss = None  # nothing is computed any more
    assert same(first, second.training.collate(tasks).source)
    assert close(in_memory, first)  # computed with their neighbors, and alone
    reduced = build_parts(load_config(tiny_world, [*settings, "losses.resolution=32"]), cpu)
    assert reduced.training.collate(tasks).source.images.shape[-1] == 32
    folders = [path.name for path in (tmp_path / "cache").iterdir() if path.name != "references"]
    assert len(folders) == 2  # another setting, another key


def test_a_budget_changes_no_number(tiny_world: Path):
    tasks = [Task(number, None, "red") for number in (5, 2, 5, 0)]
    cpu = torch.device("cpu")
    samples = []
    for budget in ([], ["data.cache_budget_gb=3e-5"]):
        parts = build_parts(load_config(tiny_world, ["data.cache_sources=true", *budget]), cpu)
        samples += [parts.training.collate(tasks), parts.training.collate(tasks)]
        assert len(parts.training.sources) == (2 if budget else len(parts.training.latents))
    assert same(samples[0].source, samples[1].source)
    assert same(samples[2].source, samples[3].source)
    assert close(samples[0].source, samples[2].source)
    other = parts.training.collate(tasks[2:]).source  # in another company
    assert torch.equal(other.images, samples[2].source.images[2:])


def test_sources_do_not_depend_on_the_order_they_are_asked_for_in(tiny_world: Path):
    config = load_config(tiny_world, ["data.cache_sources=true"])
    first, second = (build_parts(config, torch.device("cpu")).training for _ in range(2))
    tasks = [Task(number, None, "red") for number in (5, 2, 0)]
    second.collate(tasks[1:2])
    assert same(first.collate(tasks).source, second.collate(tasks).source)
