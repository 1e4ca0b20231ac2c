"""What a person does at the page: a photo, a wish, a look, a download."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from tests.helpers.visitor import Visitor, apart

pytestmark = pytest.mark.browser
Visit = Callable[..., Visitor]


def test_a_wish_in_words_is_understood_and_compared_with_the_photo(
    visit: Visit, people: dict[str, Path], capsys: pytest.CaptureFixture[str]
):
    visitor = visit()
    visitor.open(people["anna"])
    assert "portraits" in visitor.find("#bundle-note").inner_text()
    seconds = []
    for number, wish in enumerate(("red bob cut", "blue"), start=1):
        visitor.write(wish)
        started = time.perf_counter()
        visitor.find("#go").click()
        visitor.wait_for_edit(number)
        seconds.append(time.perf_counter() - started)
    with capsys.disabled():
        print(f"\nseconds from the click to the picture: first edit {seconds[0]:.1f}, second {seconds[1]:.1f}")
    visitor.hear("ok", "blue")
    assert visitor.changed_by() > 2
    figure, shown = visitor.find("#before-after figure").first, []
    for percent in (0, 50, 100):
        visitor.slide(percent)
        shown.append(figure.screenshot())
    assert len(set(shown)) == 3
    suggestion = visitor.find("#suggestion-1")
    suggestion.click()
    visitor.page.wait_for_function(
        "([field, text]) => field.value === text",
        arg=[visitor.wish.element_handle(), suggestion.inner_text().strip()],
    )
    visitor.wish.press("Enter")
    visitor.wait_for_edit(3)


def test_hair_like_in_a_picture_from_a_list_and_many_at_once_side_by_side(visit: Visit, people: dict[str, Path]):
    visitor = visit()
    visitor.open(people["anna"])
    visitor.choose_way("pictures")
    visitor.upload(people["ben"], into="color-reference")
    visitor.find("#color-reference img").first.wait_for()
    visitor.act("#go-pictures")
    visitor.choose_way("buttons")
    visitor.find('#color-buttons input[value="pink"]').check()
    visitor.act("#go-buttons")
    red, green, blue = visitor.mean_color("after", (0.25, 0.05, 0.5, 0.2))
    assert red > green
    assert blue > green
    assert visitor.find("#gallery button").count() >= 2
    visitor.find("#gallery button").first.click()
    visitor.wait_for_edit(1)
    visitor.choose_way("grid")
    for word, group in (("afro", "styles"), ("pixie cut", "styles"), ("red", "colors")):
        visitor.find(f'#grid-{group} input[value="{word}"], #grid-{group} input[name="{word}"]').first.check()
    visitor.find("#go-grid").click()
    pictures = visitor.find("#grid img")
    pictures.first.wait_for()
    assert [one.get_attribute("alt") for one in pictures.all()] == ["afro, red", "pixie cut, red"]


def test_what_is_painted_is_dyed_and_can_be_taken_back(visit: Visit, people: dict[str, Path]):
    visitor = visit()
    visitor.open(people["anna"])
    corner = (0.02, 0.02, 0.12, 0.12)
    visitor.find("#mask input[name=mask-mode][value=add]").check()
    version = visitor.mask_version()
    stroke = [(0.03, 0.03), (0.13, 0.03), (0.13, 0.08), (0.03, 0.08), (0.03, 0.13), (0.13, 0.13)]
    visitor.paint(stroke)
    visitor.find("#mask-apply").click()
    visitor.wait_for_mask(version + 1)
    visitor.ask("bright red")
    painted = apart(visitor.mean_color("before", corner), visitor.mean_color("after", corner))
    visitor.find("#mask-reset").click()
    visitor.wait_for_mask(version + 2)
    visitor.ask("bright red")
    reset = apart(visitor.mean_color("before", corner), visitor.mean_color("after", corner))
    assert painted > 10
    assert reset < 2


def test_the_download_is_the_photo_at_its_size_in_its_format_with_its_metadata(
    visit: Visit, people: dict[str, Path], tmp_path: Path
):
    visitor = visit()
    visitor.open(people["anna"])
    visitor.ask("green")
    with visitor.page.expect_download() as started:
        visitor.find("#download").click()
    saved = tmp_path / started.value.suggested_filename
    started.value.save_as(saved)
    assert saved.suffix in (".jpg", ".jpeg")
    with Image.open(people["anna"]) as photo, Image.open(saved) as edited:
        assert (edited.format, edited.size) == (photo.format, photo.size)
        assert dict(edited.getexif()) == dict(photo.getexif())
        assert edited.info["dpi"] == photo.info["dpi"]
        assert ImageChops.difference(edited.convert("RGB"), photo.convert("RGB")).getbbox() is not None


def test_the_language_follows_the_browser_and_can_be_switched(visit: Visit, people: dict[str, Path]):
    visitor = visit(locale="zh-TW")
    visitor.find('#language input[value="zh-TW"]:checked').wait_for()
    assert visitor.page.evaluate("document.documentElement.lang") == "zh-TW"
    chinese = visitor.find("#go").inner_text()
    assert not chinese.isascii()
    visitor.open(people["anna"])
    visitor.ask("染成霧霾藍")
    assert not visitor.hear("ok").isascii()
    visitor.choose_language("en")
    visitor.page.wait_for_function("text => document.querySelector('#go').innerText !== text", arg=chinese)
    assert visitor.find("#go").inner_text().isascii()
    assert visitor.count_edits() == 1, "the photo and its edits stay"
    visitor.ask("red")


@pytest.mark.slow
def test_what_cannot_be_done_is_one_sentence_and_the_next_photo_works(visit: Visit, people: dict[str, Path]):
    visitor = visit()
    visitor.write("red bob cut")
    visitor.find("#go").click()
    visitor.hear("error", "photo first")
    for photo, told in (("nobody", "no face"), ("corrupt", "cannot be read")):
        visitor.upload(people[photo])
        visitor.hear("error", told)
    assert visitor.count_edits() == 0
    visitor.open(people["anna"])
    visitor.write("<img src=x onerror='window.attacked = 1'>")
    visitor.find("#go").click()
    visitor.hear("error")
    assert visitor.page.evaluate("window.attacked") is None
    assert visitor.find("#message img").count() == 0
    visitor.ask("red")


def write_large(photo: Path, path: Path, size: int) -> Path:
    """Write a photo into a file of `size` bytes: whatever follows a JPEG's end is no part of its picture."""
    with path.open("wb") as file:
        file.write(photo.read_bytes())
        file.truncate(size)
    return path


