"""The command `python -m hairclip edit`: edit the hair in a photo, in a folder of photos, or of codes."""

import argparse
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from hairclip.cli.edit_arguments import (
    add_fields,
    beside,
    describe_change,
    describe_seconds,
    load_photo_editor,
    load_photo_editor_of,
    name_flags,
    name_flags_in_errors,
    read_fields,
)
from hairclip.cli.shared_arguments import DEVICE_HELP
from hairclip.common.errors import HairclipError, check_range

if TYPE_CHECKING:
    from hairclip.common.stopwatch import Stopwatch
    from hairclip.editing.bundle_choice import BundleChooser
    from hairclip.editing.folder import OtherEditor
    from hairclip.editing.options import EditOptions, InversionOptions
    from hairclip.editing.photo.masks import PaintedMasks
    from hairclip.editing.photo_editor import PhotoEditor
    from hairclip.editing.photo_result import CutPhoto, OpenPhoto
    from hairclip.editing.request import EditRequest


def add_command(commands: Any) -> None:
    """Add `edit` to the subcommands of a parser."""
    from hairclip.editing.choices import Precision
    from hairclip.editing.options import EditOptions, InversionOptions

    edit = commands.add_parser(
        "edit",
        help="edit the hair in a photo, in a folder of photos, or of W+ codes",
        description="Edit the hair in a photo. With a folder as --image, every photo in it is edited into the folder "
        "--out. Photos that cannot be edited are named at the end, and the exit code is then 1. A second run edits "
        "only what is left. With --latents, codes are edited instead of photos, and the pictures are the generator's.",
    )
    source = edit.add_mutually_exclusive_group(required=True)
    source.add_argument("--image", metavar="PATH", help="the photo, or a folder of photos")
    source.add_argument(
        "--latents",
        metavar="NAME|PATH",
        help="W+ codes to edit in place of photos: a file of encode, an official .pt, or a name such as "
        "portraits/latents; --out is then a folder of pictures 00000.png, named by the code's number",
    )
    edit.add_argument(
        "--range", metavar="A:B", help="with --latents: codes A to B-1; both ends may be left out (default: all)"
    )
    edit.add_argument(
        "--save-codes", metavar="PATH", help="with --latents: also write the edited codes into this .safetensors file"
    )
    edit.add_argument("--out", metavar="PATH", help="the photo to write (default: edited, in the photo's format)")
    edit.add_argument(
        "--text",
        action="append",
        default=[],
        metavar="TEXT|@FILE",
        help="hairstyle and color in words, such as 'red bob cut'; @FILE reads one text from each line of a file. "
        "Several texts give several edits: OUT_1_red_bob_cut.jpg and so on",
    )
    edit.add_argument(
        "--hairstyle", metavar="TEXT|PATH", help="a hairstyle in words, or a photo of somebody who wears it"
    )
    edit.add_argument("--color", metavar="TEXT|PATH", help="a color in words, or a photo of somebody who wears it")
    edit.add_argument(
        "--face",
        default="largest",
        metavar="largest|left|right|all|N",
        help="which face; N counts from the left (default largest)",
    )
    edit.add_argument("--aligned", action="store_true", help="the picture is already cropped to the face")
    add_fields(edit, EditOptions, InversionOptions)
    edit.add_argument(
        "--compare", metavar="PATH", help="also write the crop, its inversion and its edit as one picture"
    )
    edit.add_argument(
        "--grid",
        action="store_true",
        help="write a contact sheet to --out: a row per hairstyle, a column per color. --hairstyle and --color "
        "then are lists of words with commas between them (default: all words that the networks know)",
    )
    edit.add_argument(
        "--frames",
        type=int,
        metavar="N",
        help="write N pictures, OUT_001.jpg and so on, that morph from the edit of each --text to the next; with one "
        "text, from the inversion to its edit",
    )
    edit.add_argument("--gif", action="store_true", help="with --frames: also write an animated GIF, OUT.gif")
    edit.add_argument(
        "--save-stages", metavar="DIR", help="write every stage of the edit as a picture into this folder"
    )
    edit.add_argument(
        "--mask",
        metavar="PATH",
        help="where the hair is, in place of what is found: a picture of the photo's size, white is hair, gray in part",
    )
    edit.add_argument("--mask-add", metavar="PATH", help="the same, white is hair besides what is found")
    edit.add_argument("--mask-remove", metavar="PATH", help="the same, white is no hair")
    edit.add_argument(
        "--save-mask", metavar="PATH", help="also write the soft mask of the edit, of the photo's size, white on black"
    )
    edit.add_argument("--timing", action="store_true", help="print the seconds of each stage")
    edit.add_argument(
        "--bundle",
        default="auto",
        metavar="NAME",
        help="name or folder of the networks, or hf-hub:USER/NAME; auto (default) takes portraits for rendered people, "
        "portraits-256 where these are large, and ffhq for real photos where it is fetched",
    )
    edit.add_argument("--mapper", metavar="PATH", help="a mapper's file, such as runs/portraits/mapper.safetensors")
    edit.add_argument("--device", default="auto", metavar="NAME", help=DEVICE_HELP)
    edit.add_argument(
        "--precision",
        choices=get_args(Precision),
        default="float32",
        help="type of number in which networks compute (default float32; the others save time on GPUs)",
    )
    edit.set_defaults(run=_edit)


