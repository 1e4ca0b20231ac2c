"""The path of a person with the official files, from the download to the edit, driven by their stand-in at 64 px."""

import os
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from hairclip.cli.main import main
from hairclip.pretrained import load_bundle
from tests.helpers.official_stand_in import serving_stand_in

PORTRAITS = Path(__file__).parents[1] / "data" / "portraits"


def test_download_fetches_a_bundle_with_checksums_and_doctor_finds_it_ready(
    stand_in_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    with serving_stand_in(stand_in_files, tmp_path) as (server, environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        assert main(["download", "ffhq", "--yes"]) == 0
        fetched = {path.name for path in (tmp_path / "weights").iterdir() if path.suffix != ".json"}
        assert {path.lstrip("/") for _, path, _ in server.seen} <= fetched
        assert main(["doctor"]) == 0
        assert "bundle ffhq: ready\n" in capsys.readouterr().out
        asked = len(server.seen)
        assert main(["download", "ffhq"]) == 0, "nothing is missing, so that nobody is asked"
        assert len(server.seen) == asked


def test_every_part_of_the_bundle_is_a_network_of_its_kind(stand_in: Path):
    bundle = load_bundle("ffhq")
    assert bundle.generator.size == 64
    assert bundle.generator.n_latent == bundle.encoder.n_latent == bundle.mapper.n_latent
    assert bundle.clip.encode_text(["red hair"]).shape == (1, bundle.mapper.condition_dim)
    assert bundle.parser.input_size == 512
    assert bundle.identity.input_size == 112


@pytest.mark.parametrize(
    "asked",
    [
        ["--text", "red bob cut"],
        ["--color", "blue"],
        ["--hairstyle", str(PORTRAITS / "ben.png"), "--color", str(PORTRAITS / "clara.png")],
    ],
    ids=["text", "color", "references"],
)
def test_edit_changes_a_photo(stand_in: Path, tmp_path: Path, asked: list[str]):
    photo, out = PORTRAITS / "anna.png", tmp_path / "out.png"
    assert main(["edit", "--bundle", "ffhq", "--image", str(photo), *asked, "--out", str(out)]) == 0
    before, after = (Image.open(path).convert("RGB") for path in (photo, out))
    assert ImageChops.difference(before, after).getbbox() is not None
    assert not [name for name in os.listdir(stand_in / "weights") if name.endswith(".partial")]
