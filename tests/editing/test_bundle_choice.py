"""A rendered portrait goes to the networks of rendered people, a real photo to those of photographs."""

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hairclip.cli import main as cli
from hairclip.common.errors import HairclipError
from hairclip.editing.bundle_choice import BundleChooser, bundle_of_latents, bundle_of_mapper
from hairclip.editing.choices import InversionMethod
from hairclip.editing.editor import HairEditor
from hairclip.editing.folder import FolderSettings, OtherEditor, edit_folder
from hairclip.editing.options import EditOptions, InversionOptions
from hairclip.editing.photo_editor import PhotoEditor
from hairclip.pretrained import load_bundle, save_latents
from tests.helpers.tiny_networks import save_bundle

PORTRAITS = Path(__file__).resolve().parents[2] / "data" / "portraits"
PEOPLE = ("anna", "ben", "clara", "dora", "emil", "frida")
WORDS = ["--text", "red bob cut", "--aligned", "--device", "cpu", "--force"]


@pytest.fixture(scope="module")
def editors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, PhotoEditor]:
    """An editor per bundle; tiny networks take the place of the official ones."""
    tiny = load_bundle(save_bundle(tmp_path_factory.mktemp("tiny")))
    return {
        "portraits": PhotoEditor.from_bundle("portraits", device="cpu"),
        "portraits-256": PhotoEditor.from_bundle("portraits-256", device="cpu"),
        "ffhq": PhotoEditor(HairEditor(tiny, groups=(3, 5))),
    }


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A crop that no renderer made."""
    coarse = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8))
    path = tmp_path_factory.mktemp("photos") / "stranger.png"
    coarse.resize((200, 200), Image.Resampling.BICUBIC).save(path)
    return path


@pytest.mark.parametrize("size", [128, 300, 1024])
def test_rendered_people_are_known_at_every_size(editors: dict[str, PhotoEditor], size: int):
    chooser = BundleChooser(editors.__getitem__, real_is_ready=True)
    for name in PEOPLE if size == 128 else PEOPLE[:2]:
        with Image.open(PORTRAITS / f"{name}.png") as picture:
            choice = chooser.open(picture.convert("RGB").resize((size, size), Image.Resampling.BICUBIC), aligned=True)
        assert choice.bundle == ("portraits" if size == 128 else "portraits-256"), (name, choice.reason)
        assert choice.editor is editors[choice.bundle]
        assert choice.opened.prepared.aligned.shape[-1] == (128 if size == 128 else 256)
        assert "rebuilds this face at" in choice.reason
        assert "\n" not in choice.reason


def test_a_method_without_larger_networks_takes_the_smaller_ones(editors: dict[str, PhotoEditor]):
    with Image.open(PORTRAITS / "anna.png") as picture:
        larger = picture.convert("RGB").resize((512, 512), Image.Resampling.BICUBIC)
    for method, bundle in (
        ("vq", "portraits"),
        ("styleclip-global", "portraits"),
        ("difference", "portraits-256"),
    ):
        assert (
            BundleChooser(editors.__getitem__, real_is_ready=True, method=method).open(larger, aligned=True)[0]
            == bundle
        )


def test_what_is_not_rendered_goes_to_the_networks_of_photos_where_they_are(
    editors: dict[str, PhotoEditor], stranger: Path
):
    choice = BundleChooser(editors.__getitem__, real_is_ready=True).open(stranger, aligned=True)
    assert choice.bundle == "ffhq"
    assert choice.opened.prepared.aligned.shape[-1] == editors["ffhq"].editor.networks.generator.size
    assert choice.reason.startswith("bundle ffhq: the encoder of portraits rebuilds this face at ")
    choice = BundleChooser(editors.__getitem__, real_is_ready=False).open(stranger, aligned=True)
    assert choice.bundle == "portraits"
    assert choice.reason.endswith("(python -m hairclip download ffhq fetches them)")


@pytest.mark.parametrize("inversion", ["encoder", "optimize"])
def test_whom_the_choice_sends_away_the_networks_refuse_and_nobody_else(
    editors: dict[str, PhotoEditor], stranger: Path, inversion: InversionMethod
):
    """Anna turns into nobody, step by step. A descent would rebuild her longer than the networks know her."""
    editor, answers = editors["portraits"], []
    chooser = BundleChooser(editors.__getitem__, real_is_ready=True)
    with Image.open(PORTRAITS / "anna.png") as anna, Image.open(stranger) as noise:
        anna, noise = anna.convert("RGB"), noise.convert("RGB").resize(anna.size)
    for share in (0.0, 0.1, 0.2, 0.4) if inversion == "encoder" else (0.0, 0.4):
        cut = editor.cut(Image.blend(anna, noise, share), aligned=True)
        (opened,) = editor.invert([cut], InversionOptions(inversion, inversion_steps=5))
        answers.append(chooser.is_real(cut))
        with pytest.raises(HairclipError, match="do not know the person") if answers[-1] else nullcontext():
            opened.refuse_strangers([editor.ask("bob cut")], EditOptions())
    assert answers == sorted(answers), "what is less like her is not known better"
    assert set(answers) == {False, True}


def test_a_face_near_the_border_is_left_to_the_networks_that_cut_out_less(editors: dict[str, PhotoEditor]):
    chooser = BundleChooser(editors.__getitem__, real_is_ready=True)
    with Image.open(PORTRAITS / "anna.png") as picture:
        face = picture.convert("RGB").resize((512, 512), Image.Resampling.BICUBIC).crop((130, 130, 400, 460))
    choice = chooser.open(face)
    assert (choice.bundle, choice.reason) == (
        "ffhq", "bundle ffhq: portraits cuts out more around a face than this photo shows",
    )  # fmt: skip


def test_a_folder_decides_per_photo_and_a_second_run_does_nothing(
    editors: dict[str, PhotoEditor], stranger: Path, tmp_path: Path
):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "stranger.png").write_bytes(stranger.read_bytes())
    for name in PEOPLE[:2]:
        (tmp_path / "photos" / f"{name}.png").write_bytes((PORTRAITS / f"{name}.png").read_bytes())
    (tmp_path / "photos" / "broken.png").write_bytes(b"no picture")
    chooser = BundleChooser(editors.__getitem__, real_is_ready=True)
    settings = FolderSettings(EditOptions(behind="edit", strands="edit"), aligned=True)
    with Image.open(PORTRAITS / "clara.png") as clara:
        clara.resize((400, 400)).save(tmp_path / "photos" / "clara.png")
    first, other, larger = ([editors[name].ask(color="red")] for name in ("portraits", "ffhq", "portraits-256"))
    sizes: dict[str, int] = {}

    def run() -> tuple[int, int, list[str]]:
        report = edit_folder(
            editors["portraits"],
            tmp_path / "photos",
            tmp_path / "out",
            first,
            settings,
            look=lambda path, _, result: sizes.update({path.stem: result.edits[0].image.shape[-1]}),
            others=[
                OtherEditor(editors["ffhq"], other, chooser.is_real),
                OtherEditor(editors["portraits-256"], larger, chooser.is_large),
            ],
        )
        return len(report.written), report.skipped, list(report.failed)

    assert run() == (4, 0, ["broken.png"])
    assert sizes == {"anna": 128, "ben": 128, "clara": 256, "stranger": 32}
    assert run() == (0, 4, ["broken.png"])


def test_a_mapper_and_codes_tell_which_networks_they_fit(tmp_path: Path):
    assert bundle_of_latents("portraits/latents") == "portraits"
    save_latents(tmp_path / "codes.safetensors", torch.zeros(2, 18, 512))
    assert bundle_of_latents(tmp_path / "codes.safetensors") == "ffhq"
    assert bundle_of_mapper("portraits/mapper") == "portraits"
    assert bundle_of_mapper(save_bundle(tmp_path) / "mapper.safetensors") == "ffhq"


def test_the_command_says_which_networks_it_took_and_the_edit_of_a_portrait_stays(
    tmp_path: Path, stranger: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HAIRCLIP_HOME", str(tmp_path / "home"))
    anna = str(PORTRAITS / "anna.png")
    assert cli.main(["edit", "--image", anna, *WORDS, "--out", str(tmp_path / "auto.png")]) == 0
    assert len([line for line in capsys.readouterr().out.splitlines() if line.startswith("bundle portraits: ")]) == 1
    named = ["--bundle", "portraits", "--out", str(tmp_path / "named.png")]
    assert cli.main(["edit", "--image", anna, *WORDS, *named]) == 0
    assert "bundle" not in capsys.readouterr().out
    assert (tmp_path / "auto.png").read_bytes() == (tmp_path / "named.png").read_bytes()


def test_a_real_photo_goes_to_the_official_networks_where_they_are_fetched(
    stand_in: Path, stranger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    words = ["--color", "red", "--strands", "edit", "--aligned", "--device", "cpu", "--out", str(tmp_path / "out.png")]
    assert cli.main(["edit", "--image", str(stranger), *words]) == 0
    assert "bundle ffhq: the encoder of portraits rebuilds this face at " in capsys.readouterr().out
    assert cli.main(["edit", "--image", str(PORTRAITS / "ben.png"), *words]) == 0
    assert "bundle portraits: its encoder rebuilds this face at " in capsys.readouterr().out
    words[2:4] = []  # the photo's own strands are dyed
    assert cli.main(["edit", "--image", str(PORTRAITS / "ben.png"), *words]) == 0
    assert "bundle portraits: a new color alone needs its parser of photos" in capsys.readouterr().out
