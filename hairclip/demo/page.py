"""The page: photo on the left, wishes in the middle, the new hair on the right."""

import base64
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias

import gradio as gr
import numpy as np
from PIL import Image

from hairclip.common.image_files import MAX_PIXELS
from hairclip.common.images import open_image
from hairclip.demo.markup import data_uri, draw_comparison, draw_edits, draw_grid, draw_message, draw_swatches
from hairclip.demo.photo_input import PhotoInput
from hairclip.demo.session import DEFAULT_METHOD, MAX_BYTES, MOST_IN_GRID, Edit, EditSession, Refusal
from hairclip.demo.store import PrivateFolder, SessionStore
from hairclip.demo.words import LANGUAGES, Words, choose_language, read_words

__all__ = ["build_page", "read_styles"]

_FOLDER = Path(__file__).parent
_SUGGESTIONS = 6
_QUEUE = "networks"
"""Work under this name waits in one queue, because the networks serve one person at a time."""
_SHOW_RESULT = """
() => {
  const isWell = !document.querySelector("#message p.error");
  if (isWell && innerWidth < 700) document.getElementById("result").scrollIntoView({ behavior: "smooth" });
}
"""
_DOWNLOAD = "() => setTimeout(() => document.querySelector('#download-link a')?.click(), 100)"
_SET_LANGUAGE = "(language) => { document.documentElement.lang = language; }"
_PICK_EDIT = """
element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-number]");
  if (button) trigger("select", { number: Number(button.dataset.number) });
});
"""

Updates: TypeAlias = dict[Any, Any]
"""Component of the page -> its new value or properties."""


def read_styles() -> str:
    """Return the page's CSS."""
    return (_FOLDER / "page.css").read_text(encoding="utf-8") + draw_swatches()


def build_page(store: SessionStore, folder: PrivateFolder) -> gr.Blocks:
    """Return the page.

    Args:
        store: keeps what people give.
        folder: for photos on their way to a download.
    """
    return _Page(store, folder).blocks


