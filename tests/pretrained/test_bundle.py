"""Bundles: what their YAML may say, what they load, and what tells two of them apart."""

import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import hairclip
from hairclip.common.errors import HairclipError
from hairclip.common.framing import FFHQ, PORTRAITS, Framing
from hairclip.conditions.prompts import COLORS, HAIRSTYLES
from hairclip.config import load_config
from hairclip.editing.inversion.invert import INVERSION_METHODS
from hairclip.editing.vocabulary import list_colors, list_hairstyles
from hairclip.networks.face_parser import UNetParser
from hairclip.pretrained import (
    PARTS,
    InversionLimits,
    MissingPartError,
    load_bundle,
    load_parser,
    save_network,
    sources,
)
from hairclip.pretrained.bundle_files import TRAINED_BY, describe_folder, read_bundle
from hairclip.training.setup import build_networks
from tests.helpers.tiny_networks import CLIP_CONFIG

ROOT = Path(__file__).resolve().parents[2]
TINY_ARCHITECTURES = {
    "generator": {"size": 16, "z_dim": 8, "w_dim": 8, "mapping_layers": 1, "channels": {4: 4, 8: 4, 16: 4}},
    "clip": {"model": CLIP_CONFIG},
    "identity": {"units": [1, 1], "widths": [4, 8], "input_size": 16, "embedding": 8, "frame": 32},
}


def parser_file(path: Path, seed: int = 0) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        save_network(path, "parser", UNetParser(filters=(4, 6, 8), input_size=16))
    return path


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_shipped_bundles_say_what_their_networks_were_made_for():
    assert hairclip.list_bundles() == ["ffhq", "portraits", "portraits-256"]
    portraits, ffhq = load_bundle("portraits"), load_bundle("ffhq")
    assert set(portraits.parts) | set(TRAINED_BY) == set(PARTS)
    assert (portraits.framing, portraits.plain_background) == (PORTRAITS, True)
    assert (ffhq.framing, ffhq.plain_background) == (FFHQ, False)
    assert set(portraits.inversion_limits) == set(ffhq.inversion_limits) == set(INVERSION_METHODS)
    assert portraits.inversion_limits["encoder"] == InversionLimits(identity=0.70, psnr=24.0)
    assert portraits.inversion_limits["pivotal"] == InversionLimits(identity=0.95, psnr=24.0)
    assert ffhq.inversion_limits["optimize"] == InversionLimits(identity=0.25, psnr=0.0)


def test_words_come_from_the_yaml_else_from_the_labels_else_from_hairclip(tmp_path: Path):
    assert len(list_hairstyles()) == 21
    assert "bald" not in list_hairstyles()  # the mapper does not reach it
    assert list_hairstyles()[:2] == ["afro", "bob cut"]
    assert list_colors("portraits") == list(COLORS)
    assert list_hairstyles("ffhq") == list(HAIRSTYLES)
    parser_file(tmp_path / "parser.safetensors")
    mine = write(tmp_path, "parts: {parser: parser.safetensors}\nwords: {hairstyles: [wolf cut, bob cut]}\n")
    assert list_hairstyles(mine) == ["bob cut", "wolf cut"]
    assert list_colors(mine) == list(COLORS)


def test_a_users_own_yaml_mixes_names_and_files_beside_it(tmp_path: Path):
    parser_file(tmp_path / "weights" / "parser.safetensors")
    text = """
parts:
  parser: weights/parser.safetensors
  generator: portraits/generator
  identity: ir-se50
  clip: ViT-B-32-quickgelu/openai
  mapper: hf-hub:somebody/some-mapper
framing: {scale: 1.2, shift: 0}
plain_background: true
inversion_limits: {encoder: {identity: 0.5, psnr: 15}}
"""
    bundle = load_bundle(write(tmp_path, text))
    assert bundle.parts["identity"] == "ir-se50"
    assert bundle.framing == Framing(1.2, 0.0)
    assert bundle.plain_background
    assert bundle.inversion_limits["encoder"] == InversionLimits(0.5, 15.0)
    assert bundle.inversion_limits["pivotal"] == load_bundle("ffhq").inversion_limits["pivotal"]
    assert bundle.parser.input_size == 16
    assert bundle.generator.size == 128
    (tmp_path / "mine.yaml").rename(tmp_path / "bundle.yaml")
    assert load_bundle(tmp_path).framing == Framing(1.2, 0.0)  # the folder itself is the bundle


