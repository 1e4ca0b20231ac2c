import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from hairclip.editing.inversion.cache import InversionCache
from hairclip.editing.inversion.loss import ReconstructionLoss
from hairclip.editing.inversion.perceptual import parser_distance
from hairclip.pretrained.weight_files import read_safetensors
from tests.helpers.tiny_networks import N_LATENT, W_DIM, tiny_networks


class Counted:
    """Networks whose encoder tells how many pictures it has seen."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.nets, self.seen = tiny_networks(), 0
        self.nets.encoder.register_forward_hook(self._count)
        self.cache = InversionCache(folder, **options)
        self.images = self.nets.generator(
            torch.randn(3, N_LATENT, W_DIM, generator=torch.Generator().manual_seed(1))
        ).clamp(-1, 1)

    def _count(self, _module: Any, inputs: tuple, _output: Any) -> None:
        self.seen += len(inputs[0])

    def invert(self, images: torch.Tensor | None = None, **settings: Any) -> Any:
        images = self.images if images is None else images
        return self.cache.invert(images, self.nets.encoder, self.nets.generator, **settings)

    def new(self, images: torch.Tensor | None = None, **settings: Any) -> int:
        """How many pictures had to be inverted."""
        before = self.seen
        self.invert(images, **settings)
        return self.seen - before


@pytest.fixture
def counted(tmp_path: Path) -> Counted:
    return Counted(tmp_path / "inversions")


def changed(path: Path, *, steps: str | None = "0", codes: str = "w_plus") -> bytes:
    """The content of a file of the cache with other steps, or without them, and with another name for the codes."""
    metadata, tensors = read_safetensors(path)
    metadata.pop("steps")
    metadata |= {} if steps is None else {"steps": steps}
    return safetensors.torch.save({codes: tensors["w_plus"].clone()}, metadata)


def files(counted: Counted) -> list[Path]:
    return sorted(counted.cache.folder.glob("*.safetensors"))


def test_a_photo_is_inverted_once(counted: Counted):
    first = counted.invert(identity=counted.nets.identity)
    assert (counted.seen, len(files(counted))) == (3, 3)
    again = counted.invert(identity=counted.nets.identity)
    assert counted.seen == 3
    assert torch.equal(first.w_plus, again.w_plus)
    for name in ("images", "psnr", "identity"):
        torch.testing.assert_close(getattr(first, name), getattr(again, name), atol=1e-4, rtol=1e-4)


def test_only_what_is_missing_is_inverted_and_the_order_stays(counted: Counted):
    whole = counted.invert().w_plus
    other = counted.images[:1].flip(-1)
    mixed = counted.invert(torch.cat([counted.images[2:], other, counted.images[:1]]))
    assert counted.seen == 4
    torch.testing.assert_close(mixed.w_plus[[0, 2]], whole[[2, 0]])


def test_another_process_finds_it(counted: Counted):
    counted.invert()
    later = Counted(counted.cache.folder)
    assert later.new() == 0


def test_a_tuned_generator_comes_back_bit_for_bit(counted: Counted):
    settings = {"method": "pivotal", "steps": 3, "loss": ReconstructionLoss(parser_distance(counted.nets.parser))}
    image = counted.images[:1]
    first, again = counted.invert(image, **settings), counted.invert(image, **settings)
    assert counted.seen == 1
    assert (again.method, again.steps) == ("pivotal", first.steps)
    assert torch.equal(first.images, again.images)
    assert not torch.equal(again.images, counted.nets.generator(again.w_plus))


def test_the_key_changes_with_picture_networks_method_and_settings(counted: Counted):
    image = counted.images[:1]
    settings: dict[str, Any] = {"method": "optimize", "steps": 2, "loss": ReconstructionLoss()}
    assert counted.new(image, **settings) == 1
    assert counted.new(image, **settings) == 0
    assert counted.new(image, **settings, patience=40, progress=False) == 0  # the defaults, said aloud
    assert counted.new(image + 1e-3, **settings) == 1
    assert counted.new(image, method="encoder") == 1
    for change in ({"steps": 3}, {"seed": 1}, {"lr": 0.1}, {"stay": 0.0}):
        assert counted.new(image, **{**settings, **change}) == 1
    for loss in (
        ReconstructionLoss(texture_weight=2.0),
        ReconstructionLoss(identity=counted.nets.identity),
        ReconstructionLoss(parser_distance(counted.nets.parser)),
        ReconstructionLoss(parser_distance(tiny_networks(seed=1).parser)),
    ):
        assert counted.new(image, **{**settings, "loss": loss}) == 1
    with torch.no_grad():
        counted.nets.generator.constant += 0.01
    assert counted.new(image, **settings) == 1
    with torch.no_grad():
        next(counted.nets.encoder.parameters()).mul_(1.01)
    assert counted.new(image, **settings) == 1


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "other", "steps", "no steps", "no codes", "folder"])
def test_a_damaged_file_is_ignored_and_written_anew(counted: Counted, damage: str):
    expected = counted.invert(counted.images[:1]).w_plus
    (path,) = files(counted)
    content = path.read_bytes()
    if damage == "folder":
        path.unlink()
        path.mkdir()
    else:
        other = Counted(counted.cache.folder.parent / "other")
        other.invert(counted.images[1:2])
        path.write_bytes(
            {
                "empty": b"",
                "cut": content[:-20],
                "flipped": content[:-1] + bytes([content[-1] ^ 1]),
                "other": files(other)[0].read_bytes(),
                "steps": changed(path, steps="many"),
                "no steps": changed(path, steps=None),
                "no codes": changed(path, codes="codes"),
            }[damage]
        )
    assert torch.equal(counted.invert(counted.images[:1]).w_plus, expected)
    assert counted.seen == 2
    if damage != "folder":
        assert counted.new(counted.images[:1]) == 0


def test_the_longest_unused_is_deleted_first(counted: Counted):
    for i in range(3):
        counted.invert(counted.images[i : i + 1])
    size = files(counted)[0].stat().st_size
    for age, path in enumerate(files(counted)):
        os.utime(path, (1000 - age, 1000 - age))
    counted.invert(counted.images[1:2])  # used just now
    small = Counted(counted.cache.folder, limit=2 * size)
    small.invert(counted.images[:1].flip(-1))
    assert len(files(counted)) == 2
    assert counted.new(counted.images[1:2]) == 0
    assert counted.new(counted.images[:1].flip(-1)) == 0
    tiny = Counted(counted.cache.folder, limit=1)
    tiny.invert(counted.images[2:3])
    assert len(files(counted)) == 1  # the newest stays, however large
    assert not list(counted.cache.folder.glob(".*"))


def test_unfinished_files_of_dead_processes_go(counted: Counted):
    counted.cache.folder.mkdir()
    old, young = counted.cache.folder / ".a.1.partial", counted.cache.folder / ".b.2.partial"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    counted.invert()
    assert not old.exists()
    assert young.exists()


def test_a_folder_that_cannot_be_written_costs_only_the_memory(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "file").write_text("in the way")
    counted = Counted(tmp_path / "file" / "inversions")
    assert counted.new() == 3
    assert counted.new() == 3
    assert capsys.readouterr().err.count("inversions cannot be kept") == 1


def test_what_has_no_weights_cannot_be_told_apart(counted: Counted):
    with pytest.raises(TypeError, match="must be a module"):
        counted.invert(method="optimize", steps=1, loss=ReconstructionLoss(identity=lambda images: images.mean((2, 3))))


def test_several_writers_may_use_one_folder(tmp_path: Path):
    """Files appear whole: whoever reads while another writes or deletes finds all of it or nothing."""
    folder = tmp_path / "inversions"

    def work(_: int) -> bool:
        counted = Counted(folder, limit=1)  # every file written deletes the others
        expected = counted.nets.encoder(counted.images)
        return all(torch.allclose(counted.invert().w_plus, expected, atol=1e-5) for _ in range(10))

    with ThreadPoolExecutor(3) as pool:
        assert all(pool.map(work, range(3)))
    assert not list(folder.glob(".*"))
