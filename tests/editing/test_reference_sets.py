"""Sets of reference pictures: the same in one go, after a kill and by several processes; rejected edits count."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from hairclip.common.distributed import World
from hairclip.common.errors import HairclipError
from hairclip.common.images import load_image
from hairclip.editing.editor import HairEditor
from hairclip.editing.options import EditOptions
from hairclip.editing.reference_sets import RECORD, SetSettings, WordSet, write_references
from hairclip.training.latents import LatentSet
from tests.helpers.tiny_networks import N_LATENT, W_DIM, tiny_networks

FACES = LatentSet(torch.randn(30, N_LATENT, W_DIM, generator=torch.Generator().manual_seed(0)))
QUICK = SetSettings(count=5, batch_size=3)


@pytest.fixture(scope="module")
def editor() -> HairEditor:
    return HairEditor(tiny_networks(), groups=(3, 5))


def write(editor: HairEditor, out: Path, *colors: str, settings: SetSettings = QUICK, **more: object) -> list[WordSet]:
    return list(write_references(editor, FACES, {"color": colors or ("red",)}, out, settings, **more))  # type: ignore[arg-type]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.*"))}


def test_each_color_is_a_folder_of_edited_faces_in_the_official_layout(editor: HairEditor, tmp_path: Path):
    sets = write(editor, tmp_path, "red", "blond", sources={"mapper": "mine.safetensors", "latents": "faces.pt"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blond hair", "red hair"]
    for made in sets:
        names = sorted(path.name for path in made.folder.glob("*.jpg"))
        assert names == [f"{number:05d}.jpg" for number in range(5)]
        record = json.loads((made.folder / RECORD).read_text())
        assert (record["kind"], record["word"], record["seed"]) == ("color", made.word, 0)
        assert (record["mapper"], record["latents"]) == ("mine.safetensors", "faces.pt")
        assert record["networks"] == editor.digest()
        assert record["codes"] == made.codes
        assert record["tried"] == record["rejected"] + 5
        request = editor.ask(color=made.word)
        expected = editor.edit_latents(FACES[made.codes], request)[1].clamp(-1, 1)
        for number in range(5):
            shown = load_image(made.folder / f"{number:05d}.jpg")
            assert (shown - expected[number]).abs().mean() < 0.06  # JPEG
    assert sets[0].codes != sets[1].codes


def test_a_second_run_goes_on_and_a_longer_one_extends(editor: HairEditor, tmp_path: Path):
    write(editor, tmp_path / "whole", settings=SetSettings(count=8, batch_size=3))
    whole = contents(tmp_path / "whole")
    for count in (2, 2, 5, 8):
        write(editor, tmp_path / "parts", settings=SetSettings(count=count, batch_size=3))
    assert contents(tmp_path / "parts") == whole
    (tmp_path / "parts" / "red hair" / "00003.jpg").unlink()
    write(editor, tmp_path / "parts", settings=SetSettings(count=8, batch_size=3))
    assert contents(tmp_path / "parts") == whole


def test_a_killed_run_makes_the_set_of_an_uninterrupted_one(editor: HairEditor, tmp_path: Path):
    class Killed(HairEditor):
        batches = 0

        def edit_latents(self, *arguments: object, **settings: object) -> object:
            self.batches += 1
            if self.batches == 3:
                raise KeyboardInterrupt
            return super().edit_latents(*arguments, **settings)  # type: ignore[arg-type]

    write(editor, tmp_path / "whole", "red", "blond")
    killed = Killed(editor.networks, groups=(3, 5))
    with pytest.raises(KeyboardInterrupt):
        write(killed, tmp_path / "parts", "red", "blond")
    assert contents(tmp_path / "parts") != contents(tmp_path / "whole")
    write(editor, tmp_path / "parts", "red", "blond")
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_a_hairstyle_is_taken_where_the_classifier_agrees_and_the_others_are_counted(tmp_path: Path):
    networks = tiny_networks()

    class EverySecond(torch.nn.Module):
        classes = ("afro", "bob cut")

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            first = torch.arange(len(images)) % 2
            return torch.stack([first.float(), 0.5 * torch.ones(len(images))], dim=1)

    networks.judge = EverySecond()
    settings = SetSettings(count=3, batch_size=4)
    (made,) = write_references(HairEditor(networks), FACES, {"hairstyle": ["afro"]}, tmp_path, settings)
    assert made.folder == tmp_path / "afro hairstyle"
    assert (len(made.codes), made.tried, made.rejected, made.is_short) == (3, 6, 3, False)
    assert made.judge == "the word is among the classifier's first 1 of 2 hairstyles"


def test_clip_judges_where_there_is_no_classifier_for_the_word(editor: HairEditor, tmp_path: Path):
    del (networks := tiny_networks()).judge
    settings = SetSettings(count=2, batch_size=4, top=44)
    (made,) = write_references(HairEditor(networks), FACES, {"hairstyle": ["afro"]}, tmp_path, settings)
    assert made.judge == "the word is among CLIP's first 44 of 44 hairstyles"
    assert (len(made.codes), made.rejected) == (2, 0)


def test_a_word_that_too_few_faces_take_is_short(tmp_path: Path):
    networks = tiny_networks()
    networks.parser.final.bias[13] = -1e6  # nobody has hair, so nobody has a color
    settings = SetSettings(count=5, batch_size=4, tries=3)
    (made,) = write_references(HairEditor(networks), FACES, {"color": ["red"]}, tmp_path, settings)
    assert (made.codes, made.tried, made.is_short) == ([], 15, True)


def test_several_processes_write_the_set_of_one(editor: HairEditor, tmp_path: Path):
    """Both in this process, one after the other: what each would write, and what they exchange, is the same."""
    write(editor, tmp_path / "alone")
    exchanged: list[list[torch.Tensor]] = [[], []]

    class Alternating(World):
        """A world whose other process ran before, or will run after, with the same flags."""

        def anywhere(self, flags: torch.Tensor) -> torch.Tensor:
            exchanged[self.rank].append(flags)
            return torch.ones_like(flags)  # all of these faces show hair

        def wait(self) -> None:
            pass

    for rank in (1, 0):
        write(editor, tmp_path / "two", world=Alternating(rank=rank, size=2, device=editor.device))
        if rank == 1:
            assert not (tmp_path / "two" / "red hair" / RECORD).exists()  # only one process writes it
            shutil.move(tmp_path / "two" / "red hair", tmp_path / "kept")
    for path in (tmp_path / "kept").glob("*.jpg"):
        shutil.copy(path, tmp_path / "two" / "red hair")
    assert contents(tmp_path / "two") == contents(tmp_path / "alone")
    assert {len(flags) for flags in exchanged} == {1}


def test_a_folder_of_other_pictures_is_refused(editor: HairEditor, tmp_path: Path):
    write(editor, tmp_path)
    other = SetSettings(count=5, batch_size=3, options=EditOptions(strength=0.5))
    cases: list[tuple[SetSettings, str]] = [
        (other, "red hair holds pictures that were made with other options: remove it, or choose another place."),
        (SetSettings(count=5, batch_size=3, seed=1), "made with other seed"),
        (SetSettings(count=5, batch_size=4), "made with other batch size"),
    ]
    for settings, told in cases:
        with pytest.raises(HairclipError, match=told):
            write(editor, tmp_path, settings=settings)
    record = tmp_path / "red hair" / RECORD
    record.write_text("{")
    with pytest.raises(HairclipError, match="is damaged: remove its folder"):
        write(editor, tmp_path)
    record.unlink()
    with pytest.raises(HairclipError, match=r"holds pictures but no references\.json"):
        write(editor, tmp_path)


@pytest.mark.parametrize(
    ("words", "told"),
    [(["no color"], "no color"), (["blonde"], "Name the color as the networks know it")],
)
def test_words_must_be_those_of_the_networks(editor: HairEditor, tmp_path: Path, words: Sequence[str], told: str):
    with pytest.raises(HairclipError, match=told):
        list(write_references(editor, FACES, {"color": words}, tmp_path, QUICK))


def test_codes_of_another_generator_are_refused(editor: HairEditor, tmp_path: Path):
    with pytest.raises(HairclipError, match="codes are of shape"):
        list(write_references(editor, LatentSet(FACES.codes[:, :5]), {"color": ["red"]}, tmp_path, QUICK))