def test_a_folder_of_files_is_a_bundle_for_photographs(tmp_path: Path):
    parser_file(tmp_path / "parser.safetensors")
    bundle = load_bundle(tmp_path)
    assert (bundle.framing, bundle.plain_background) == (FFHQ, False)
    assert bundle.inversion_limits == load_bundle("ffhq").inversion_limits
    with pytest.raises(MissingPartError, match="has no clip: it has parser"):
        _ = bundle.clip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("farming: ffhq", "unknown key farming (did you mean framing?)"),
        ("parts: {generater: x}", "unknown key parts.generater (did you mean generator?)"),
        ("parts: {}", "parts: name at least one network"),
        ("parts: [generator]", "parts: expected keys with values, but it is the list"),
        ("parts: {parser: 3}", "parts.parser: expected a name or a file, but it is the whole number 3"),
        ("parts: {parser: none.pth}", "parts.parser: there is no file"),
        ("parts: {parser: parsnet}", "(did you mean parsenet?)"),
        ("parts: {clip: folder/clip.safetensors}", "parts.clip: there is no file"),
        ("parts: {parser: parsenet}\nframing: wide", "framing: choose ffhq or portraits"),
        ("parts: {parser: parsenet}\nframing: {scale: 1}", "framing.shift: expected a number"),
        ("parts: {parser: parsenet}\nframing: {scale: 0, shift: 0}", "framing.scale: give a number above 0"),
        ("parts: {parser: parsenet}\nplain_background: 1", "plain_background: expected true or false"),
        ("parts: {parser: parsenet}\ninversion_limits: {pivot: 1}", "(did you mean pivotal?)"),
        ("parts: {parser: parsenet}\ninversion_limits: {identity: .nan, psnr: 1}", "expected a number"),
        ("parts: {parser: parsenet}\nwords: {hairstyles: afro}", "words.hairstyles: give a list of words or null"),
    ],
)
def test_a_mistake_in_a_yaml_is_one_sentence(tmp_path: Path, text: str, words: str):
    path = write(tmp_path, text)
    with pytest.raises(HairclipError) as caught:
        load_bundle(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert words in message
    assert message.count("\n") == 0
    assert len(message) < 400 + len(str(path))


def test_what_is_no_bundle_is_one_sentence(tmp_path: Path):
    with pytest.raises(
        HairclipError, match="there is no bundle .*nothing: give ffhq, portraits, portraits-256, a YAML"
    ):
        load_bundle(tmp_path / "nothing")
    with pytest.raises(HairclipError, match="put bundle.yaml there, or files such as generator.safetensors"):
        load_bundle(tmp_path)


def test_the_digest_follows_the_content_of_the_files(tmp_path: Path):
    first = parser_file(tmp_path / "a" / "parser.safetensors")
    same, other = tmp_path / "b" / "parser.safetensors", parser_file(tmp_path / "c.safetensors", seed=1)
    same.parent.mkdir()
    shutil.copy(first, same)
    bundle = load_bundle(first.parent)
    before = bundle.digest()
    assert load_bundle(same.parent).digest() == before
    assert bundle.with_parts({"parser": other}).digest() != before
    assert (
        load_bundle(write(first.parent, "parts: {parser: parser.safetensors}\nplain_background: true")).digest()
        != before
    )
    other.replace(first)
    os.utime(first, ns=(1, 1))
    assert bundle.digest() != before


def test_the_digest_of_weights_with_a_known_sha256_fetches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HAIRCLIP_HOME", str(tmp_path))
    monkeypatch.setenv("HAIRCLIP_OFFLINE", "1")
    assert load_bundle("ffhq").digest() != load_bundle("portraits").digest()


def test_the_digest_follows_a_mirror_whose_files_are_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Edits that were made with the published file would count as made with the mirror's."""
    monkeypatch.setenv("HAIRCLIP_HOME", str(tmp_path))
    mirror, bundle = tmp_path / "mirror.yaml", load_bundle("ffhq")
    published, portraits = bundle.digest(), load_bundle("portraits").digest()
    monkeypatch.setenv("HAIRCLIP_REGISTRY", str(mirror))
    mirror.write_text("parsenet: {url: https://a.example/p}")
    assert bundle.digest() == published, "the same file from another address"
    digests = {published}
    for content in ("ab", "cd"):
        mirror.write_text(f"parsenet: {{url: https://a.example/p, sha256: {content * 32}}}  # {content}")
        digests.add(bundle.digest())
    assert len(digests) == 3
    assert load_bundle("portraits").digest() == portraits


OWN_PARSER = """
import torch
from torch import nn
from hairclip.networks.face_parser import FaceParser

class Stripes(FaceParser):
    def __init__(self, bands=2):
        super().__init__(input_size=8)
        self.config = {"bands": bands}
        self.shift = nn.Parameter(torch.zeros(1))

    def logits(self, images):
        hair = torch.zeros(len(images), 19, *images.shape[2:])
        hair[:, 13, : images.shape[2] // self.config["bands"]] = 1 + self.shift
        return hair
"""


@pytest.fixture
def own_parser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module outside the package with a parser, and weights for it."""
    (tmp_path / "my_parsers.py").write_text(OWN_PARSER)
    torch.save({"shift": torch.ones(1)}, tmp_path / "stripes.pt")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_a_parser_of_ones_own_is_named_in_a_bundle(own_parser: Path):
    text = "parts: {parser: {class: my_parsers:Stripes, file: stripes.pt, bands: 4}}"
    bundle = load_bundle(write(own_parser, text))
    parser = bundle.parser
    assert type(parser).__name__ == "Stripes"
    assert float(parser.shift) == 1
    assert not parser.training
    assert not parser.shift.requires_grad
    assert parser.hair_mask(torch.zeros(1, 3, 8, 8)).sum() == 2 * 8
    before = bundle.digest()
    torch.save({"shift": torch.zeros(1)}, own_parser / "stripes.pt")
    assert bundle.digest() != before


def test_a_parser_of_ones_own_is_named_in_a_training_configuration(own_parser: Path):
    config = load_config(ROOT / "configs" / "portraits.yaml")
    own = {**TINY_ARCHITECTURES, "parser": {"class": "my_parsers:Stripes", "bands": 3}}
    networks = config.networks.model_copy(update={"architectures": own})
    built = build_networks(config.model_copy(update={"dry_run": True, "networks": networks}), torch.device("cpu"))
    assert built.parser.config == {"bands": 3}


@pytest.mark.parametrize(
    ("described", "words"),
    [
        ("{file: stripes.pt}", "keys with a class"),
        ("{class: Stripes}", "there is no parser class 'Stripes'"),
        ("{class: my_parsers:Stripes, file: none.pt}", "parts.parser.file: there is no file"),
        ("{class: my_parsers:Spots}", "has no Spots"),
        ("{class: no_such_module:Spots}", "there is no module no_such_module"),
        ("{class: my_parsers:Stripes, strips: 2}", "cannot be built"),
        ("{class: UNetParser, file: stripes.pt}", "does not fit UNetParser"),
    ],
)
def test_a_mistake_about_ones_own_class_is_one_sentence(own_parser: Path, described: str, words: str):
    with pytest.raises(HairclipError) as caught:
        _ = load_bundle(write(own_parser, f"parts: {{parser: {described}}}")).parser
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_weight_file_cannot_name_a_class_outside_hairclip(own_parser: Path):
    metadata = {"hairclip_kind": "parser", "hairclip_class": "my_parsers:Stripes", "config": "{}"}
    save_file({"shift": torch.ones(1)}, own_parser / "parser.safetensors", metadata)
    with pytest.raises(HairclipError, match="unknown class 'my_parsers:Stripes'"):
        load_parser(own_parser / "parser.safetensors")


def test_a_folder_of_trained_portrait_networks_is_used_like_the_portraits(tmp_path: Path):
    parser_file(tmp_path / "parser.safetensors")
    describe_folder(tmp_path, like="portraits")
    mine, shipped = read_bundle(tmp_path), read_bundle("portraits")
    assert mine.parts == {"parser": (tmp_path / "parser.safetensors").absolute()}
    for name in ("framing", "plain_background", "inversion_limits", "words"):
        assert getattr(mine, name) == getattr(shipped, name)
    save_network(tmp_path / "judge.safetensors", "parser", UNetParser(filters=(4, 6, 8), input_size=16))
    assert set(read_bundle(tmp_path).parts) == {"parser", "judge"}  # files that come later count too
    (tmp_path / "bundle.yaml").write_text("framing: ffhq\n")
    describe_folder(tmp_path, like="portraits")
    assert read_bundle(tmp_path).framing == FFHQ  # a description of the user's own stays


def test_photos_have_a_parser_of_their_own_where_the_bundle_names_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    parser_file(tmp_path / "parser.safetensors")
    alone = load_bundle(tmp_path)
    assert alone.photo_parser is alone.parser
    before = alone.digest()
    parser_file(tmp_path / "photo_parser.safetensors", seed=1)
    both = load_bundle(tmp_path)
    assert not torch.equal(both.photo_parser.final.weight, both.parser.final.weight)
    assert both.digest() != before
    # The shipped bundle names weights that an installation may lack.
    monkeypatch.setattr(sources, "embedded_file", lambda name: tmp_path / "nothing" / f"{name}.safetensors")
    lacking = alone.with_parts({"photo_parser": "portraits/photo_parser"})
    assert lacking.photo_parser is lacking.parser
    assert lacking.digest() == lacking.digest()


def test_a_photo_parser_of_ones_own_is_a_parser(own_parser: Path):
    parser_file(own_parser / "parser.safetensors")
    text = "parts: {parser: parser.safetensors, photo_parser: {class: my_parsers:Stripes, bands: 3}}"
    bundle = load_bundle(write(own_parser, text))
    assert type(bundle.photo_parser).__name__ == "Stripes"
    assert isinstance(bundle.parser, UNetParser)