class _Page:
    """The page's parts, and what happens when they are used."""

    def __init__(self, store: SessionStore, folder: PrivateFolder) -> None:
        self.store = store
        self.folder = folder
        words = read_words("en")
        with gr.Blocks(title=words["title"], analytics_enabled=False, delete_cache=(60, 3600)) as self.blocks:
            self._lay_out(words)
            self._connect()

    # ------------------------------------------------------------------ what people see

    def _lay_out(self, words: Words) -> None:
        self.key = gr.State("")
        self.shown = gr.State(0)
        with gr.Row(elem_id="top"):
            self.heading = gr.HTML(_heading(words), elem_id="heading", scale=4, min_width=280)
            self.language = gr.Radio(
                [(read_words(code)["language"], code) for code in LANGUAGES],
                value="en",
                label="Language / 語言",
                elem_id="language",
                scale=1,
                min_width=220,
            )
        self.message = gr.HTML(draw_message(""), elem_id="message")
        with gr.Row(equal_height=False, elem_id="columns"):
            with gr.Column(scale=3, min_width=300, elem_id="photo-side"):
                self.photo = _photo_input("photo", height=340)
                self.bundle_note = gr.Markdown(elem_id="bundle-note", container=True)
                with gr.Accordion(words["mask"], open=True, elem_id="mask-panel") as self.mask_panel:
                    self.mask_hint = gr.Markdown()
                    self.mask = gr.HTML(
                        _mask_value(None, words),
                        html_template=(_FOLDER / "mask.html").read_text(encoding="utf-8"),
                        js_on_load=(_FOLDER / "mask.js").read_text(encoding="utf-8"),
                        elem_id="mask",
                    )
                    with gr.Row():
                        self.mask_apply = gr.Button(elem_id="mask-apply", size="sm", min_width=120)
                        self.mask_reset = gr.Button(elem_id="mask-reset", size="sm", min_width=120)
            with gr.Column(scale=3, min_width=300):
                with gr.Tabs(elem_id="ways"):
                    self._lay_out_ways()
                self.strength = gr.Slider(0, 1.5, 1, step=0.05, elem_id="strength")
                with gr.Accordion(words["more"], open=False, elem_id="more") as self.more:
                    self.method = gr.Radio([DEFAULT_METHOD], value=DEFAULT_METHOD, elem_id="method")
            with gr.Column(scale=4, min_width=300, elem_id="result"):
                self.result_title = gr.Markdown(elem_id="result-title")
                self.comparison = gr.HTML(elem_id="before-after")
                self.edits_title = gr.Markdown(elem_id="edits-title")
                self.edits = gr.HTML(js_on_load=_PICK_EDIT, elem_id="gallery")
                self.download = gr.Button(variant="primary", elem_id="download", visible=False)
                self.download_link = gr.HTML(elem_id="download-link")
                self.grid = gr.HTML(elem_id="grid")
                self.start_over = gr.Button(elem_id="start-over", variant="stop", size="sm")

    def _lay_out_ways(self) -> None:
        """The four ways to say which hair is wanted."""
        with gr.Tab("1", id="words") as self.way_words:
            self.wish = gr.Textbox(lines=1, max_lines=4, max_length=300, elem_id="wish", submit_btn=False)
            with gr.Row(elem_classes="suggestions"):
                self.suggestions = [
                    gr.Button("…", size="sm", elem_id=f"suggestion-{number}") for number in range(1, _SUGGESTIONS + 1)
                ]
            self.go = gr.Button(variant="primary", elem_id="go")
        with gr.Tab("2", id="buttons") as self.way_buttons:
            self.style = gr.Radio([], elem_id="style-buttons", elem_classes="choices")
            self.color = gr.Radio([], elem_id="color-buttons", elem_classes="choices")
            self.go_buttons = gr.Button(variant="primary", elem_id="go-buttons")
        with gr.Tab("3", id="pictures") as self.way_pictures:
            self.style_reference = _photo_input("style-reference", height=200)
            self.color_reference = _photo_input("color-reference", height=200)
            self.go_pictures = gr.Button(variant="primary", elem_id="go-pictures")
        with gr.Tab("4", id="grid") as self.way_grid:
            self.grid_hint = gr.Markdown()
            self.grid_styles = gr.CheckboxGroup([], elem_id="grid-styles", elem_classes="choices")
            self.grid_colors = gr.CheckboxGroup([], elem_id="grid-colors", elem_classes="choices")
            self.go_grid = gr.Button(variant="primary", elem_id="go-grid")

    # ------------------------------------------------------------------ what happens

    def _connect(self) -> None:
        asked = [self.language, self.key]
        views = [
            self.key, self.shown, self.message, self.bundle_note, self.mask, self.comparison, self.edits, self.grid,
            self.edits_title, self.download, self.style, self.color, self.grid_styles, self.grid_colors, self.more,
            self.method, *self.suggestions,
        ]  # fmt: skip
        labels = [
            self.heading, self.photo, self.mask_panel, self.mask_hint, self.mask_apply, self.mask_reset, self.wish,
            self.way_words, self.way_buttons, self.way_pictures, self.way_grid, self.go, self.go_buttons,
            self.go_pictures, self.go_grid, self.style_reference, self.color_reference, self.grid_hint, self.strength,
            self.result_title, self.start_over,
        ]  # fmt: skip
        light: dict[str, Any] = {"show_progress": "hidden", "queue": False, "api_visibility": "private"}
        self.blocks.load(self._greet, None, [self.language, *views, *labels], **light)
        self.language.input(self._translate, [*asked, self.shown], [*views, *labels], **light)
        self.language.change(None, self.language, None, js=_SET_LANGUAGE, api_visibility="private")

        def work(triggers: list[Any], make: Any, inputs: list[Any], outputs: list[Any], *waits_for: Any) -> Any:
            """Have work done when a trigger fires: in the queue of the networks, with a word at once."""
            begun = gr.on(triggers, self._wait, [self.language, *waits_for], self.message, **light)
            return begun.then(
                make,
                [*asked, *inputs],
                outputs,
                show_progress="hidden",
                concurrency_limit=1,
                concurrency_id=_QUEUE,
                api_visibility="private",
            )

        how = [self.strength, self.method]
        words, names = [self.wish], [self.style, self.color]
        pictures, grid = [self.style_reference, self.color_reference], [self.grid_styles, self.grid_colors]
        work([self.photo.change], self._open, [self.photo], views, self.photo)
        for done in (
            work([self.go.click, self.wish.submit], self._edit_words, [*how, *words], views),
            work([self.go_buttons.click], self._edit_names, [*how, *names], views),
            work([self.go_pictures.click], self._edit_pictures, [*how, *pictures], views),
            work([self.go_grid.click], self._make_grid, [self.strength, *grid], views),
        ):
            done.then(None, js=_SHOW_RESULT, api_visibility="private")
        for button in self.suggestions:
            button.click(lambda text: text, button, self.wish, **light)
        work([self.mask_apply.click], self._paint, [self.mask], views)
        work([self.mask_reset.click], self._unpaint, [], views)
        self.edits.select(self._pick, asked, views, **light)
        work([self.download.click], self._download, [self.shown], [self.message, self.download_link]).success(
            None, js=_DOWNLOAD, api_visibility="private"
        )
        self.start_over.click(self._start_over, asked, [*views, self.photo, *pictures], **light)

    def _greet(self, request: gr.Request) -> Updates:
        code = choose_language(request.headers.get("accept-language"))
        words = read_words(code)
        return {self.language: code, **self._labels(words), **self._view(words, None)}

    def _translate(self, code: str, key: str, shown: int) -> Updates:
        words = read_words(code)
        try:
            session: EditSession | None = self.store.find(key)
        except Refusal:
            session = None
        return {**self._labels(words), **self._view(words, session, shown=shown)}

    def _wait(self, code: str, path: str | None = "") -> Any:
        return gr.skip() if path is None else draw_message(read_words(code)["waiting"], "busy")

    def _open(self, code: str, key: str, path: str | None) -> Iterator[Updates]:
        words = read_words(code)
        if path is None:
            if key:  # else the person started over, and the page is empty
                self.store.forget(key)
                yield {self.key: "", **self._view(words, None)}
            return
        self.store.forget(key)
        yield {self.message: draw_message(words["working_open"], "busy")}
        key, session = self.store.make()
        try:
            with _unexpected_as_refusal():
                session.open(path)
                if session.hair_refusal is not None:
                    message = _error(session.hair_refusal, words)
                else:
                    told = "ready" if session.faces == 1 else "ready_several"
                    message = draw_message(words.fill(told, count=session.faces))
        except Refusal as refusal:
            self.store.forget(key)
            yield {self.key: "", **self._view(words, None), self.message: _error(refusal, words)}
            return
        yield {self.key: key, **self._view(words, session), self.message: message}

    def _edit_words(self, code: str, key: str, strength: float, method: str, text: str) -> Iterator[Updates]:
        yield from self._edit(code, key, lambda session: session.edit_words(text, strength, method))

    def _edit_names(
        self, code: str, key: str, strength: float, method: str, hairstyle: str | None, color: str | None
    ) -> Iterator[Updates]:
        yield from self._edit(code, key, lambda one: one.edit_names(hairstyle or None, color or None, strength, method))

    def _edit_pictures(
        self, code: str, key: str, strength: float, method: str, hairstyle: str | None, color: str | None
    ) -> Iterator[Updates]:
        style, shade = (None if path is None else Path(path) for path in (hairstyle, color))
        yield from self._edit(code, key, lambda session: session.edit_pictures(style, shade, strength, method))

    def _edit(self, code: str, key: str, make: Callable[[EditSession], Edit]) -> Iterator[Updates]:
        words = read_words(code)
        try:
            session = self.store.find(key)
            yield {self.message: draw_message(words["working_edit"], "busy")}
            with _unexpected_as_refusal():
                edit = make(session)
        except Refusal as refusal:
            yield {self.message: _error(refusal, words)}
            return
        yield {
            **self._view_edits(words, session, edit.number),
            self.message: draw_message(_describe(edit, words)),
        }

    def _make_grid(
        self, code: str, key: str, strength: float, hairstyles: list[str], colors: list[str]
    ) -> Iterator[Updates]:
        words = read_words(code)
        try:
            session = self.store.find(key)
            yield {self.message: draw_message(words.fill("working_grid", done=1, count="…"), "busy")}
            with _unexpected_as_refusal():
                grid = session.start_grid(hairstyles, colors)
                for done in session.fill_grid(grid, strength):
                    told = words.fill("working_grid", done=done, count=grid.count)
                    yield {self.message: draw_message(told, "busy")}
        except Refusal as refusal:
            yield {self.message: _error(refusal, words)}
            return
        yield {self.grid: draw_grid(grid, words), self.message: draw_message("")}

    def _paint(self, code: str, key: str, told: str) -> Updates:
        words = read_words(code)
        try:
            session = self.store.find(key)
            with _unexpected_as_refusal():
                session.paint(_read_strokes(told))
        except Refusal as refusal:
            return {self.message: _error(refusal, words)}
        return self._view_mask(words, session)

    def _unpaint(self, code: str, key: str) -> Updates:
        words = read_words(code)
        try:
            session = self.store.find(key)
            with _unexpected_as_refusal():
                session.unpaint()
        except Refusal as refusal:
            return {self.message: _error(refusal, words)}
        return self._view_mask(words, session)

    def _pick(self, code: str, key: str, event: gr.EventData) -> Updates:
        words = read_words(code)
        try:
            session = self.store.find(key)
            edit = session.find_edit(int(event.number))
        except Refusal as refusal:
            return {self.message: _error(refusal, words)}
        return self._view_edits(words, session, edit.number)

    def _download(self, code: str, key: str, shown: int) -> Iterator[Updates]:
        words = read_words(code)
        try:
            session = self.store.find(key)
            yield {self.message: draw_message(words["preparing"], "busy"), self.download_link: ""}
            with _unexpected_as_refusal():
                path = session.write(shown, self.folder.new())
        except Refusal as refusal:
            yield {self.message: _error(refusal, words), self.download_link: ""}
            return
        link = f'<a href="gradio_api/file={path}" download="{path.name}">{path.name}</a>'
        yield {self.message: draw_message(""), self.download_link: link}

    def _start_over(self, code: str, key: str) -> Updates:
        words = read_words(code)
        self.store.forget(key)
        empty = self._view(words, None)
        pictures = dict.fromkeys([self.photo, self.style_reference, self.color_reference])
        return {self.key: "", **empty, **pictures, self.message: draw_message(words["started_over"])}

    # ------------------------------------------------------------------ what is shown

    def _labels(self, words: Words) -> Updates:
        """Return the words of everything that does not change with the photo."""
        return {
            self.heading: _heading(words),
            self.photo: gr.update(label=words["photo"], placeholder=words["photo_hint"]),
            self.mask_panel: gr.update(label=words["mask"]),
            self.mask_hint: words["mask_hint"],
            self.mask_apply: words["mask_apply"],
            self.mask_reset: words["mask_reset"],
            self.way_words: gr.update(label=words["way_words"]),
            self.way_buttons: gr.update(label=words["way_buttons"]),
            self.way_pictures: gr.update(label=words["way_pictures"]),
            self.way_grid: gr.update(label=words["way_grid"]),
            self.wish: gr.update(label=words["wish"], placeholder=words["wish_hint"]),
            self.go: words["go"],
            self.go_buttons: words["go"],
            self.go_pictures: words["go"],
            self.go_grid: words["go_grid"],
            self.style_reference: gr.update(label=words["style_reference"], placeholder=words["photo_hint"]),
            self.color_reference: gr.update(label=words["color_reference"], placeholder=words["photo_hint"]),
            self.grid_hint: words.fill("grid_hint", most=MOST_IN_GRID),
            self.strength: gr.update(label=words["strength"], info=words["strength_hint"]),
            self.result_title: f"### {words['result']}",
            self.start_over: words["start_over"],
        }

    def _view(self, words: Words, session: EditSession | None, shown: int = 0) -> Updates:
        """Return everything that changes with the photo."""
        if session is not None and not session.is_open:
            session = None
        known = session or EditSession(self.store.networks)
        styles = [] if known.style_refusal else known.hairstyles
        suggestions = words.several("suggestions_color" if known.style_refusal else "suggestions_style")
        keep = (words["keep"], "")
        named_styles, named_colors = ([(words.name(name), name) for name in names] for names in (styles, known.colors))
        return {
            self.message: draw_message(""),
            self.bundle_note: _describe_bundle(known, words),
            self.mask: _mask_value(session, words),
            self.style: gr.update(choices=[keep, *named_styles], value="", label=words["style"], visible=bool(styles)),
            self.color: gr.update(choices=[keep, *named_colors], value="", label=words["color"]),
            self.grid_styles: gr.update(
                choices=named_styles, value=[], label=words["grid_styles"], visible=bool(styles)
            ),
            self.grid_colors: gr.update(choices=named_colors, value=[], label=words["grid_colors"]),
            self.grid: "",
            self.more: gr.update(label=words["more"], visible=len(known.methods) > 1),
            self.method: gr.update(
                choices=known.methods, value=DEFAULT_METHOD, label=words["method"], info=words["method_hint"]
            ),
            **dict(zip(self.suggestions, suggestions, strict=True)),
            **self._view_edits(words, session, shown),
        }

    def _view_mask(self, words: Words, session: EditSession) -> Updates:
        return {
            self.mask: _mask_value(session, words),
            self.bundle_note: _describe_bundle(session, words),
            self.message: draw_message(words["mask_changed"]),
        }

    def _view_edits(self, words: Words, session: EditSession | None, shown: int) -> Updates:
        """Return the comparison with one edit, and the list of all."""
        edits = [] if session is None else session.edits
        edit = next((edit for edit in edits if edit.number == shown), None)
        before = Image.new("RGB", (1, 1)) if session is None else session.picture
        labels = [_label(one, words) for one in edits]
        return {
            self.shown: 0 if edit is None else edit.number,
            self.comparison: draw_comparison(before, edit, "" if edit is None else _label(edit, words), words),
            self.edits: draw_edits(edits, labels, 0 if edit is None else edit.number),
            self.download: gr.update(value=words["download"], visible=edit is not None),
            self.edits_title: gr.update(value=f"### {words['edits']}", visible=edit is not None),
        }


