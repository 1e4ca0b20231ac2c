"""The parts of the page that are plain HTML: message, comparison, edits, grid. Every text in them is escaped."""

import base64
import html
import io
from collections.abc import Sequence
from typing import Literal

from PIL import Image

from hairclip.common.hair_colors import NAMED_RGB
from hairclip.demo.session import Edit, Grid
from hairclip.demo.words import Words

_DRAG = (
    "if (event.buttons) { const box = this.getBoundingClientRect(), slider = this.nextElementSibling;"
    "slider.value = 100 * (event.clientX - box.left) / box.width; slider.oninput(); }"
)

__all__ = ["data_uri", "draw_comparison", "draw_edits", "draw_grid", "draw_message", "draw_swatches"]


def data_uri(picture: Image.Image, quality: int = 90) -> str:
    """Return a picture as an address that holds it: nothing is written to a disk."""
    file, kind = io.BytesIO(), "PNG" if picture.mode == "L" else "JPEG"
    picture.save(file, kind, **({} if kind == "PNG" else {"quality": quality}))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


def draw_message(text: str, kind: Literal["ok", "busy", "error"] = "ok") -> str:
    """Return one sentence. Screen readers speak it: at once where it tells of an error."""
    role = ' role="alert"' if kind == "error" else ""
    return f'<div role="status" aria-live="polite"><p class="{kind}"{role}>{html.escape(text)}</p></div>'


def draw_comparison(before: Image.Image, edit: Edit | None, label: str, words: Words) -> str:
    """Return photo and edit above each other, with a slider that uncovers the photo."""
    if edit is None:
        return f'<p class="empty">{html.escape(words["result_empty"])}</p>'
    told = {key: html.escape(words[key]) for key in ("before", "after", "slider")}
    caption = html.escape(label)
    return (
        f'<figure class="compare" data-edit="{edit.number}" style="--at: 50%">'
        f'<div class="pictures" onpointerdown="{_DRAG}" onpointermove="{_DRAG}">'
        f'<img class="before" draggable="false" alt="{told["before"]}" src="{data_uri(before)}">'
        f'<img class="after" draggable="false" alt="{told["after"]}: {caption}" src="{data_uri(edit.picture)}">'
        f'<span class="left">{told["before"]}</span><span class="right">{told["after"]}</span></div>'
        f'<input type="range" min="0" max="100" value="50" aria-label="{told["slider"]}" '
        "oninput=\"this.setAttribute('value', this.value);"
        "this.closest('figure').style.setProperty('--at', this.value + '%')\">"
        f"<figcaption>{caption}</figcaption></figure>"
    )


def draw_edits(edits: Sequence[Edit], labels: Sequence[str], shown: int) -> str:
    """Return one button for each edit; the shown one is pressed."""
    rows = []
    for edit, label in zip(edits, labels, strict=True):
        small = edit.picture.copy()
        small.thumbnail((240, 240))
        pressed = "true" if edit.number == shown else "false"
        rows.append(
            f'<li><button type="button" data-number="{edit.number}" aria-pressed="{pressed}">'
            f'<img alt="" src="{data_uri(small, 80)}"><span>{html.escape(label)}</span></button></li>'
        )
    return f'<ul class="edits">{"".join(rows)}</ul>' if rows else ""


def draw_grid(grid: Grid, words: Words) -> str:
    """Return a table: a row per hairstyle, a column per color."""
    rows, columns = (
        [words["keep"] if name is None else words.name(name) for name in names]
        for names in (grid.hairstyles, grid.colors)
    )
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in columns)
    body = ""
    for row, pictures in zip(rows, grid.pictures, strict=True):
        cells = "".join(
            f'<td><img alt="{html.escape(row)}, {html.escape(column)}" src="{data_uri(picture, 85)}"></td>'
            for column, picture in zip(columns, pictures, strict=True)
        )
        body += f'<tr><th scope="row">{html.escape(row)}</th>{cells}</tr>'
    caption = html.escape(words["grid"])
    return (
        f'<div class="grid-scroll" tabindex="0" role="region" aria-label="{caption}">'
        f"<table><thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def draw_swatches() -> str:
    """Return CSS that shows each color beside its name."""
    dots = ".choices label:has(input[value='{0}'])::before {{ background: rgb({1}); }}"
    shape = "{ content: ''; width: 14px; height: 14px; border-radius: 50%; border: 1px solid #8888; flex: none; }"
    names = ", ".join(f".choices label:has(input[value='{name}'])::before" for name in NAMED_RGB)
    return "\n".join(
        [f"{names} {shape}", *(dots.format(name, ", ".join(map(str, rgb))) for name, rgb in NAMED_RGB.items())]
    )
