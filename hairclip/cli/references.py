"""The command `python -m hairclip references`: write edited faces as reference pictures, a folder per word."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from hairclip.cli.edit_arguments import add_fields, name_flags_in_errors, read_fields
from hairclip.cli.shared_arguments import DEVICE_HELP
from hairclip.common.errors import HairclipError

if TYPE_CHECKING:
    from hairclip.editing.editor import HairEditor
    from hairclip.editing.reference_sets import SetKind, WordSet
    from hairclip.pretrained.bundle_files import Source
    from hairclip.training.latents import LatentSet

_HOW = ("strength", "method", "method_settings", "steps")
"""Fields of `EditOptions` that are arguments; the others say how an edit is joined to a photo."""

_DRAWN = 1_000_000  # codes that `--latents sampled` chooses among; the same however many pictures are wanted


def add_command(commands: Any) -> None:
    """Add `references` to the subcommands of a parser."""
    from hairclip.editing.choices import Precision
    from hairclip.editing.options import EditOptions

    references = commands.add_parser(
        "references",
        help="write edited faces as reference pictures for training, a folder per word",
        description="Edit training faces by every word and write the pictures into a folder per word: OUT/red hair/"
        "00000.jpg, OUT/afro hairstyle/00000.jpg. Training reads them by data.color_folders=OUT and "
        "data.hairstyle_folders=OUT. A hairstyle is taken only where the bundle's classifier, or CLIP where there is "
        "none, agrees. A second run goes on where the first one stopped. With torchrun, several processes share the "
        "work. The exit code is 1 where a word has too few pictures.",
    )
    references.add_argument("--out", required=True, metavar="DIR", help="the folder of the sets")
    references.add_argument(
        "--kind", choices=("color", "hairstyle", "all"), default="all", help="which sets to write (default all)"
    )
    for kind in ("color", "hairstyle"):
        references.add_argument(
            f"--{kind}s", metavar="WORDS", help=f"{kind}s with commas between them (default: all that the bundle knows)"
        )
    references.add_argument("--count", type=int, default=4000, metavar="N", help="pictures of each word (default 4000)")
    references.add_argument(
        "--latents",
        metavar="NAME|PATH|sampled",
        help="codes of the faces: the training split of a name or file, or codes drawn from the generator (default: "
        "the bundle's)",
    )
    references.add_argument("--seed", type=int, default=0, metavar="N", help="chooses the faces (default 0)")
    references.add_argument(
        "--tries", type=int, default=4, metavar="N", help="edit at most N faces for each picture (default 4)"
    )
    references.add_argument(
        "--top", type=int, default=1, metavar="N", help="the word must be among N first choices (default 1)"
    )
    references.add_argument(
        "--batch-size", type=int, metavar="N", help="faces that are edited together (default: what fits the memory)"
    )
    add_fields(references, EditOptions, only=_HOW)
    references.add_argument("--bundle", default="portraits", metavar="NAME", help="name or folder of the networks")
    references.add_argument("--mapper", metavar="PATH", help="a mapper's file (default: the bundle's)")
    references.add_argument("--device", default="auto", metavar="NAME", help=DEVICE_HELP)
    references.add_argument(
        "--precision",
        choices=get_args(Precision),
        default="float32",
        help="type of number in which networks compute (default float32; the others save time on GPUs)",
    )
    references.set_defaults(run=_references)


def _references(options: argparse.Namespace) -> int:
    from hairclip.common import distributed
    from hairclip.editing.editor import HairEditor
    from hairclip.editing.options import EditOptions
    from hairclip.editing.reference_sets import SetSettings, write_references

    with name_flags_in_errors(EditOptions, SetSettings):
        names = ("count", "seed", "tries", "top", "batch_size")
        given = {name: getattr(options, name) for name in names}
        settings = SetSettings(**given, options=read_fields(EditOptions, options))
        world = distributed.join(options.device)
        try:
            editor = HairEditor.from_bundle(
                options.bundle, device=world.device, mapper=options.mapper, precision=options.precision
            )
            named = {"bundle": options.bundle, "mapper": options.mapper or "the bundle's"}
            sets = write_references(
                editor,
                _load_codes(options, editor),
                _list_words(options),
                Path(options.out),
                settings,
                world=world,
                sources={**named, "latents": options.latents or "the bundle's"},
                progress=True,
            )
            short = 0
            for made in sets:
                short += made.is_short
                if world.is_main:
                    _tell(made)
        finally:
            distributed.leave()
    if short and world.is_main:
        words = "1 word has" if short == 1 else f"{short} words have"
        print(f"hairclip: {words} too few pictures: raise --tries or --top, or give more --latents.", file=sys.stderr)
    return 1 if short and world.is_main else 0


def _tell(made: "WordSet") -> None:
    """Print what became of a word."""
    told = f"{made.folder}: {len(made.codes)} pictures, {made.rejected} edits rejected"
    print(f"{told}; {made.wanted} pictures were wanted" if made.is_short else told)


def _list_words(options: argparse.Namespace) -> "dict[SetKind, list[str]]":
    """Return the words of --colors and --hairstyles, or all that the bundle knows, of the kinds that --kind names."""
    from hairclip.editing.vocabulary import list_colors, list_hairstyles

    kinds: tuple[SetKind, ...] = ("color", "hairstyle") if options.kind == "all" else (options.kind,)
    words: dict[SetKind, list[str]] = {}
    for kind in kinds:
        given = getattr(options, f"{kind}s")
        if given is None:
            words[kind] = (list_colors if kind == "color" else list_hairstyles)(options.bundle)
            continue
        words[kind] = list(dict.fromkeys(word.strip() for word in given.split(",") if word.strip()))
        if not words[kind]:
            raise HairclipError(f"--{kind}s {given!r} names nothing: list words, comma between them, or leave it out.")
    return words


def _load_codes(options: argparse.Namespace, editor: "HairEditor") -> "LatentSet":
    """Return the training codes of --latents, or of the bundle."""
    from hairclip.training.latents import LatentSet, load_latent_set
    from hairclip.training.sampled_codes import SAMPLED, SampledCodes

    if options.latents == SAMPLED:
        generator = editor.networks.generator
        return LatentSet(SampledCodes(generator, count=_DRAWN, truncation=0.7, seed=options.seed, stream="train"))
    source = _find_codes(options)
    codes = load_latent_set(source)
    if codes.splits is not None:
        codes = codes.split("train")
    elif options.latents is None:
        raise HairclipError(_UNTOLD.format(bundle=options.bundle))
    if not len(codes):
        raise HairclipError(f"{source} labels no code as train: give other --latents.")
    return codes


_UNTOLD = (
    "the latents of {bundle} do not tell which are for training: give --latents celeba-hq-train, another name or file, "
    "or sampled."
)


def _find_codes(options: argparse.Namespace) -> "Source":
    """Return the name or file of the codes; refuse a run whose weights have to be fetched first."""
    from hairclip.pretrained.bundle import load_bundle
    from hairclip.pretrained.registry import WEIGHTS
    from hairclip.pretrained.sources import source_of

    bundle = load_bundle(options.bundle)
    source = options.latents or bundle.parts.get("latents")
    if source is None:
        raise HairclipError(f"{options.bundle} has no latents: give --latents NAME, a file, or sampled.")
    if options.latents is None and source_of(source) in WEIGHTS:  # published codes have no labels
        raise HairclipError(_UNTOLD.format(bundle=options.bundle))
    needed = ["generator", "clip", "parser", "latents", *([] if options.mapper else ["mapper"])]
    bundle.with_parts({"latents": source}).require(needed)
    return source
