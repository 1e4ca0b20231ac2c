"""From a configuration to the parts of a run: where the mapper starts, and which references are drawn."""

import os
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.nn import functional

from hairclip.common.errors import HairclipError
from hairclip.config import load_config
from hairclip.training.setup import Parts, build_parts
from hairclip.training.tasks import Task
from hairclip.training.trainer import train
from tests.helpers.tiny_networks import SIZE
from tests.helpers.tiny_run import tiny_config, weights

CONFIG = Path(__file__).parents[2] / "configs" / "hairclip.yaml"


def pictures(folder: Path, count: int, brightness: int = 128) -> Path:
    folder.mkdir(parents=True)
    for number in range(count):
        Image.new("RGB", (SIZE, SIZE), (brightness, number, 0)).save(folder / f"{number}.png")
    return folder


def parts(folder: Path, *overrides: str) -> Parts:
    folder.mkdir(exist_ok=True)
    return build_parts(tiny_config(folder, *overrides), torch.device("cpu"))


def test_half_of_the_color_references_are_of_the_free_folder_however_many_there_are(tmp_path: Path):
    """The official code draws a color request's text, colored folder and free picture with 50, 25 and 25 %."""
    free = pictures(tmp_path / "free", 2)
    for color in ("red", "blond"):
        pictures(tmp_path / "colors" / f"{color} hair", 20)
    built = parts(
        tmp_path, f"data.color_images={free}", f"data.color_folders={tmp_path / 'colors'}", "data.reference_pool=20"
    )
    tasks = [task for task in built.sampler.sample(20_000, 0) if task.color is not None]
    kinds = ["text" if isinstance(t.color, str) else "free" if t.color < 2 else "of a color" for t in tasks]
    shares = {kind: kinds.count(kind) / len(kinds) for kind in set(kinds)}
    assert shares == pytest.approx({"text": 0.5, "free": 0.25, "of a color": 0.25}, abs=0.02)
    assert max(t.color for t in tasks if isinstance(t.color, int)) == 2 + 2 * 20 - 1


def test_half_of_the_hairstyle_references_are_of_the_folders_and_no_other_request_changes(tmp_path: Path):
    for word in ("afro", "bob cut", "bald"):
        pictures(tmp_path / "sets" / f"{word} hairstyle", 3)
    plain = parts(tmp_path / "plain").sampler.sample(20_000, 0)
    built = parts(tmp_path / "with", f"data.hairstyle_folders={tmp_path / 'sets'}")
    tasks = built.sampler.sample(20_000, 0)
    free = built.training.hairstyle_references.free
    assert (free, len(built.training.hairstyle_references)) == (6, 6 + 3 * 3)
    drawn = [task.hairstyle for task in tasks if isinstance(task.hairstyle, int)]
    shares = [sum(number == one for number in drawn) / len(drawn) for one in range(6 + 9)]
    assert shares == pytest.approx([0.5 / 6] * 6 + [0.5 / 9] * 9, abs=0.012)
    for before, after in zip(plain, tasks, strict=True):
        assert (before.latent, before.color) == (after.latent, after.color)
        assert isinstance(before.hairstyle, int) == isinstance(after.hairstyle, int)
        assert isinstance(after.hairstyle, int) or before.hairstyle == after.hairstyle


def test_a_hairstyle_without_a_folder_is_not_drawn_by_name_and_one_must_have_one(tmp_path: Path):
    """ "bald" labels codes of the portraits, and no edit makes people bald: `references` writes no such folder."""
    (tmp_path / "sets").mkdir()
    with pytest.raises(
        HairclipError, match=r"data\.hairstyle_folders: .*sets holds no folder such as 'afro hairstyle'"
    ):
        parts(tmp_path, f"data.hairstyle_folders={tmp_path / 'sets'}")
    pictures(tmp_path / "sets" / "bob cut hairstyle", 2)
    built = parts(tmp_path, f"data.hairstyle_folders={tmp_path / 'sets'}")
    assert built.sampler.references_of_hairstyle == {"bob cut": [6, 7]}
    assert built.sampler.hairstyles == ["afro", "bob cut", "bald"]


def test_color_sets_extend_the_pictures_made_of_the_latents(tmp_path: Path):
    for color in ("red", "blond"):
        pictures(tmp_path / "sets" / f"{color} hair", 2)
    built = parts(tmp_path, f"data.color_folders={tmp_path / 'sets'}")
    pool = built.training.color_references
    assert (pool.free, pool.of_word) == (6, {"red": [6, 7], "blond": [8, 9]})
    assert built.sampler.color_references == 6