# ------------------------------------------------------------------------------------------ small parts


@contextmanager
def _unexpected_as_refusal() -> Iterator[None]:
    """Log an error that nobody foresaw and refuse with a sentence: a traceback may hold paths of the server."""
    try:
        yield
    except Refusal:
        raise
    except Exception:
        logging.getLogger(__name__).exception("the page could not do what was asked")
        raise Refusal("failed") from None


def _photo_input(name: str, *, height: int) -> PhotoInput:
    sources: list[Literal["upload", "webcam", "clipboard"]] = ["upload", "webcam", "clipboard"]
    return PhotoInput(sources=sources, type="filepath", height=height, elem_id=name, buttons=[])


def _heading(words: Words) -> str:
    return f"<h1>{words['title']}</h1><p>{words['intro']}</p>"


def _error(refusal: Refusal, words: Words) -> str:
    values = {"megapixels": MAX_PIXELS // 1_000_000, "megabytes": MAX_BYTES // 2**20, **refusal.values}
    return draw_message(str(refusal) if refusal.key is None else words.error(refusal.key, **values), "error")


def _describe_bundle(session: EditSession, words: Words) -> str:
    """Return which networks are used and what they cannot do."""
    if not session.is_open:
        rendered = session.networks.knows_rendered_people_alone
        return words.fill(
            "bundle_none", bundle=session.bundle, styles=words["styles_rendered" if rendered else "styles_all"]
        )
    refusal = session.style_refusal
    if refusal is None:
        return words.fill("bundle_known", bundle=session.bundle)
    return words.fill("bundle_unfit" if refusal.key == "unfit" else "bundle_stranger", bundle=session.bundle)


def _label(edit: Edit, words: Words) -> str:
    """Return what an edit is called: the text that was written, or the names that were chosen."""
    if edit.text:
        return edit.text
    names = [name for name in reversed(edit.request.names) if name]
    told = [words["by_picture"] if name == "reference" else words.name(name) for name in names]
    return ", ".join(dict.fromkeys(told))


def _describe(edit: Edit, words: Words) -> str:
    """Return what was understood, and what the person should know."""
    notes = [words.error(note) if note in words.texts["errors"] else note for note in edit.notes]
    return " ".join([edit.request.summary if edit.text else _label(edit, words), *notes])


def _mask_value(session: EditSession | None, words: Words) -> str:
    """Return what the mask's canvas shows, see `mask.js`."""
    told: dict[str, Any] = {"photo": "", "mask": "", "version": 0}
    if session is not None:
        told = {"photo": data_uri(session.picture), "mask": data_uri(session.mask), "version": session.mask_version}
    keys = ("mask_empty", "mask_canvas", "mask_add", "mask_remove", "mask_size", "mask_undo")
    return json.dumps({**told, "words": {key: words[key] for key in keys}})


def _read_strokes(told: str) -> Image.Image:
    """Return what was painted from what the canvas hands over; nothing is painted where that is damaged."""
    try:
        paint = json.loads(told or "{}").get("paint", "")
        header, _, data = paint.partition(",")
    except (ValueError, AttributeError):
        raise Refusal("nothing_painted") from None
    if header != "data:image/png;base64" or len(data) > 20_000_000:
        raise Refusal("nothing_painted")
    try:
        with open_image(base64.b64decode(data, validate=True)) as opened:
            return opened.convert("RGBA") if isinstance(opened, Image.Image) else Image.fromarray(np.asarray(opened))
    except ValueError:
        raise Refusal("nothing_painted") from None
