"""A person at the page `python -m hairclip demo`: what they do, and what they see."""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page, Request

PATIENCE = 300.0
"""Seconds that something may take on a busy machine before a test fails."""
_SOMETHING = re.compile(r"\S")
WAYS = ("words", "buttons", "pictures", "grid")

_DIFFERENCE = """
([before, after]) => {
  const read = (image) => {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = 64;
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0, 64, 64);
    return context.getImageData(0, 0, 64, 64).data;
  };
  const [one, two] = [read(before), read(after)];
  return one.reduce((sum, value, i) => sum + Math.abs(value - two[i]), 0) / one.length;
}
"""
_MEAN_COLOR = """
(image, [left, top, width, height]) => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [128, 128];
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0, 128, 128);
  const data = context.getImageData(128 * left, 128 * top, 128 * width, 128 * height).data;
  const sums = [0, 0, 0];
  data.forEach((value, i) => { if (i % 4 < 3) sums[i % 4] += value; });
  return sums.map((sum) => sum / (data.length / 4));
}
"""


class Visitor:
    """One browser tab at the page.

    Attributes:
        page: the tab.
        requests: every request that the tab sent.
        errors: every error of the page's scripts.
    """

    def __init__(self, page: "Page", address: str) -> None:
        self.page, self.address = page, address
        self.requests: "list[Request]" = []
        self.errors: list[str] = []
        page.set_default_timeout(1000 * PATIENCE)
        # Playwright sets an attribute on what it calls, and a list's own method takes none.
        page.on("request", lambda request: self.requests.append(request))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.goto(address)
        self.find("#go").wait_for()
        # The server's greeting fills in all words, and would overwrite what happened before it came.
        page.wait_for_function("() => !['', '…'].includes(document.querySelector('#suggestion-1').innerText.trim())")

    def find(self, selector: str) -> "Locator":
        """Return the elements of a CSS selector."""
        return self.page.locator(selector)

    @property
    def wish(self) -> "Locator":
        """The field for words."""
        return self.find("#wish textarea, #wish input").first

    # ------------------------------------------------------------------ what they do

    def upload(self, photo: Path, into: str = "photo") -> None:
        """Choose a file in one of the fields for pictures."""
        self.find(f"#{into} input[type=file]").first.set_input_files(photo)

    def open(self, photo: Path) -> None:
        """Choose a photo, and wait until its hair is shown."""
        self.upload(photo)
        self.find('#mask canvas[data-ready="1"]').wait_for()

    def choose_way(self, name: str) -> None:
        """Open one of the tabs."""
        self.find("#ways button[role=tab]").nth(WAYS.index(name)).click()

    def write(self, wish: str) -> None:
        """Write into the field for words."""
        self.wish.fill(wish)

    def ask(self, wish: str) -> None:
        """Ask in words, and wait for the edit."""
        self.write(wish)
        self.act("#go")

    def act(self, button: str) -> None:
        """Press a button that makes an edit, and wait for the edit."""
        number = self.count_edits() + 1
        self.find(button).click()
        self.wait_for_edit(number)

    def paint(self, points: list[tuple[float, float]]) -> None:
        """Draw one stroke over the mask; points are fractions of its width and height."""
        canvas = self.find("#mask canvas").first
        canvas.scroll_into_view_if_needed()
        box = canvas.bounding_box()
        assert box is not None
        mouse = self.page.mouse
        for number, (x, y) in enumerate(points):
            mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=4)
            if number == 0:
                mouse.down()
        mouse.up()

    def slide(self, percent: int) -> None:
        """Move the slider between before and after."""
        self.find("#before-after input[type=range]").evaluate(
            "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input', {bubbles: true})); }",
            percent,
        )

    def choose_language(self, code: str) -> None:
        """Switch the language, and wait until the page has it."""
        self.find(f'#language input[value="{code}"]').check()
        self.page.wait_for_function("code => document.documentElement.lang === code", arg=code)

    # ------------------------------------------------------------------ what they see

    def count_edits(self) -> int:
        """Return the number of the edit that is shown, 0 for none."""
        figure = self.find("#before-after figure[data-edit]")
        return int(figure.first.get_attribute("data-edit") or 0) if figure.count() else 0

    def wait_for_edit(self, number: int) -> None:
        """Wait until an edit of this number is shown."""
        self.find(f'#before-after figure[data-edit="{number}"]').wait_for()
        for picture in ("before", "after"):
            self.page.wait_for_function(
                "name => { const image = document.querySelector(`#before-after img.${name}`);"
                " return image && image.complete && image.naturalWidth > 0; }",
                arg=picture,
            )

    def hear(self, kind: str, words: str = "") -> str:
        """Wait for a sentence on the page and return it.

        Args:
            kind: "ok" or "error".
            words: what the sentence must hold, in any case of letters.
        """
        sentence = self.find(f"#message p.{kind}").filter(has_text=words).filter(has_text=_SOMETHING)
        sentence.wait_for()
        told = sentence.inner_text().strip()
        assert "\n" not in told
        return told

    def wait_for_mask(self, version: int) -> None:
        """Wait until the mask of this version is drawn."""
        self.find(f'#mask [data-version="{version}"] canvas[data-ready="1"]').wait_for()

    def mask_version(self) -> int:
        """Return how often the mask has changed."""
        return int(self.find("#mask [data-version]").first.get_attribute("data-version") or 0)

    def changed_by(self) -> float:
        """Return the mean difference of before and after, of 255."""
        images = [self.find(f"#before-after img.{name}").element_handle() for name in ("before", "after")]
        return float(self.page.evaluate(_DIFFERENCE, images))

    def mean_color(
        self, image: str, box: tuple[float, float, float, float] = (0, 0, 1, 1)
    ) -> tuple[float, float, float]:
        """Return the mean color of a part of "before" or "after"; the box is left, top, width and height, of 1."""
        red, green, blue = self.find(f"#before-after img.{image}").evaluate(_MEAN_COLOR, list(box))
        return red, green, blue

    def hosts(self) -> set[str]:
        """Return every machine that the tab asked for something."""
        places = (urlsplit(request.url) for request in self.requests)
        return {place.hostname or "" for place in places if place.scheme not in ("data", "blob", "about")}

    def controls(self) -> Iterator[tuple[str, str]]:
        """Yield the role and the name of every control, as a screen reader has them."""
        session = self.page.context.new_cdp_session(self.page)
        tree: dict[str, Any] = session.send("Accessibility.getFullAXTree")
        session.detach()
        for node in tree["nodes"]:
            role = node.get("role", {}).get("value", "")
            if role in _CONTROLS and not node.get("ignored"):
                yield role, str(node.get("name", {}).get("value", "")).strip()

    def tab_stops(self, most: int = 120) -> list[str]:
        """Press Tab through the page, and return the id that lies around each stop, without repeats in a row."""
        # Where nothing has the focus, Tab goes on from where it was last.
        self.page.evaluate("() => { document.body.tabIndex = -1; document.body.focus(); }")
        stops: list[str] = []
        for _ in range(most):
            self.page.keyboard.press("Tab")
            found = self.page.evaluate(_AROUND_FOCUS, list(KNOWN))
            if found == "" and stops:
                break
            if found and (not stops or stops[-1] != found):
                stops.append(found)
        return stops


KNOWN = (
    *("language", "photo", "ways", "wish", "suggestion-1", "go", "style-buttons", "color-buttons", "go-buttons"),
    *("style-reference", "color-reference", "go-pictures", "grid-styles", "grid-colors", "go-grid", "strength"),
    *("mask", "mask-apply", "mask-reset", "before-after", "gallery", "download", "start-over"),
)
"""Ids of the page's parts, as the page's module names them."""
_CONTROLS = (
    *("button", "textbox", "slider", "radio", "checkbox", "tab", "combobox", "link", "spinbutton", "searchbox"),
    *("radiogroup", "switch", "listbox", "menuitem"),
)
_AROUND_FOCUS = """
(known) => {
  let element = document.activeElement;
  if (!element || element === document.body) return "";
  while (element && !known.includes(element.id)) element = element.parentElement;
  return element ? element.id : "-";
}
"""


def apart(one: tuple[float, float, float], other: tuple[float, float, float]) -> float:
    """Return the distance of two colors, of 255."""
    return math.dist(one, other)
