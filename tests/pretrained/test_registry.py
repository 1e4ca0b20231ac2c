"""The table of weights: whole, and usable wherever names are."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from hairclip import pretrained
from hairclip.cli import main as cli
from hairclip.common.errors import HairclipError
from hairclip.config import TRAINED_WITH, load_config
from hairclip.editing.vocabulary import list_hairstyles
from hairclip.pretrained import download as fetch
from hairclip.pretrained import load_bundle, registry, resolve
from hairclip.pretrained.registry import WEIGHTS

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "hairclip.yaml"


@pytest.mark.parametrize("weight", WEIGHTS.values(), ids=lambda weight: weight.name)
def test_rows_are_whole(weight: registry.Weight):
    assert weight.license
    assert weight.sources
    assert all(urlsplit(source.page).scheme == "https" for source in weight.sources)
    assert (weight.size is None) == (weight.sha256 is None)
    assert weight.sha256 is None or re.fullmatch("[0-9a-f]{64}", weight.sha256)
    assert all(callable(getattr(pretrained, loader)) for loader in weight.loads)
    drives = [isinstance(source, registry.Drive) for source in weight.sources]
    assert drives == sorted(drives), "Drive is asked last"


def test_files_and_hashes_do_not_clash():
    for values in ([w.file for w in WEIGHTS.values()], [w.sha256 for w in WEIGHTS.values() if w.sha256]):
        assert len(values) == len(set(values))


def test_names_are_found_by_name_and_file():
    assert registry.find("parsenet") is registry.find("parsenet.pth")
    with pytest.raises(HairclipError, match="did you mean parsenet"):
        registry.find("parsnet")


def test_the_table_lists_every_license():
    table = registry.table()
    for weight in WEIGHTS.values():
        assert f"| `{weight.name}` |" in table
        assert weight.license in table


def test_loaders_take_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked = []
    monkeypatch.setattr("hairclip.pretrained.sources.obtain", lambda weight: asked.append(weight.name) or tmp_path)
    for name in ("stylegan2-ffhq", "ffhq/parser", "ffhq/clip"):
        assert resolve(name) == tmp_path
    assert asked == ["stylegan2-ffhq", "parsenet", "hairclip"]


def test_bundle_and_configuration_name_what_their_parts_load():
    config = load_config(CONFIG)
    named = [(part, getattr(config.networks, part)) for part in TRAINED_WITH]
    named += [
        ("latents", config.data.latents),
        ("latents", config.data.validation_latents),
        *load_bundle("ffhq").parts.items(),
    ]
    for part, name in named:
        assert f"load_{part}" in WEIGHTS[name].loads, (part, name)


def test_the_words_of_the_ffhq_bundle_are_known_without_a_fetch(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("hairclip.pretrained.sources.obtain", lambda weight: pytest.fail(f"fetched {weight.name}"))
    assert len(list_hairstyles("ffhq")) == 44


def test_download_lists_what_there_is(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["download"]) == 0
    assert capsys.readouterr().out == f"{registry.table()}\n"


def test_download_goes_on_after_a_failure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def obtain(weight: registry.Weight) -> Path:
        if weight.name in ("hairclip", "bisenet"):
            raise HairclipError(f"no {weight.name}.")
        return Path(weight.file)

    monkeypatch.setattr(fetch, "obtain", obtain)
    assert cli.main(["download", "hairclip", "parsenet"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "parsenet: parsenet.pth\n"
    assert captured.err == "hairclip: error: no hairclip.\n"
    assert cli.main(["download", "--all", "--yes"]) == 2
    captured = capsys.readouterr()
    assert captured.out.count("\n") == len(WEIGHTS) - 2
    assert f"2 of {len(WEIGHTS)} could not be fetched; the first: no hairclip." in captured.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["parsnet"], "did you mean parsenet"),
        (["--from-file", "FILE"], "give the one NAME"),
        (["parsenet", "bisenet", "--from-file", "FILE"], "give the one NAME"),
        (["parsenet", "--from-file", "FILE"], "5 bytes in place of 7,813,380"),
        (["parsenet"], "offline"),
    ],
)
def test_mistakes_in_downloads_are_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
):
    monkeypatch.setenv("HAIRCLIP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HAIRCLIP_OFFLINE", "1")
    (tmp_path / "FILE").write_bytes(b"wrong")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["download", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("hairclip: error: ")
    assert error.count("\n") == 1
    assert words in error


def test_a_mirror_gives_other_addresses_and_keeps_the_checksums(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    mirror = tmp_path / "mirror.yaml"
    mirror.write_text('parsenet: {url: "https://mirror.example/parsenet.pth"}\n')
    shipped = WEIGHTS["parsenet"]
    monkeypatch.setenv("HAIRCLIP_REGISTRY", str(mirror))
    assert WEIGHTS["parsenet"].sources == (registry.Url("https://mirror.example/parsenet.pth"),)
    assert (WEIGHTS["parsenet"].size, WEIGHTS["parsenet"].sha256) == (shipped.size, shipped.sha256)
    assert registry.find("parsenet.pth") is WEIGHTS["parsenet"]
    mirror.write_text(
        f'parsenet: {{url: ["http://a.example/p", "http://b.example/p"], size: 7, sha256: {"ab" * 32}}}\n'
    )
    assert [source.page for source in WEIGHTS["parsenet"].sources] == ["http://a.example/p", "http://b.example/p"]
    assert (WEIGHTS["parsenet"].size, WEIGHTS["parsenet"].sha256) == (7, "ab" * 32)
    assert WEIGHTS["ir-se50"].size == 175_367_323


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("parsnet: {url: https://a.example/p}", "no weights named parsnet (did you mean parsenet?)"),
        ("parsenet: https://a.example/p", "give a mapping with the keys url, size, sha256"),
        ("parsenet: {url: ftp://a.example/p}", "begins with https:// or http://"),
        ("parsenet: {url: https://a.example/p, size: 5}", "sha256: give 64 hexadecimal digits"),
        ("parsenet: {url: https://a.example/p, size: many, sha256: 0}", "size: give a number of bytes"),
        (None, "there is no such file"),
    ],
)
def test_a_mistake_in_the_list_of_a_mirror_is_one_sentence(
    content: str | None,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    if content is not None:
        (tmp_path / "mirror.yaml").write_text(content)
    monkeypatch.setenv("HAIRCLIP_REGISTRY", str(tmp_path / "mirror.yaml"))
    assert cli.main(["download"]) == 2
    message = capsys.readouterr().err
    assert said in message
    assert str(tmp_path / "mirror.yaml") in message
    assert message.count("\n") == 1
