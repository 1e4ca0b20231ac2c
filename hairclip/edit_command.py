"""The command ``python -m hairclip edit``: from a picture and a wish to a picture."""

import argparse
from typing import TYPE_CHECKING, Any

from hairclip.errors import HairclipError, within

if TYPE_CHECKING:
    from hairclip.edit import HairEditor


def add_command(commands: Any) -> None:
    """Add ``edit`` to the subcommands of a parser."""
    edit = commands.add_parser("edit", help="edit one portrait")
    edit.add_argument("--image", required=True, help="the portrait, cropped to the face")
    edit.add_argument("--text", help="hairstyle and colour in words, such as 'red bob cut'")
    edit.add_argument("--hairstyle", help="a hairstyle in words, or a picture that shows it")
    edit.add_argument("--color", help="a colour in words, or a picture that shows it")
    edit.add_argument("--strength", type=float, default=1.0, help="0 (nothing) to 2, default 1")
    edit.add_argument("--seed", type=int, default=0)
    edit.add_argument("--out", default="edited.png", help="the picture to write (default edited.png)")
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
    edit.add_argument("--method", choices=("mapper", "optimize"), default="mapper")
    edit.add_argument("--steps", type=int, default=100, help="steps of --method optimize, default 100")
    edit.add_argument("--bundle", default="portraits", help="name or folder of the networks")
    edit.add_argument("--mapper", help="a mapper's file, such as runs/portraits/mapper.safetensors")
    edit.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    edit.set_defaults(run=_edit)


def _edit(options: argparse.Namespace) -> None:
    from hairclip.edit import compare
    from hairclip.images import check_image_path, save_image
    from hairclip.pretrained import BUNDLES
    from hairclip.prompts import split_prompt

    within("--steps", options.steps, 1)
    within("--seed", options.seed, 0)
    for path in (options.out, options.compare):  # before the work, not after it
        if isinstance(path, str):
            check_image_path(path)
    hairstyle, color = options.hairstyle, options.color
    _tell_unknown(hairstyle, color, several=options.grid)
    if options.text is not None:
        styles = _listed(None, options.bundle, "hairstyle") if options.bundle in BUNDLES else []
        parsed = split_prompt(options.text, known=[style for style in styles if style is not None] or None)
        print(parsed.message)
        hairstyle, color = hairstyle or parsed.hairstyle, color or parsed.color
    settings = {
        "strength": options.strength,
        "seed": options.seed,
        "method": options.method,
        "steps": options.steps,
        "progress": options.method == "optimize",
    }
    editor = _editor(options.bundle, options.mapper, options.device)
    if options.grid:
        styles, colors = _listed(hairstyle, options.bundle, "hairstyle"), _listed(color, options.bundle, "color")
        save_image(editor.grid(options.image, styles, colors, **settings), options.out)
    else:
        result = editor.edit(options.image, hairstyle=hairstyle, color=color, **settings)
        save_image(compare(result) if options.compare is True else result.image, options.out)
        if isinstance(options.compare, str):
            save_image(compare(result), options.compare)
            print(f"wrote {options.compare}")
    print(f"wrote {options.out}")


def _editor(bundle: str, mapper: str | None, device: str) -> "HairEditor":
    """An editor whose parts fit each other."""
    from hairclip.edit import HairEditor
    from hairclip.training.distributed import pick_device

    return HairEditor.from_bundle(bundle, device=pick_device(device), mapper=mapper)


def _listed(words: str | None, bundle: str, label: str) -> list[str | None]:
    """The rows or columns of a grid: what stays, then the words given, or all that label the bundle's latents."""
    from hairclip.pretrained import BUNDLES, load_latent_labels
    from hairclip.prompts import COLORS, HAIRSTYLES

    everything = list(HAIRSTYLES if label == "hairstyle" else COLORS)
    if words is not None:
        named = [word.strip() for word in words.split(",") if word.strip()]
        if not named:
            raise HairclipError(f"--{label} {words!r} names nothing: list words, comma between them, or leave it out.")
        return [None, *named]
    if BUNDLES.get(bundle, {}).get("latents", "").startswith(f"{bundle}/"):  # embedded: others have no labels
        labels = load_latent_labels(BUNDLES[bundle]["latents"])
        present = set((labels or {}).get(label) or everything)
        everything = [name for name in everything if name in present] + sorted(present - set(everything))
    return [None, *everything]


def _tell_unknown(hairstyle: str | None, color: str | None, *, several: bool) -> None:
    """Print which words of --hairstyle and --color no network was trained on: they may be mistyped."""
    from hairclip.edit import as_wish
    from hairclip.prompts import unknown_word

    for words, is_color in ((hairstyle, False), (color, True)):
        for word in (words.split(",") if several else [words]) if words else []:
            wish = as_wish(word) if word.strip() else None
            note = unknown_word(wish, "color" if is_color else "hairstyle") if isinstance(wish, str) else None
            if note is not None:
                print(note)