def test_a_run_does_not_go_on_with_another_picture_of_the_same_name_and_size(tmp_path: Path):
    """Folders may move. A picture that was replaced is another experiment, whatever its name, size and time say."""
    mine = tmp_path / "mine"
    mine.mkdir()
    for name, shade in (("a.bmp", 0), ("../other.bmp", 200)):
        Image.new("RGB", (SIZE, SIZE), (shade, 0, 0)).save(mine / name)
    settings = ["training.steps=2", f"data.hairstyle_images={mine}", f"data.color_images={mine}"]
    train(tiny_config(tmp_path, *settings), tmp_path / "run")
    times = (mine / "a.bmp").stat()
    (mine / "a.bmp").write_bytes((tmp_path / "other.bmp").read_bytes())
    os.utime(mine / "a.bmp", ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(HairclipError, match=r"was trained with other content of data\.hairstyle_images"):
        train(tiny_config(tmp_path, *settings), tmp_path / "run")


def test_validation_has_references_of_its_own(tmp_path: Path):
    mine, others = pictures(tmp_path / "mine", 3), pictures(tmp_path / "others", 2, brightness=250)
    built = parts(
        tmp_path,
        f"data.hairstyle_images={mine}",
        f"data.color_images={mine}",
        f"data.validation_hairstyle_images={others}",
        f"data.validation_color_images={others}",
        "validation.count=40",
    )
    for pool in ("hairstyle_references", "color_references"):
        assert len(getattr(built.training, pool)) == 3
        assert len(getattr(built.validation, pool)) == 2
        assert getattr(built.validation, pool).picture(0).amax() > 0.9
    drawn = [wish for task in built.validation_tasks for wish in (task.hairstyle, task.color) if isinstance(wish, int)]
    assert set(drawn) == {0, 1}


def test_validation_draws_as_before_where_it_shares_the_references(tmp_path: Path):
    built = parts(tmp_path)
    drawn = built.sampler.sample(6, 1234)
    assert [(t.hairstyle, t.color) for t in built.validation_tasks] == [(t.hairstyle, t.color) for t in drawn]


def test_the_official_setting_asks_for_the_color_of_a_reference_however_little_hair_it_shows(tmp_path: Path):
    for minimum, asks in (("0.0", True), ("1.0", False)):  # about half of a tiny picture is hair
        built = parts(tmp_path / minimum, f"data.minimum_hair={minimum}")
        assert built.training.collate([Task(0, None, 0)]).batch.condition.has_color.tolist() == [asks]
    official = load_config(Path(__file__).resolve().parents[2] / "configs" / "hairclip.yaml")
    assert official.data.minimum_hair == 0


def test_small_pictures_are_enlarged_as_in_the_official_code_where_the_setting_says_so(tmp_path: Path):
    images = torch.rand(2, 3, SIZE // 2, SIZE // 2) * 2 - 1
    for enlarging, equal in (("official", True), ("bilinear", False)):
        networks = parts(tmp_path, f"networks.enlarging={enlarging}").networks
        pooled = functional.adaptive_avg_pool2d(images, SIZE)  # parser and identity network see 32 px
        assert torch.equal(networks.parser.logits(images), networks.parser(pooled)) == equal
        assert torch.equal(networks.identity(images), networks.identity(pooled)) == equal
    official = load_config(Path(__file__).resolve().parents[2] / "configs" / "hairclip.yaml")
    assert official.networks.enlarging == "official"


def test_training_starts_from_a_mappers_weights(tmp_path: Path):
    config = tiny_config(tmp_path, "training.steps=2")
    first = train(config, tmp_path / "first")
    again = parts(tmp_path, f"training.init={first}", "losses.identity=3.0")
    before = weights(first)
    assert all(bool((tensor.numpy() == before[name]).all()) for name, tensor in again.mapper.state_dict().items())
    assert all(parameter.requires_grad for parameter in again.mapper.parameters())


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("mapper.scale=0.7", "training.init: .* has scale=0.1, but this run has scale=0.7"),
        ("mapper.fine=false", "fine"),
    ],
)
def test_a_mapper_with_other_settings_is_refused(tmp_path: Path, override: str, message: str):
    first = train(tiny_config(tmp_path, "training.steps=1"), tmp_path / "first")
    with pytest.raises(HairclipError, match=message):
        parts(tmp_path, f"training.init={first}", override)


@pytest.mark.parametrize("key", ["hairstyle_images", "color_folders", "validation_color_images"])
def test_a_missing_folder_of_references_is_told_with_its_key(tmp_path: Path, key: str):
    with pytest.raises(
        HairclipError, match=rf"data\.{key}: there is no folder .*none: .*put .* there, .* null"
    ) as caught:
        parts(tmp_path, f"data.{key}={tmp_path / 'none'}")
    assert "\n" not in str(caught.value)


def test_weights_and_codes_that_are_not_fetched_are_told_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HAIRCLIP_HOME", str(tmp_path / "empty"))
    with pytest.raises(HairclipError) as caught:
        build_parts(load_config(CONFIG), torch.device("cpu"))
    names = "stylegan2-ffhq clip-vit-b-32 parsenet ir-se50 celeba-hq-train celeba-hq-test"
    assert str(caught.value).endswith(f"run python -m hairclip download {names}.")
    assert not (tmp_path / "empty").exists()
