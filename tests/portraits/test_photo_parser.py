"""The recipe of the photo parser on tiny pictures: it learns, resumes, and reads what the renderer wrote."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hairclip.common.errors import HairclipError
from hairclip.common.face_labels import HAIR
from hairclip.networks.face_parser import BiSeNet, FaceParser, UNetParser
from hairclip.portraits.fit.people import RenderedPeople
from hairclip.portraits.fit.photo_parser import RandomPictures, fit_photo_parser, parsing_loss
from hairclip.portraits.randomize.textures import TextureBank
from tests.helpers.quads import write_quads

CPU, SIZE = torch.device("cpu"), 32


def fit(people: RenderedPeople, folder: Path, steps: int, **settings: Any) -> UNetParser:
    return fit_photo_parser(
        people, folder, CPU, steps=steps, **{"batch": 2, "textures": 2, "filters": (4, 8, 8), **settings}
    )


def test_people_are_read_from_all_files_without_loading_them(tmp_path: Path) -> None:
    people = RenderedPeople(write_quads(tmp_path))
    assert (len(people), people.size) == (16, SIZE)
    stored = np.load(tmp_path / "train-00000.npz")
    drawn = [people.draw(np.random.default_rng(seed)) for seed in range(30)]
    rows = {person.pixels.mul(255).round().byte().permute(1, 2, 0).numpy().tobytes() for person in drawn}
    assert len(rows) > 5
    assert rows <= {picture.tobytes() for picture in stored["images"].reshape(-1, SIZE, SIZE, 3)}
    assert torch.equal(drawn[0].coverage, (drawn[0].labels == HAIR).float())
    assert torch.equal(drawn[0].direction[0], drawn[0].coverage)


@pytest.mark.parametrize(
    ("without", "words"),
    [("coverage", "without coverage: render quads into an empty folder"), ("labels", "without labels")],
)
def test_quads_of_older_versions_are_refused_in_one_sentence(tmp_path: Path, without: str, words: str) -> None:
    with pytest.raises(HairclipError, match=words):
        RenderedPeople(write_quads(tmp_path, without=without))


def test_a_folder_without_good_quads_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(HairclipError, match="no rendered quads in"):
        RenderedPeople(tmp_path)
    (tmp_path / "train-00000.npz").write_bytes(b"damaged")
    with pytest.raises(HairclipError, match="delete it and render again"):
        RenderedPeople(tmp_path)


def test_poses_of_another_size_are_refused(tmp_path: Path) -> None:
    people, wide = (RenderedPeople(write_quads(tmp_path / str(size), size)) for size in (32, 48))
    with pytest.raises(HairclipError, match="wide poses of 48 px beside others of 32 px"):
        fit_photo_parser(people, tmp_path, CPU, steps=1, wide=wide, textures=1)


def test_the_loss_is_least_for_the_truth() -> None:
    labels = torch.zeros(1, 16, 16, dtype=torch.long)
    labels[:, :8] = HAIR
    coverage = (labels == HAIR).float()
    right = torch.nn.functional.one_hot(labels, 19).movedim(-1, 1).float() * 20 - 10
    assert parsing_loss(right, labels, coverage) < 1e-3
    assert parsing_loss(right.flip(2), labels, coverage) > 5
    assert parsing_loss(torch.zeros_like(right), labels, coverage) > 2


def test_long_hair_is_drawn_more_often_and_some_renders_stay_plain(tmp_path: Path) -> None:
    folder = write_quads(tmp_path)
    with np.load(folder / "train-00000.npz") as stored:
        arrays = dict(stored)
    arrays["coverage"][:, 0] //= 4  # half of the people have little hair
    np.savez(folder / "train-00000.npz", **arrays)
    (folder / "train-00001.npz").unlink()
    people = RenderedPeople(folder)
    pictures = RandomPictures(people, None, TextureBank(2, SIZE * 3 // 2), batch=2, steps=1)
    rng = np.random.default_rng(0)
    much = np.mean([float(pictures.draw(rng).coverage.mean()) > 0.3 for _ in range(400)])
    assert 0.57 < much < 0.68  # 1/2 + 1/2 of the half that draws twice and keeps the better: 5/8
    renders = {picture.tobytes() for picture in arrays["images"].reshape(-1, SIZE, SIZE, 3)}
    made = [pictures.make(rng).pixels.mul(255).round().byte().permute(1, 2, 0).numpy().tobytes() for _ in range(200)]
    assert 0.16 < np.mean([one in renders for one in made]) < 0.36


def test_the_parser_learns(tmp_path: Path) -> None:
    people = RenderedPeople(write_quads(tmp_path / "quads"))
    torch.manual_seed(0)
    before = UNetParser(filters=(4, 8, 8), input_size=SIZE)
    after = fit(people, tmp_path / "run", steps=60)
    assert not after.training
    person = people.draw(np.random.default_rng(0))
    with torch.no_grad():
        losses = [
            float(parsing_loss(net(person.pixels[None] * 2 - 1), person.labels[None], person.coverage[None]))
            for net in (before.train(), after)
        ]
    assert losses[1] < 0.8 * losses[0]


def test_a_training_starts_from_given_weights_and_leaves_them_as_they_are(tmp_path: Path) -> None:
    people = RenderedPeople(write_quads(tmp_path / "quads"))
    initial = UNetParser(filters=(4, 8), input_size=SIZE).eval()
    before = {name: value.clone() for name, value in initial.state_dict().items()}
    trained = fit(people, tmp_path / "run", steps=1, initial=initial, rate=1e-9)
    for name, value in trained.named_parameters():
        torch.testing.assert_close(value, before[name], rtol=0, atol=1e-6)
    assert all(torch.equal(value, before[name]) for name, value in initial.state_dict().items())
    assert not initial.training


@pytest.mark.parametrize(
    ("initial", "words"),
    [
        (UNetParser(filters=(4, 8), input_size=64), "pictures of 32 px for a parser of 64 px"),
        (BiSeNet(), "from the weights of a UNetParser, not of a BiSeNet"),
    ],
)
def test_weights_of_another_size_or_kind_are_refused(tmp_path: Path, initial: FaceParser, words: str) -> None:
    with pytest.raises(HairclipError, match=words):
        fit(RenderedPeople(write_quads(tmp_path)), tmp_path / "run", steps=1, initial=initial)


def test_a_stopped_training_continues_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    people = RenderedPeople(write_quads(tmp_path / "quads"))
    straight = fit(people, tmp_path / "straight", steps=4)
    stop_after(2, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        fit(people, tmp_path / "parts", steps=4, save_every=1)
    monkeypatch.undo()
    continued = fit(people, tmp_path / "parts", steps=4)
    for a, b in zip(straight.state_dict().values(), continued.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def stop_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupt the training, as Ctrl-C does, in the step after `steps`."""
    taken = 0
    whole = torch.optim.AdamW.step

    def step(self: torch.optim.AdamW, *arguments: object) -> object:
        nonlocal taken
        if taken == steps:
            raise KeyboardInterrupt
        taken += 1
        return whole(self, *arguments)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)


def test_processes_make_the_same_pictures(tmp_path: Path) -> None:
    people = RenderedPeople(write_quads(tmp_path / "quads"))
    alone, helped = (fit(people, tmp_path / str(workers), steps=2, workers=workers) for workers in (0, 1))
    for a, b in zip(alone.state_dict().values(), helped.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