def _edit(options: argparse.Namespace) -> int | None:
    from hairclip.common.stopwatch import Stopwatch
    from hairclip.editing.options import EditOptions, InversionOptions

    with name_flags_in_errors(EditOptions, InversionOptions):
        watch = Stopwatch()
        with watch("start"):  # what Python loads
            editing, inverting = read_fields(EditOptions, options), read_fields(InversionOptions, options)
            texts = _check(options)
            chooser = _make_chooser(options)
            editor = load_photo_editor(options) if chooser is None else chooser.editor("portraits")
            editor.editor.check([], editing)
        if options.latents is not None:
            from hairclip.cli.edit_latents import write_latents

            write_latents(options, editor.editor, _print_requests(_ask(options, editor, texts, watch)), editing, watch)
            return None
        chosen: OpenPhoto | None = None
        if options.grid:
            if chooser is not None:
                editor, chosen = _open_with_choice(options, chooser, inverting)
            _write_grid(options, editor, editing, chosen or _open(options, editor, inverting))
            return None
        if os.path.isdir(options.image):
            from hairclip.cli.edit_folder import write_folder

            requests = _print_requests(_ask(options, editor, texts, watch))
            others = [] if chooser is None else _find_other_editors(options, chooser, texts, editing)
            return write_folder(options, requests, editor, editing, inverting, others)
        if chooser is None:
            requests = _ask(options, editor, texts, watch)
        else:
            editor, requests, chosen = _choose(options, chooser, texts, editing, inverting, watch)
        _print_requests(requests)
        editor.check(requests, editing)
        opened = chosen or _open_for(requests, options, editor, editing, inverting)
        _print_notes(opened.notes)
        if options.frames is not None:
            _write_frames(options, editor, opened, requests, editing)
        else:
            _write_edits(options, editor, opened, requests, editing, watch)
        return None


# ------------------------------------------------------------------------------------------ reading the command line


_MASKS = ("mask", "mask_add", "mask_remove")
"""Arguments that name masks which a person painted."""


