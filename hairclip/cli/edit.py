"""The command ``python -m hairclip edit``: from a photo, or a folder of them, and wishes to edited photos."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hairclip.cli.edit_arguments import beside, changed, editing, inverting, photo_editor, slug, timing
from hairclip.common.errors import HairclipError, check_range

if TYPE_CHECKING:
    from hairclip.cli.edit_wishes import NamedWish
    from hairclip.common.stopwatch import Stopwatch
    from hairclip.editing.photo_editor import PhotoEditor
    from hairclip.editing.photo_result import Ask, OpenPhoto, PhotoResult


def add_command(commands: Any) -> None:
    """Add ``edit`` to the subcommands of a parser."""
    edit = commands.add_parser(
        "edit",
        help="edit a photo, or a folder of photos",
        description="Edit the hair in a photo: read it, find the face, align, invert, edit, blend, paste back, write. "
        "With a folder as --image, every photo in it goes to the folder --out; those that cannot be edited are named "
        "at the end, the exit code is then 1, and a second run does only what is left.",
    )
    edit.add_argument("--image", required=True, metavar="PATH", help="the photo, or a folder of photos")
    edit.add_argument("--out", metavar="PATH", help="the photo to write (default: edited, in the photo's format)")
    edit.add_argument(
        "--text",
        action="append",
        default=[],
        help="hairstyle and colour in words, such as 'red bob cut'; each --text is an edit of its own, written to "
        "OUT_1_red_bob_cut.jpg and so on",
    )
    edit.add_argument("--edits", metavar="FILE", help="more texts, one per line")
    edit.add_argument("--hairstyle", help="a hairstyle in words, or a photo of someone who wears it")
    edit.add_argument("--color", help="a colour in words, or a photo of someone who wears it")
    edit.add_argument("--strength", type=float, default=1.0, help="0 (nothing) to 2, default 1")
    edit.add_argument("--seed", type=int, default=0)
    edit.add_argument(
        "--face", default="largest", metavar="largest|left|right|all|N", help="which face, N counted from the left"
    )
    edit.add_argument("--aligned", action="store_true", help="the picture is already cropped to the face")
    edit.add_argument(
        "--framing",
        choices=("auto", "ffhq", "portraits"),
        default="auto",
        help="the crop that the networks were trained on (default: by the size of their pictures)",
    )
    edit.add_argument(
        "--compare",
        nargs="?",
        const=True,
        metavar="PATH",
        help="write source, inversion and edit as one picture: to PATH beside --out, or without PATH to --out itself",
    )
    edit.add_argument(
        "--grid",
        action="store_true",
        help="write a contact sheet, hairstyles times colours, to --out; --hairstyle and --color may list words, comma "
        "between them (default: all that the bundle knows)",
    )
    edit.add_argument(
        "--steps",
        type=int,
        metavar="N",
        help="write N pictures, OUT_001.jpg and so on, that turn from each --text's edit into the next, or with one "
        "text from the inverted photo into its edit",
    )
    edit.add_argument("--gif", action="store_true", help="with --steps: also an animated GIF, OUT.gif")
    edit.add_argument("--invert", choices=("encoder", "optimize", "pivotal"), default="encoder", help=INVERT)
    edit.add_argument("--invert-steps", type=int, default=100, help="steps of optimize or pivotal, default 100")
    edit.add_argument("--no-cache", action="store_true", help="invert anew, and do not keep the inversion")
    edit.add_argument(
        "--blend",
        choices=("feather", "laplacian", "poisson"),
        help="how the edit is joined to the photo (default: feather)",
    )
    edit.add_argument(
        "--behind",
        choices=("photo", "edit"),
        default="photo",
        help="what is seen where hair was: the photo's background continued (default), or the generator's",
    )
    edit.add_argument(
        "--strands",
        choices=("photo", "edit"),
        default="photo",
        help="whose hair takes a new colour where the hairstyle stays: the photo's own strands (default), or the "
        "generator's hair",
    )
    edit.add_argument("--no-blend", action="store_true", help="paste the generator's picture as it is")
    edit.add_argument("--method", choices=("mapper", "optimize"), default="mapper")
    edit.add_argument("--optimize-steps", type=int, default=100, help="steps of --method optimize, default 100")
    edit.add_argument("--save-stages", metavar="DIR", help="write every stage as a picture into this folder")
    edit.add_argument("--timing", action="store_true", help="print the seconds of each stage")
    edit.add_argument("--bundle", default="portraits", help="name or folder of the networks")
    edit.add_argument("--mapper", help="a mapper's file, such as runs/portraits/mapper.safetensors")
    edit.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    edit.set_defaults(run=_edit)


INVERT = (
    "how the photo's codes are found: one pass of the encoder (default), descent on the codes, or then tuning a copy "
    "of the generator to the photo"
)


def _edit(options: argparse.Namespace) -> int | None:
    from hairclip.common.stopwatch import Stopwatch

    watch = Stopwatch()
    with watch("start"):  # what Python loads for it
        from hairclip.common.images import save_image

        wishes = _checked(options)
        editor = photo_editor(options)
    if os.path.isdir(options.image):
        from hairclip.cli.edit_folder import edit_folder_by

        return edit_folder_by(options, wishes, editor, editing(options))
    asks = _asks_of_grid(options, editor, wishes[0]) if options.grid else []
    asks = asks or [editor.ask(wish.hairstyle, wish.color) for wish in wishes]
    opened = editor.open(options.image, face=options.face, aligned=options.aligned, **inverting(options))
    if options.no_blend:
        opened.refuse_stranger()
    for note in dict.fromkeys([*opened.notes, *(note for ask in asks for note in ask.notes)]):
        print(f"note: {note}")
    if options.grid:
        styles = [ask.hairstyle for ask in asks if ask.color is None]
        colors = [ask.color for ask in asks if ask.hairstyle is None]
        save_image(editor.editor.grid(opened.prepared[[0]], styles, colors, **editing(options)), options.out)
        print(f"wrote {options.out}")
        return None
    if options.steps is not None:
        _write_frames(options, editor, opened, asks)
        return None
    for number, (ask, wish) in enumerate(zip(asks, wishes, strict=True), start=1):
        added = f"_{number}_{slug(wish.label)}" if len(wishes) > 1 else ""
        (result,) = editor.edit_open([opened], ask, **editing(options))
        _write(options, result, added, watch)
    return None


def _checked(options: argparse.Namespace) -> list["NamedWish"]:
    """What is asked for; whatever cannot be done is told before the work, not after it."""
    from hairclip.cli.edit_wishes import read_wishes
    from hairclip.common.images import check_image_path
    from hairclip.editing.editor import check_request
    from hairclip.editing.photo.faces import as_choice

    for option, least in (("optimize_steps", 1), ("invert_steps", 1), ("seed", 0), ("steps", 2)):
        if getattr(options, option) is not None:
            check_range(f"--{option.replace('_', '-')}", getattr(options, option), least)
    if options.gif and options.steps is None:
        raise HairclipError("--gif needs the number of its pictures: add --steps 24.")
    for option in ("grid", "compare", "save_stages"):
        if options.steps is not None and getattr(options, option):
            raise HairclipError(f"--{option.replace('_', '-')} shows single edits: leave it out, or leave out --steps.")
    folder = os.path.isdir(options.image)
    if options.out is None:
        suffix = Path(options.image).suffix.lower()
        kept = suffix if suffix in (".jpg", ".jpeg", ".png", ".webp") and not options.grid else ".png"
        options.out = "edited" if folder else f"edited{kept}"
    for path in (None if folder else options.out, options.compare):
        if isinstance(path, str):
            check_image_path(path, [options.image, options.hairstyle, options.color])
    options.face = as_choice(options.face)
    wishes = read_wishes(options)
    if options.grid and len(wishes) > 1:
        raise HairclipError("--grid makes one sheet: give one --text, or lists as --hairstyle and --color.")
    for wish in wishes:
        check_request(["all"] if options.grid else [wish.hairstyle, wish.color], options.strength)
    return wishes


def _write(options: argparse.Namespace, result: "PhotoResult", added: str, started: "Stopwatch") -> None:
    from hairclip.common.images import save_image
    from hairclip.common.sheets import stacked
    from hairclip.common.stopwatch import Stopwatch
    from hairclip.editing.editor import compare
    from hairclip.editing.stages import save_stages

    out, watch = beside(options.out, added), Stopwatch()
    with watch("write"):
        if options.compare is True:
            save_image(stacked([compare(edit) for edit in result.edits]), out)
        else:
            result.save(out)
    if isinstance(options.compare, str):
        save_image(stacked([compare(edit) for edit in result.edits]), beside(options.compare, added))
        print(f"wrote {beside(options.compare, added)}")
    if options.save_stages:
        stages = Path(options.save_stages) / added.strip("_")
        save_stages(result, stages)
        print(f"wrote the stages to {stages}")
    print(f"wrote {out}{'' if options.compare is True else f': {changed(result)}'}")
    if options.timing:
        print(timing({**started.seconds, **result.seconds, **watch.seconds}))


def _asks_of_grid(options: argparse.Namespace, editor: "PhotoEditor", wish: "NamedWish") -> list["Ask"]:
    """Rows, which ask for no colour, and columns, which ask for no hairstyle; what asks for nothing is both."""
    from hairclip.cli.edit_wishes import listed

    styles = listed(wish.hairstyle, options.bundle, "hairstyle")
    colors = listed(wish.color, options.bundle, "color")
    rows = [editor.ask(hairstyle=style) for style in styles]
    return rows + [editor.ask(color=color) for color in colors if color is not None]


def _write_frames(options: argparse.Namespace, editor: "PhotoEditor", opened: "OpenPhoto", asks: list["Ask"]) -> None:
    from PIL import Image

    from hairclip.common.images import save_image
    from hairclip.common.progress import progress_bar

    small: list[Image.Image] = []
    frames = editor.frames(opened, asks, options.steps, **editing(options))
    digits = max(3, len(str(options.steps)))
    for number, result in enumerate(progress_bar(frames, label="frames", total=options.steps), start=1):
        result.save(beside(options.out, f"_{number:0{digits}}"))
        if options.gif:
            shown = result.picture.convert("RGB")
            shown.thumbnail((640, 640), Image.Resampling.LANCZOS)
            small.append(shown)
    first, last = (beside(options.out, f"_{number:0{digits}}") for number in (1, options.steps))
    print(f"wrote {first} to {last}")
    if options.gif:
        there_and_back = [*small, *small[-2:0:-1]]
        path = Path(options.out).with_suffix(".gif")
        save_image(
            there_and_back[0], path, save_all=True, append_images=there_and_back[1:], duration=80, loop=0, optimize=True
        )
        print(f"wrote {path}")
