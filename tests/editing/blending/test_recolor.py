"""A new color on the photo's own strands: what the generator's two pictures tell is led over to the photo."""

from types import SimpleNamespace

import pytest
import torch

from hairclip.common.color import luma
from hairclip.editing.blending.recolor import Recoloring, find_recoloring
from hairclip.editing.blending.regions import dilate, soften
from hairclip.editing.blending.seams import composite
from hairclip.editing.editor import HairEditor
from hairclip.networks.face_parser import CELEBAMASK_CLASSES, HAIR
from tests.helpers.tiny_networks import N_LATENT, SIZE, W_DIM, tiny_networks

SKIN = CELEBAMASK_CLASSES.index("skin")
SLOPE, OFFSET = torch.tensor([0.9, 0.4, 0.7]).view(1, 3, 1, 1), torch.tensor([0.3, -0.5, -0.1]).view(1, 3, 1, 1)


def person(size: int = 64, strands: float = 0.3, seed: int = 0) -> dict[str, torch.Tensor]:
    """Brown strands of random brightness; the generator knows their shading only, and makes them red."""
    hair = torch.zeros(1, 1, size, size, dtype=torch.bool)
    hair[..., size // 8 : size // 2, size // 4 : 3 * size // 4] = True
    rows = torch.linspace(-1, 1, size).view(1, 1, size, 1)
    shading = 0.6 * rows.expand(1, 1, size, size)
    noise = torch.randn(1, 1, 1, size, generator=torch.Generator().manual_seed(seed))
    detail = strands * (noise - soften(noise.expand(1, 1, size, size), 3))
    backdrop = torch.tensor([-0.6, 0.6, 0.9]).view(1, 3, 1, 1).expand(1, 3, size, size)
    tint = torch.tensor([0.1, -0.05, -0.02]).view(1, 3, 1, 1)
    red = SLOPE * luma(shading + tint) + OFFSET
    labels = torch.where(hair[:, 0], HAIR, 0)
    return {
        "photos": torch.where(hair, (shading + detail + tint).clamp(-1, 1), backdrop),
        "labels": labels,
        "inverted": torch.where(hair, shading + tint, backdrop),
        "inverted_labels": labels,
        "edited": torch.where(hair, red, backdrop),
        "edited_labels": labels,
    }


def recolor(given: dict[str, torch.Tensor]) -> tuple[torch.Tensor, Recoloring, torch.Tensor]:
    found, usable = find_recoloring(**given)
    return composite(given["photos"], found.foreground(given["photos"]), found.alpha), found, usable


def test_strands_take_the_color_that_the_generator_gave_their_shading():
    given = person()
    image, found, usable = recolor(given)
    assert usable.tolist() == [True]
    inside = (slice(None), slice(None), slice(12, 28), slice(20, 44))
    wanted = SLOPE * luma(given["photos"]) + OFFSET
    strands = image[inside] - image[inside].mean(dim=2, keepdim=True)
    assert (image[inside] - wanted[inside]).abs().mean() < 0.03
    truth = wanted[inside] - wanted[inside].mean(dim=2, keepdim=True)
    assert torch.nn.functional.cosine_similarity(strands.flatten(), truth.flatten(), dim=0) > 0.98
    assert given["edited"][inside].std(dim=3).max() < 0.01 < 0.05 < image[inside].std(dim=3).mean()
    outside = ~dilate((given["labels"] == HAIR)[:, None], 2).expand_as(image)
    assert torch.equal(image[outside], given["photos"][outside])
    assert (found.alpha[0, 0, 12:28, 20:44] == 1).all()


def test_nothing_changes_where_the_generator_changed_nothing():
    given = person(strands=0.0)
    given |= {"edited": given["inverted"], "photos": given["inverted"]}
    image, _, _ = recolor(given)
    inside = (slice(None), slice(None), slice(10, 30), slice(18, 46))
    torch.testing.assert_close(image[inside], given["photos"][inside], atol=0.02, rtol=0)


def test_the_color_is_the_one_asked_for_however_bright_the_inversion_is():
    given = person()
    darker = given | {"inverted": (given["inverted"] - 0.3).clamp(-1, 1)}
    one, other = recolor(given)[0], recolor(darker)[0]
    inside = (slice(None), slice(None), slice(12, 28), slice(20, 44))
    torch.testing.assert_close(one[inside].mean((2, 3)), other[inside].mean((2, 3)), atol=0.02, rtol=0)


def test_clutter_that_the_parser_takes_for_hair_stays():
    given = person()
    wall = torch.zeros(1, 64, 64, dtype=torch.bool)
    wall[:, 10:30, 50:60] = True  # a wall beside the hair, in the color of neither hair nor backdrop
    purple = torch.tensor([0.5, -0.6, 0.5]).view(1, 3, 1, 1)
    given["photos"] = torch.where(wall[:, None], purple, given["photos"])
    given["labels"] = torch.where(wall | (given["labels"] == HAIR), HAIR, 0)
    image, _, usable = recolor(given)
    assert usable.all()
    assert torch.equal(image[:, :, 10:30, 52:60], given["photos"][:, :, 10:30, 52:60])


@pytest.mark.parametrize("part", ["inverted_labels", "edited_labels", "labels"])
def test_it_is_not_relied_on_where_the_generator_drew_no_such_hair(part: str):
    given = person()
    given[part] = torch.where(given[part] == HAIR, SKIN, 0)
    image, _, usable = recolor(given)
    assert usable.tolist() == [False]
    assert image.isfinite().all()


def test_a_batch_equals_single_photos():
    first = person()
    second = {name: value.flip(-1).roll(3, -1) for name, value in person(seed=1).items()}
    batch, found, _ = recolor({name: torch.cat([first[name], second[name]]) for name in first})
    for i, one in enumerate((first, second)):
        torch.testing.assert_close(batch[i : i + 1], recolor(one)[0], atol=1e-6, rtol=0)
        assert torch.equal(found[i : i + 1].alpha, recolor(one)[1].alpha)
    assert len(found) == 2


# ------------------------------------------------------------------ in the editor


@pytest.fixture(scope="module")
def networks() -> SimpleNamespace:
    return tiny_networks()


@pytest.fixture
def steady(networks: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Networks whose parser sees the same hair in every picture."""
    logits = torch.zeros(1, 19, SIZE, SIZE)
    logits[:, HAIR, 4:16, 6:26] = 1.0
    logits[:, SKIN, 16:] = 0.5
    monkeypatch.setattr(type(networks.parser), "logits", lambda self, images: logits.expand(len(images), -1, -1, -1))
    return networks


def portrait(networks: SimpleNamespace) -> torch.Tensor:
    w_plus = torch.randn(1, N_LATENT, W_DIM, generator=torch.Generator().manual_seed(3))
    return networks.generator(w_plus).clamp(-1, 1)


def test_edits_of_the_color_alone_recolor_the_photo(steady: SimpleNamespace):
    editor, image = HairEditor(steady, groups=(3, 5)), portrait(steady)
    wishes = [(None, "red"), ("afro", "red"), ("afro", None), (None, "blue")]
    results = editor.edit_batch([image] * 4, [style for style, _ in wishes], [color for _, color in wishes])
    assert [result.recoloring is not None for result in results] == [True, False, False, True]
    for result, (style, color) in zip(results, wishes, strict=True):
        alone = editor.edit(image, style, color)
        torch.testing.assert_close(result.image, alone.image, atol=1e-5, rtol=0)
        assert (alone.bare is None) == (result.bare is None) == (style is None)
        mixed = composite(result.aligned, result.foreground, result.alpha)
        torch.testing.assert_close(result.image, mixed, atol=1e-5, rtol=0)
    assert editor.edit(image, color="red", strands="edit").recoloring is None
    assert editor.edit(image, color="red", blend=False).recoloring is None
