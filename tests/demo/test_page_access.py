"""The page on a phone, by keyboard alone, and read aloud."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.visitor import WAYS, Visitor

pytestmark = pytest.mark.browser
Visit = Callable[..., Visitor]
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}


WIDEST = """
() => {
  const page = document.scrollingElement;
  if (page.scrollWidth <= 390) return "";
  const wide = [...document.querySelectorAll("*")].filter((one) => one.getBoundingClientRect().right > 391);
  return `${page.scrollWidth} px: ${wide.slice(-3).map((one) => one.outerHTML.slice(0, 120)).join(" | ")}`;
}
"""
"""What makes the page wider than a phone, nothing where all fits."""


def test_a_phone_shows_the_page_without_scrolling_sideways(visit: Visit, people: dict[str, Path]):
    visitor = visit(locale="zh-TW", **PHONE)
    assert visitor.page.evaluate(WIDEST) == ""
    visitor.open(people["anna"])
    visitor.ask("red")
    for language in ("zh-TW", "en"):
        visitor.choose_language(language)
        for way in WAYS:
            visitor.choose_way(way)
            assert visitor.page.evaluate(WIDEST) == "", (language, way)
    box = visitor.find("#go-grid").bounding_box()
    assert box is not None
    assert box["height"] >= 24, "a finger hits it"


def test_every_control_has_a_name_for_screen_readers_and_errors_are_announced(visit: Visit, people: dict[str, Path]):
    visitor, roles = visit(), set()
    visitor.find("#go").click()
    visitor.hear("error", "photo first")
    assert visitor.find("[aria-live=polite] p.error[role=alert]").count() == 1
    for step in ("empty", "open", *WAYS):
        if step == "open":
            visitor.open(people["anna"])
            visitor.ask("red")
        elif step in WAYS:
            visitor.choose_way(step)
        controls = list(visitor.controls())
        assert [role for role, name in controls if not name] == [], step
        roles |= {role for role, _ in controls}
    assert {"button", "textbox", "slider", "radio", "tab"} <= roles
    pictures = visitor.find("#mask canvas[role=img], #before-after img, #grid img")
    named = ("alt", "aria-label")
    assert all(any(one.get_attribute(name) for name in named) for one in pictures.all())


def test_an_edit_needs_no_mouse_and_tab_goes_from_the_photo_to_the_download(visit: Visit, people: dict[str, Path]):
    visitor = visit()
    visitor.open(people["anna"])
    visitor.wish.focus()
    visitor.page.keyboard.type("purple")
    visitor.page.keyboard.press("Enter")
    visitor.wait_for_edit(1)
    for slider in ("#before-after input[type=range]", "#strength input[type=range]"):
        moved = visitor.find(slider).first
        moved.focus()
        before = float(moved.input_value())
        visitor.page.keyboard.press("ArrowLeft")
        assert float(moved.input_value()) < before
    stops = visitor.tab_stops()
    first = {stop: stops.index(stop) for stop in dict.fromkeys(stops)}
    wanted = ("language", "photo", "wish", "go", "strength", "mask", "before-after", "download", "start-over")
    assert [stop for stop in wanted if stop not in first] == []
    assert first["photo"] < first["wish"] < first["go"] < first["download"]
