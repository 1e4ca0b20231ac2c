"""Codes edited without photos: pictures by number, the same whatever the range's neighbors and after a kill."""

from pathlib import Path

import pytest
import torch

from hairclip.common.errors import HairclipError
from hairclip.common.images import load_image
from hairclip.editing.editor import HairEditor
from hairclip.editing.folder import RECORD
from hairclip.editing.latent_folder import edit_latent_folder, read_range
from hairclip.editing.options import EditOptions
from hairclip.pretrained import load_latent_labels, load_latents
from tests.helpers.tiny_networks import N_LATENT, W_DIM, tiny_networks

CODES = torch.randn(11, N_LATENT, W_DIM, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def editor() -> HairEditor:
    return HairEditor(tiny_networks(), groups=(3, 5))


def pictures(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.png"))}


def test_each_code_is_a_picture_of_the_generator_named_by_its_number(editor: HairEditor, tmp_path: Path):
    request = editor.ask("afro", "red")
    report = edit_latent_folder(editor, CODES, range(3, 10), tmp_path, [request], EditOptions(strength=0.5))
    assert (report.found, report.written, report.skipped) == (7, 7, 0)
    assert list(pictures(tmp_path)) == [f"{number:05d}.png" for number in range(3, 10)]
    networks = editor.networks
    batch = editor.encode([request], EditOptions())
    expected = networks.generator(CODES[[4]] + 0.5 * networks.mapper(CODES[[4]], batch.condition)).clamp(-1, 1)
    assert (load_image(tmp_path / "00004.png") - expected).abs().max() < 2 / 127.5


def test_edited_codes_are_written_in_the_order_of_the_range_for_each_request(editor: HairEditor, tmp_path: Path):
    requests = [editor.ask("afro"), editor.ask(color="red")]
    target = tmp_path / "codes.safetensors"
    first = edit_latent_folder(editor, CODES, range(2, 9), tmp_path / "a", requests, save_codes=target, batch_size=3)
    assert [path.name for path in first.codes] == ["codes_1_afro.safetensors", "codes_2_red.safetensors"]
    before = [load_latents(path) for path in first.codes]
    assert load_latent_labels(first.codes[0]) == {"number": list(range(2, 9))}
    batch = editor.encode([requests[1]], EditOptions())
    for row, number in enumerate(range(2, 9)):
        moved = CODES[[number]] + editor.networks.mapper(CODES[[number]], batch.condition)
        torch.testing.assert_close(before[1][[row]], moved, rtol=1e-4, atol=1e-5)
    # again, with all pictures there: the codes are computed again, the pictures are not
    again = edit_latent_folder(editor, CODES, range(2, 9), tmp_path / "a", requests, save_codes=target, batch_size=3)
    assert (again.written, again.skipped) == (0, 14)
    assert all(torch.equal(load_latents(path), codes) for path, codes in zip(again.codes, before, strict=True))


def test_a_second_run_makes_what_is_left_and_what_would_be_another_picture(editor: HairEditor, tmp_path: Path):
    request = [editor.ask(color="red")]
    whole = tmp_path / "whole"
    edit_latent_folder(editor, CODES, range(11), whole, request, batch_size=4)
    part = tmp_path / "part"
    edit_latent_folder(editor, CODES, range(5), part, request, batch_size=4)
    (part / "00002.png").unlink()
    report = edit_latent_folder(editor, CODES, range(11), part, request, batch_size=4)
    assert (report.written, report.skipped) == (7, 4)
    assert pictures(part) == pictures(whole)
    changed = CODES.clone()
    changed[3] += 0.1
    assert edit_latent_folder(editor, changed, range(11), part, request, batch_size=4).written == 1
    other = [editor.ask(color="blond")]
    assert edit_latent_folder(editor, changed, range(11), part, other, batch_size=4).written == 11


def test_a_killed_run_keeps_its_record(editor: HairEditor, tmp_path: Path):
    """Ctrl-C between two batches: the record is written, and nothing is made twice."""

    class Interrupted(HairEditor):
        batches = 0

        def edit_latents(self, *arguments: object, **settings: object) -> object:
            self.batches += 1
            if self.batches == 3:
                raise KeyboardInterrupt
            return super().edit_latents(*arguments, **settings)  # type: ignore[arg-type]

    request = [editor.ask(color="red")]
    interrupted = Interrupted(editor.networks, groups=(3, 5))
    with pytest.raises(KeyboardInterrupt):
        edit_latent_folder(interrupted, CODES, range(11), tmp_path, request, batch_size=4)
    assert (tmp_path / RECORD).is_file()
    report = edit_latent_folder(editor, CODES, range(11), tmp_path, request, batch_size=4)
    assert (report.written, report.skipped) == (3, 8)


def test_a_method_that_sees_pictures_is_given_them(editor: HairEditor, tmp_path: Path):
    options = EditOptions(method="optimize", steps=2)
    report = edit_latent_folder(editor, CODES, range(2), tmp_path, [editor.ask(color="red")], options, batch_size=2)
    assert report.written == 2


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("2:5", range(2, 5)), (":", range(10)), (":3", range(3)), ("7:", range(7, 10)), ("8:99", range(8, 10))],
)
def test_ranges_have_open_ends(text: str, numbers: range):
    assert read_range(text, 10) == numbers


@pytest.mark.parametrize("text", ["", "5", "a:b", "-3:", "5:5", "6:2", "10:", "1:2:3"])
def test_what_is_no_range_is_told(text: str):
    with pytest.raises(HairclipError, match="^range '"):
        read_range(text, 10)


def test_codes_of_another_generator_are_refused(editor: HairEditor, tmp_path: Path):
    with pytest.raises(HairclipError, match=r"the codes are of shape \(5, 16\), but the generator takes \(8, 16\)"):
        edit_latent_folder(editor, CODES[:, :5], range(1), tmp_path, [editor.ask(color="red")])