def _check(options: argparse.Namespace) -> list[str]:
    """Refuse what cannot be done before the work starts; fill in --out and --face. Returns the texts."""
    from hairclip.common.image_files import KEPT_SUFFIXES
    from hairclip.common.images import check_image_path
    from hairclip.editing.photo.faces import as_choice

    texts = [text for given in options.text for text in _read_texts(given)]
    if options.latents is not None:
        from hairclip.cli.edit_latents import check_latents

        check_latents(options)
        return texts
    for name in ("range", "save_codes"):
        if getattr(options, name) is not None:
            raise HairclipError(f"--{name.replace('_', '-')} is of codes: give --latents in place of --image.")
    if not options.image:
        raise HairclipError("--image is empty: give the path of a photo or of a folder of photos.")
    if options.frames is not None:
        check_range("--frames", options.frames, 2)
    if options.gif and options.frames is None:
        raise HairclipError("--gif needs the number of its pictures: add --frames 24.")
    for option in ("grid", "compare", "save_stages", "save_mask"):
        flag = f"--{option.replace('_', '-')}"
        if options.frames is not None and getattr(options, option):
            raise HairclipError(f"{flag} shows single edits: leave it out, or leave out --frames.")
    if options.grid and options.text:
        raise HairclipError("--grid takes lists of words as --hairstyle and --color: leave out --text.")
    for kind in ("hairstyle", "color") if options.grid else ():
        _split_words(options, kind)
    is_folder = os.path.isdir(options.image)
    for option in ("grid", "frames", "compare", *_MASKS, "save_mask") if is_folder else ():
        if getattr(options, option):
            flag = f"--{option.replace('_', '-')}"
            raise HairclipError(f"{flag} is for one photo: give a file as --image, not a folder.")
    if options.grid and options.save_mask:
        raise HairclipError("--save-mask shows single edits: leave it out, or leave out --grid.")
    if options.out is None:
        suffix = Path(options.image).suffix.lower()
        kept = suffix if suffix in KEPT_SUFFIXES and not options.grid else ".png"
        options.out = "edited" if is_folder else f"edited{kept}"
    given = [options.image, options.hairstyle, options.color, *(getattr(options, mask) for mask in _MASKS)]
    for path in (None if is_folder else options.out, options.compare, options.save_mask):
        if path is not None:
            check_image_path(path, given)
    options.face = as_choice(options.face)
    return texts


def _read_texts(given: str) -> list[str]:
    """Return the text, or the lines of the file that @FILE names; empty lines are left out."""
    if not given.startswith("@"):
        return [given]
    try:
        with open(given[1:], encoding="utf-8") as file:
            texts = [line.strip() for line in file if line.strip()]
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise HairclipError(f"--text {given} cannot be read ({reason}): give a file with one text per line.") from None
    if not texts:
        raise HairclipError(f"--text {given} names no edit: write one per line, such as 'red bob cut'.")
    return texts


def _ask(
    options: argparse.Namespace, editor: "PhotoEditor", texts: list[str], watch: "Stopwatch"
) -> list["EditRequest"]:
    """Return one request per text; without a text, one for --hairstyle and --color."""
    from hairclip.editing.request import check_requests

    words: list[str | None] = [*texts] or [None]
    asked = [editor.ask(options.hairstyle, options.color, text=text, watch=watch) for text in words]
    check_requests(asked)
    return asked


def _print_requests(requests: list["EditRequest"]) -> list["EditRequest"]:
    """Print how requests were understood, and return them."""
    for request in requests:
        print(request.summary)
    _print_notes([note for request in requests for note in request.notes])
    return requests


def _print_notes(notes: list[str]) -> None:
    """Print each note once, with arguments of the library named as flags."""
    from hairclip.editing.options import EditOptions, InversionOptions

    for note in dict.fromkeys(notes):
        print(f"note: {name_flags(note, EditOptions, InversionOptions)}")


def _make_chooser(options: argparse.Namespace) -> "BundleChooser | None":
    """Return what chooses the networks for --bundle auto; None where they are named, or a mapper or codes tell."""
    from hairclip.editing.bundle_choice import AUTO, BundleChooser, bundle_of_latents, bundle_of_mapper

    if options.bundle != AUTO:
        return None
    if options.mapper is not None:
        options.bundle = bundle_of_mapper(options.mapper)
        print(f"bundle {options.bundle}: the mapper {options.mapper} fits it")
        return None
    if options.latents is not None:
        options.bundle = bundle_of_latents(options.latents)
        print(f"bundle {options.bundle}: the codes {options.latents} fit it")
        return None
    return BundleChooser(partial(load_photo_editor_of, options), method=options.method)


