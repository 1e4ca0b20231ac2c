"""The command `python -m hairclip composite`: take the hair that another editor gave a photo, and nothing else."""

import argparse
from typing import TYPE_CHECKING, Any, get_args

from hairclip.cli.edit_arguments import name_flags, name_flags_in_errors
from hairclip.cli.shared_arguments import DEVICE_HELP

if TYPE_CHECKING:
    from hairclip.editing.composite import Composite


def add_command(commands: Any) -> None:
    """Add `composite` to the subcommands of a parser."""
    from hairclip.editing.choices import Seam

    composite = commands.add_parser(
        "composite",
        help="take only the hair from another editor's picture of a photo",
        description="Take hair, and what old hair hid, from a picture that any other editor made of the photo. The "
        "picture may be shifted, scaled, cropped, compressed or recolored. Every other pixel stays the photo's.",
    )
    composite.add_argument("--photo", required=True, metavar="PATH", help="the photo")
    composite.add_argument("--edited", required=True, metavar="PATH", help="what another editor made of it")
    composite.add_argument("--out", required=True, metavar="PATH", help="the photo to write")
    composite.add_argument(
        "--face",
        default="largest",
        metavar="largest|left|right|N",
        help="whose hair; N counts from the left (default largest)",
    )
    composite.add_argument(
        "--mask", metavar="PATH", help="a picture of the photo's size, white where the edited picture is taken"
    )
    composite.add_argument("--save-mask", metavar="PATH", help="also write where the photo changed, white on black")
    composite.add_argument(
        "--seam",
        choices=get_args(Seam),
        default="feather",
        help="how the hair is joined to the photo (default feather)",
    )
    composite.add_argument("--force", action="store_true", help="take the hair even if the faces do not agree")
    composite.add_argument("--bundle", default="portraits", metavar="NAME", help="the networks that find hair")
    composite.add_argument("--device", default="auto", metavar="NAME", help=DEVICE_HELP)
    composite.set_defaults(run=_composite)


def _composite(options: argparse.Namespace) -> None:
    from hairclip.common.images import check_image_path, save_image

    for path in filter(None, (options.out, options.save_mask)):
        check_image_path(path, [options.photo, options.edited, options.mask])
    with name_flags_in_errors():
        result = _take(options)
    for note in result.notes:
        print(f"note: {name_flags(note)}")
    result.save(options.out)
    if options.save_mask:
        save_image(result.mask, options.save_mask)
        print(f"wrote the mask to {options.save_mask}")
    print(f"wrote {options.out}: {result.changed:.1%} of its pixels changed")


def _take(options: argparse.Namespace) -> "Composite":
    from hairclip.common.device import pick_device
    from hairclip.editing.composite import take_hair
    from hairclip.editing.photo.faces import FINDERS, as_choice
    from hairclip.pretrained.bundle import load_bundle

    device = pick_device(options.device)
    return take_hair(
        options.photo,
        options.edited,
        parser=load_bundle(options.bundle, device).photo_parser,
        finder=FINDERS.load("mtcnn")(device),
        face=as_choice(options.face),
        mask=options.mask,
        seam=options.seam,
        force=options.force,
    )
