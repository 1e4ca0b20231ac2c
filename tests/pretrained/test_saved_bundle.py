"""A bundle is saved, pushed and loaded whole; weights of other projects are named and never copied."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import HfApi, constants

from hairclip.common.errors import HairclipError
from hairclip.editing.editor import HairEditor
from hairclip.pretrained import load_bundle, load_mapper, transfer
from hairclip.pretrained.registry import WEIGHTS
from tests.helpers.local_server import Reply, Server, serving
from tests.helpers.tiny_networks import SIZE, save_bundle, tiny_networks

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def portrait() -> torch.Tensor:
    return torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1


def card(folder: Path) -> tuple[dict, str]:
    _, header, text = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(header), text


def test_a_saved_bundle_gives_equal_edits(tmp_path: Path, portrait: torch.Tensor):
    save_bundle(tmp_path / "mine")
    (tmp_path / "mine" / "bundle.yaml").write_text(
        "framing: {scale: 1.2, shift: 0}\nplain_background: true\nwords: {hairstyles: [afro, bob cut]}\n"
    )
    other = tiny_networks(seed=1).mapper
    editor = HairEditor(load_bundle(tmp_path / "mine"), mapper=other)
    editor.save_pretrained(tmp_path / "saved")
    again = HairEditor.from_pretrained(tmp_path / "saved", device="cpu")
    assert again.networks.framing == editor.networks.framing
    assert again.networks.plain_background
    assert again.networks.inversion_limits == editor.networks.inversion_limits
    assert again.networks.known_words().hairstyles == ("afro", "bob cut")
    edits = [one.edit(portrait, hairstyle="afro", color="red") for one in (editor, again)]
    assert torch.equal(edits[0].image, edits[1].image)
    assert torch.equal(edits[0].edited_w_plus, edits[1].edited_w_plus)
    first = HairEditor(load_bundle(tmp_path / "mine")).edit(portrait, hairstyle="afro", color="red")
    assert not torch.equal(first.edited_w_plus, edits[0].edited_w_plus)  # it is the other mapper that was saved
    header, text = card(tmp_path / "saved")
    assert header["license"] == "other"
    assert "Hairstyles it knows: afro, bob cut." in text
    assert str(tmp_path) not in text + (tmp_path / "saved" / "bundle.yaml").read_text()


def test_the_shipped_networks_are_copied_whole_under_their_license(tmp_path: Path):
    shipped = HairEditor.from_bundle("portraits", device="cpu")
    shipped.save_pretrained(tmp_path)
    saved = load_bundle(tmp_path)
    there = {part for part, source in saved.parts.items() if Path(str(source)).parent == tmp_path}
    assert there == set(saved.parts) >= {"generator", "clip", "parser", "identity", "encoder", "mapper", "latents"}
    assert (
        saved.digest()
        == load_bundle("portraits")
        .with_parts({} if "photo_parser" in there else {"photo_parser": saved.parts["parser"]})
        .digest()
    )
    assert saved.known_words().hairstyles == load_bundle("portraits").known_words().hairstyles
    assert saved.for_others == "ffhq"
    header, text = card(tmp_path)
    assert header == {
        "library_name": "hairclip",
        "pipeline_tag": "image-to-image",
        "license": "mit",
        "tags": ["hair-editing", "stylegan2", "clip", "hairclip"],
    }
    assert "All weights lie in this folder." in text
    assert "plain backgrounds only" in text


def test_weights_of_other_projects_are_named_and_not_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HAIRCLIP_HOME", str(tmp_path / "home"))
    save_bundle(tmp_path / "mine")
    by_hand = tmp_path / "mine" / "parsenet_by_hand.safetensors"
    (tmp_path / "mine" / "parser.safetensors").rename(by_hand)
    content = by_hand.read_bytes()
    mirror = tmp_path / "mirror.yaml"
    source = f'url: "https://mirror.example/p", size: {len(content)}, sha256: "{hashlib.sha256(content).hexdigest()}"'
    mirror.write_text(f"parsenet: {{{source}}}", encoding="utf-8")
    monkeypatch.setenv("HAIRCLIP_REGISTRY", str(mirror))
    bundle = load_bundle(tmp_path / "mine").with_parts(
        {"parser": by_hand, "generator": "stylegan2-ffhq", "clip": "hairclip", "identity": "ffhq/identity"}
    )
    HairEditor(bundle).save_pretrained(tmp_path / "saved")
    assert {path.name for path in (tmp_path / "saved").iterdir()} == {
        "README.md", "bundle.yaml", "encoder.safetensors", "judge.safetensors", "mapper.safetensors",
        "photo_parser.safetensors",
    }  # fmt: skip
    parts = yaml.safe_load((tmp_path / "saved" / "bundle.yaml").read_text())["parts"]
    assert (parts["parser"], parts["generator"], parts["clip"]) == ("parsenet", "stylegan2-ffhq", "hairclip")
    assert parts["identity"] == "ir-se50"
    header, text = card(tmp_path / "saved")
    assert header["license"] == "other"
    for name in ("stylegan2-ffhq", "hairclip", "ir-se50", "parsenet"):
        assert WEIGHTS[name].license in text
    assert "python -m hairclip download" in text
    again = HairEditor.from_pretrained(tmp_path / "saved", device="cpu")
    with pytest.raises(HairclipError, match=r"python -m hairclip download stylegan2-ffhq hairclip parsenet\.$"):
        again.edit(torch.zeros(1, 3, SIZE, SIZE), color="red")
    assert not (tmp_path / "home").exists()


def test_networks_that_are_no_bundle_are_refused(tmp_path: Path):
    with pytest.raises(HairclipError, match="only the networks of a bundle can be saved"):
        HairEditor(tiny_networks()).save_pretrained(tmp_path / "saved")
    (tmp_path / "file").write_text("")
    with pytest.raises(HairclipError, match="is a file: give a folder"):
        HairEditor.from_bundle("portraits", device="cpu").save_pretrained(tmp_path / "file")


# ------------------------------------------------------------------------------------------ the Hub


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that answers as the Hub does, with one commit of the repository somebody/hair."""
    for name in ("HAIRCLIP_OFFLINE", "HF_HUB_OFFLINE", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with serving() as running:
        monkeypatch.setattr(transfer, "HUGGING_FACE", running.url)
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace("https://huggingface.co", running.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield running


def publish(hub: Server, folder: Path) -> None:
    for path in folder.iterdir():
        body = path.read_bytes()
        headers = {"ETag": f'"{abs(hash(body)):040x}"', "X-Repo-Commit": COMMIT}
        for revision in ("main", COMMIT):
            hub.replies[f"/somebody/hair/resolve/{revision}/{path.name}"] = Reply(body, headers=headers)


def test_a_repository_gives_the_editor_that_was_saved(hub: Server, tmp_path: Path, portrait: torch.Tensor):
    editor = HairEditor(load_bundle(save_bundle(tmp_path / "mine")))
    editor.save_pretrained(tmp_path / "saved")
    publish(hub, tmp_path / "saved")
    expected = editor.edit(portrait, color="red").image
    again = HairEditor.from_pretrained("somebody/hair", device="cpu", cache_dir=tmp_path / "cache")
    assert torch.equal(again.edit(portrait, color="red").image, expected)
    assert again.networks.name == "somebody/hair"
    named = HairEditor.from_bundle("hf-hub:somebody/hair", device="cpu")
    assert named.digest() == again.digest()
    assert f"/somebody/hair/resolve/{COMMIT}/mapper.safetensors" in {path for _, path, _ in hub.seen}
    before = len(hub.seen)
    cached = HairEditor.from_pretrained(
        "somebody/hair", device="cpu", cache_dir=tmp_path / "cache", local_files_only=True
    )
    assert torch.equal(cached.edit(portrait, color="red").image, expected)
    assert len(hub.seen) == before
    with pytest.raises(HairclipError, match=r"somebody/none gives no bundle \(.*give a folder that save_pretrained"):
        HairEditor.from_pretrained("somebody/none", device="cpu", cache_dir=tmp_path / "cache")


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ("{parser: {class: 'os:system'}}", "code that a repository names is not run"),
        ("{parser: ../../secret.safetensors}", "names the file ../../secret.safetensors outside itself"),
        ("{parser: /root/secret.pt}", "outside itself"),
        ("[parser]", "has no parts"),
    ],
)
def test_a_repository_names_neither_code_nor_files_outside_itself(hub: Server, tmp_path: Path, parts: str, words: str):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "bundle.yaml").write_text(f"parts: {parts}")
    publish(hub, tmp_path / "bad")
    with pytest.raises(HairclipError) as caught:
        HairEditor.from_pretrained("somebody/hair", device="cpu", cache_dir=tmp_path / "cache")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_pushed_is_what_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    seen: dict[str, bytes] = {}

    class Made:
        repo_id = "somebody/hair"

    def create(api: HfApi, repo: str, **options: object) -> Made:
        assert options == {"private": True, "exist_ok": True}
        return Made()

    def upload(api: HfApi, *, repo_id: str, folder_path: Path, commit_message: str) -> str:
        assert repo_id == "somebody/hair"
        seen.update({path.name: path.read_bytes() for path in folder_path.iterdir()})
        return f"https://huggingface.co/{repo_id}/commit/{COMMIT}"

    monkeypatch.setattr(HfApi, "create_repo", create)
    monkeypatch.setattr(HfApi, "upload_folder", upload)
    editor = HairEditor(load_bundle(save_bundle(tmp_path / "mine")))
    assert editor.push_to_hub("somebody/hair", private=True).endswith(COMMIT)
    editor.save_pretrained(tmp_path / "saved")
    assert seen == {path.name: path.read_bytes() for path in (tmp_path / "saved").iterdir()}

    def refuse(api: HfApi, repo: str, **options: object) -> Made:
        raise OSError("401 Client Error\nlong text")

    monkeypatch.setattr(HfApi, "create_repo", refuse)
    with pytest.raises(HairclipError, match=r"somebody/hair cannot be pushed \(401 Client Error\): .*hf auth login"):
        editor.push_to_hub("somebody/hair")


def test_a_mapper_of_the_hub_comes_through_the_same_door(hub: Server, tmp_path: Path):
    mapper = load_mapper("portraits/mapper")
    mapper.save_pretrained(tmp_path / "mapper")
    publish(hub, tmp_path / "mapper")
    again = load_mapper("hf-hub:somebody/hair")
    assert all(torch.equal(one, other) for one, other in zip(again.parameters(), mapper.parameters(), strict=True))