def _choose(
    options: argparse.Namespace,
    chooser: "BundleChooser",
    texts: list[str],
    editing: "EditOptions",
    inverting: "InversionOptions",
    watch: "Stopwatch",
) -> tuple["PhotoEditor", list["EditRequest"], "OpenPhoto | None"]:
    """Choose the networks that a photo and its requests need, and print which and why.

    Returns:
        The editor, the requests in words that its networks know, and the opened photo. The photo is None where it need
        not be inverted.
    """
    editor = chooser.editor("portraits")
    try:
        requests = _ask(options, editor, texts, watch)
    except HairclipError:  # the other networks may know more words
        if not chooser.real_is_ready:
            raise
        requests = []
    if requests and all(editor.dyes(request, editing) for request in requests):
        print("bundle portraits: a new color alone needs its parser of photos and no generator")
        return editor, requests, None
    chosen, opened = _open_with_choice(options, chooser, inverting)
    if not requests or chosen is not editor:
        requests = _ask(options, chosen, texts, watch)
    opened.refuse_strangers(requests, editing)
    if any(chosen.dyes(request, editing) for request in requests):
        opened = cast("OpenPhoto", chosen.find_hair(opened))
    return chosen, requests, opened


def _open_with_choice(
    options: argparse.Namespace, chooser: "BundleChooser", inverting: "InversionOptions"
) -> tuple["PhotoEditor", "OpenPhoto"]:
    """Open the photo with the networks that know it; print which, and why."""
    choice = chooser.open(
        options.image,
        face=options.face,
        aligned=options.aligned,
        masks=_read_masks(options),
        inverting=inverting,
        progress=inverting.inversion != "encoder",
    )
    print(choice.reason)
    options.bundle = choice.bundle
    return choice.editor, choice.opened


def _find_other_editors(
    options: argparse.Namespace, chooser: "BundleChooser", texts: list[str], editing: "EditOptions"
) -> list["OtherEditor"]:
    """Return the editors of a folder's real photos and of its large ones, where photos need one. Print the choice."""
    from hairclip.editing.folder import OtherEditor

    rendered = chooser.editor("portraits")
    words: list[str | None] = [*texts] or [None]
    if all(rendered.dyes(rendered.ask(options.hairstyle, options.color, text=text), editing) for text in words):
        print("bundle portraits: a new color alone needs its parser of photos and no generator")
        return []
    takes: dict[str, Callable[[CutPhoto], bool]] = {}
    if chooser.real_is_ready:
        takes["ffhq"] = chooser.is_real
        print("bundle portraits for rendered people, ffhq for real photos, as the encoder of portraits rebuilds each")
    else:
        print("bundle portraits: the networks of real photos are not here (python -m hairclip download ffhq)")
    if chooser.has_larger:
        takes["portraits-256"] = chooser.is_large
        print("bundle portraits-256 for rendered people whose faces are large")
    others = []
    for bundle, takes_photo in takes.items():
        editor = chooser.editor(bundle)
        requests = [editor.ask(options.hairstyle, options.color, text=text) for text in words]
        others.append(OtherEditor(editor, requests, takes_photo))
    return others


def _read_masks(options: argparse.Namespace) -> "PaintedMasks":
    from hairclip.editing.photo.masks import PaintedMasks

    return PaintedMasks(*(getattr(options, mask) for mask in _MASKS))


def _open(options: argparse.Namespace, editor: "PhotoEditor", inverting: "InversionOptions") -> "OpenPhoto":
    return editor.open(
        options.image,
        face=options.face,
        aligned=options.aligned,
        masks=_read_masks(options),
        inverting=inverting,
        progress=inverting.inversion != "encoder",
    )


def _open_for(
    requests: list["EditRequest"],
    options: argparse.Namespace,
    editor: "PhotoEditor",
    editing: "EditOptions",
    inverting: "InversionOptions",
) -> "CutPhoto":
    """Return the photo as the requests need it: with its hair found where they dye, inverted where they do not."""
    dyed = [editor.dyes(request, editing) for request in requests]
    if all(dyed):
        masks = _read_masks(options)
        return editor.find_hair(editor.cut(options.image, face=options.face, aligned=options.aligned, masks=masks))
    opened = _open(options, editor, inverting)
    opened.refuse_strangers(requests, editing)
    return editor.find_hair(opened) if any(dyed) else opened


# ------------------------------------------------------------------------------------------ writing pictures