def test_a_photo_of_100_megabytes_is_edited(visit: Visit, tmp_path: Path, people: dict[str, Path]):
    visitor = visit()
    visitor.open(write_large(people["anna"], tmp_path / "large.jpg", 100_000_000))
    visitor.ask("red")


@pytest.mark.slow
def test_a_file_of_more_than_200_megabytes_is_one_sentence(visit: Visit, tmp_path: Path, people: dict[str, Path]):
    visitor = visit()
    visitor.upload(write_large(people["anna"], tmp_path / "larger.jpg", 210_000_000))
    visitor.hear("error", "large")
    visitor.open(people["ben"])


def test_screenshots_of_the_page_in_both_languages(visit: Visit, people: dict[str, Path], screenshots: Path):
    """Write the pictures of the page. README's is `page_desktop_en.jpg`, which is copied to .github/page.jpg.

    HAIRCLIP_SCREENSHOTS=screenshots pytest -m browser tests/demo/test_page.py -k screenshots
    """
    for device, options in (
        ("desktop", {"viewport": {"width": 1280, "height": 900}}),
        ("phone", {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True}),
    ):
        visitor = visit(**options)
        visitor.open(people["anna"])
        visitor.ask("red bob cut")
        for language in ("en", "zh-TW"):
            visitor.choose_language(language)
            visitor.page.wait_for_timeout(500)
            path = screenshots / f"page_{device}_{language}.jpg"
            visitor.page.screenshot(path=path, full_page=True, type="jpeg", quality=80)
            assert path.stat().st_size > 10_000