def _write_edits(
    options: argparse.Namespace,
    editor: "PhotoEditor",
    opened: "CutPhoto",
    requests: list["EditRequest"],
    editing: "EditOptions",
    started: "Stopwatch",
) -> None:
    """Write the edit of each request, and what --compare, --save-stages and --timing ask for."""
    from hairclip.common.images import save_image
    from hairclip.common.stopwatch import Stopwatch
    from hairclip.editing.request import name_files
    from hairclip.editing.stages import save_stages

    for request, added in zip(requests, name_files(requests), strict=True):
        (result,) = editor.edit_open([opened], request, editing, progress=editing.method != "mapper")
        out, watch = beside(options.out, added), Stopwatch()
        with watch("write"):
            result.save(out)
        if options.compare:
            save_image(result.compare(), beside(options.compare, added))
            print(f"wrote {beside(options.compare, added)}")
        if options.save_mask:
            save_image(result.mask, beside(options.save_mask, added))
            print(f"wrote the mask to {beside(options.save_mask, added)}")
        if options.save_stages:
            stages = Path(options.save_stages) / added.strip("_")
            save_stages(result, stages)
            print(f"wrote the stages to {stages}")
        print(f"wrote {out}: {describe_change(result)}")
        if options.timing:
            print(describe_seconds({**started.seconds, **result.seconds, **watch.seconds}))


def _write_grid(
    options: argparse.Namespace, editor: "PhotoEditor", editing: "EditOptions", opened: "OpenPhoto"
) -> None:
    """Write a contact sheet of one photo: a row per hairstyle, a column per color, the first of each unchanged."""
    from hairclip.common.images import save_image

    hairstyles = _list_words(options, "hairstyle")
    colors = _list_words(options, "color")
    rows = [editor.ask(hairstyle=word) for word in hairstyles]
    columns = [editor.ask(color=word, any_color=False) for word in colors]
    opened.refuse_strangers([*rows, *columns], editing)
    _print_notes([*opened.notes, *(note for request in [*rows, *columns] for note in request.notes)])
    sheet = editor.editor.grid(
        opened.prepared[[0]],
        [None, *(row.hairstyle for row in rows)],
        [None, *(column.color for column in columns)],
        options=editing,
    )
    save_image(sheet, options.out)
    print(f"wrote {options.out}")


def _list_words(options: argparse.Namespace, kind: str) -> list[str]:
    """Return the words of --hairstyle or --color, or all that the networks know."""
    words = _split_words(options, kind)
    if words is not None:
        return words
    from hairclip.editing.vocabulary import list_colors, list_hairstyles

    return (list_hairstyles if kind == "hairstyle" else list_colors)(options.bundle)


def _split_words(options: argparse.Namespace, kind: str) -> list[str] | None:
    """Return the words of --hairstyle or --color, None where the option is not given."""
    words = getattr(options, kind)
    if words is None:
        return None
    named = [word.strip() for word in words.split(",") if word.strip()]
    if not named:
        raise HairclipError(f"--{kind} {words!r} names nothing: list words, comma between them, or leave it out.")
    return named


def _write_frames(
    options: argparse.Namespace,
    editor: "PhotoEditor",
    opened: "CutPhoto",
    requests: list["EditRequest"],
    editing: "EditOptions",
) -> None:
    """Write the pictures of an animation, and with --gif the animation."""
    from PIL import Image

    from hairclip.common.images import save_image
    from hairclip.common.progress import progress_bar

    small: list[Image.Image] = []
    frames = editor.frames(opened, requests, options.frames, editing, progress=editing.method != "mapper")
    digits = max(3, len(str(options.frames)))
    for number, result in enumerate(progress_bar(frames, label="frames", total=options.frames), start=1):
        result.save(beside(options.out, f"_{number:0{digits}}"))
        if options.gif:
            shown = result.picture.convert("RGB")
            shown.thumbnail((640, 640), Image.Resampling.LANCZOS)
            small.append(shown)
    first, last = (beside(options.out, f"_{number:0{digits}}") for number in (1, options.frames))
    print(f"wrote {first} to {last}")
    if options.gif:
        there_and_back = [*small, *small[-2:0:-1]]
        path = Path(options.out).with_suffix(".gif")
        save_image(
            there_and_back[0], path, save_all=True, append_images=there_and_back[1:], duration=80, loop=0, optimize=True
        )
        print(f"wrote {path}")
