"""Choose the networks that know a photo: `portraits` or `portraits-256` for rendered people, `ffhq` for real photos.

```python
from hairclip import PhotoEditor
from hairclip.editing.bundle_choice import BundleChooser

bundle, reason, editor, opened = BundleChooser(PhotoEditor.from_bundle).open("me.jpg")
(result,) = editor.edit_open([opened], editor.ask(hairstyle="bob cut"))
```

The test is how well the encoder of `portraits` rebuilds the face, by the limits of that bundle. `portraits` refuses a
new hairstyle by the same test, so that it edits exactly the people whom it is chosen for. The test needs no size and no
file name, and takes a fraction of a second after the face is found. Of a rendered person, the size of the face in the
photo then chooses: `portraits-256` where its pictures need less enlarging than those of `portraits`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from hairclip.common.errors import HairclipError
from hairclip.common.files import open_regular
from hairclip.common.images import ImageSource
from hairclip.editing.methods import METHODS
from hairclip.editing.options import InversionOptions
from hairclip.editing.photo.faces import FaceChoice
from hairclip.editing.photo.masks import PaintedMasks
from hairclip.editing.photo_editor import PhotoEditor
from hairclip.editing.photo_result import CutPhoto, OpenPhoto
from hairclip.pretrained.bundle import NEEDED_TO_EDIT, load_bundle
from hairclip.pretrained.loaders import load_mapper, open_latents
from hairclip.pretrained.sources import find_unfetched

__all__ = ["AUTO", "BundleChooser", "Choice", "bundle_of_latents", "bundle_of_mapper"]

AUTO = "auto"
"""What --bundle calls the choice."""
RENDERED, LARGER, REAL = "portraits", "portraits-256", "ffhq"
_LARGE = 1.5  # sides of what `portraits` draws; smaller faces would be drawn larger than they are, and reduced
_MORE_PARTS = {"styleclip-global": ("directions",)}  # beyond those that a method needs with every bundle
_LOOKED_AT = 5
"""Number of faces that decide for many photos. At most three times as many photos are searched for one."""


class Choice(NamedTuple):
    """The networks for one photo.

    Attributes:
        bundle: their name.
        reason: one line that says which networks were taken, and why.
        editor: an editor with them.
        opened: the photo, opened by that editor.
    """

    bundle: str
    reason: str
    editor: PhotoEditor
    opened: OpenPhoto


class BundleChooser:
    """Chooses the networks of each photo.

    Args:
        load: bundle's name -> an editor with its networks.
        real_is_ready: whether `ffhq` can edit; None looks whether its weights have been fetched.
        method: the editing method; where `portraits-256` lacks its networks, `portraits` is taken at every size.

    Attributes:
        real_is_ready: whether `ffhq` can edit.
        has_larger: whether `portraits-256` has the networks of the method.
    """

    def __init__(
        self, load: Callable[[str], PhotoEditor], *, real_is_ready: bool | None = None, method: str = "mapper"
    ) -> None:
        self._load = load
        needed = {*getattr(METHODS.load(method), "parts", ()), *_MORE_PARTS.get(method, ())}
        self.has_larger = needed <= load_bundle(LARGER).parts.keys()
        self._editors: dict[str, PhotoEditor] = {}
        unfetched = find_unfetched(load_bundle(REAL).parts, NEEDED_TO_EDIT)
        self.real_is_ready = not unfetched if real_is_ready is None else real_is_ready

    def editor(self, bundle: str) -> PhotoEditor:
        """Return the editor of one bundle, made when it is first needed."""
        if bundle not in self._editors:
            self._editors[bundle] = self._load(bundle)
        return self._editors[bundle]

    def is_real(self, cut: CutPhoto) -> bool:
        """Return whether a photo, cut for `portraits`, shows a face that its encoder does not rebuild, or not whole."""
        try:
            (opened,) = self.editor(RENDERED).invert([cut])
        except HairclipError:
            return True
        return not opened.is_known

    def is_large(self, cut: CutPhoto) -> bool:
        """Return whether `portraits-256` can edit a photo, and draws nearer to its size than `portraits`."""
        smaller = self.editor(RENDERED).editor.networks.generator.size
        return self.has_larger and max(square.size for square in cut.squares) > _LARGE * smaller

    def choose_for_all(
        self, photos: Sequence[Path], *, face: FaceChoice = "largest", aligned: bool = False
    ) -> tuple[str, str]:
        """Return the one bundle for all of many photos, and one line that says why. A few faces decide.

        Args:
            photos: files, of which a few are read, evenly spread. Those without a face are passed over.
            face: which face of a photo.
            aligned: whether the pictures are already cropped to the face, and square.

        Raises:
            HairclipError: if most faces are those of real people, whose networks have not been fetched.
        """
        faces, real = 0, 0
        step = max(1, len(photos) // (3 * _LOOKED_AT))
        for photo in photos[::step]:
            try:
                open_regular(photo, "image").close()  # to read a pipe would never end
                cut = self.editor(RENDERED).cut(photo, face=face, aligned=aligned)
            except (HairclipError, OSError):
                continue
            faces, real = faces + 1, real + self.is_real(cut)
            if faces == _LOOKED_AT:
                break
        told = f"the encoder of {RENDERED} does not rebuild {real} of {faces} faces that were looked at"
        if 2 * real <= faces:
            return RENDERED, f"bundle {RENDERED}: {told}, so these are rendered people"
        if not self.real_is_ready:
            raise HairclipError(
                f"{told}, so these are real photos: run python -m hairclip download {REAL}, or give "
                f"bundle={RENDERED!r} to take networks that do not know these people."
            )
        return REAL, f"bundle {REAL}: {told}, so these are real photos"

    def open(
        self,
        source: ImageSource,
        *,
        face: FaceChoice = "largest",
        aligned: bool = False,
        masks: PaintedMasks | None = None,
        inverting: InversionOptions | None = None,
        progress: bool = False,
    ) -> Choice:
        """Open a photo with the networks that know it; arguments as of `PhotoEditor.open`."""
        cut = self.editor(RENDERED).cut(source, face=face, aligned=aligned, masks=masks)
        return self.choose(cut, inverting, progress=progress)

    def choose(self, cut: CutPhoto, inverting: InversionOptions | None = None, *, progress: bool = False) -> Choice:
        """Open a photo that the editor of `portraits` cut, with the networks that know it."""
        inverting, rendered = inverting or InversionOptions(), self.editor(RENDERED)
        try:
            (opened,) = rendered.invert([cut], InversionOptions(seed=inverting.seed))
        except HairclipError:
            if not self.real_is_ready:
                raise
            told = f"{RENDERED} cuts out more around a face than this photo shows"
        else:
            told = f"its encoder rebuilds this face at {float(opened.prepared.inversion.psnr.min()):.1f} dB"
            is_known = opened.is_known
            if is_known or not self.real_is_ready:
                if is_known and self.is_large(cut):
                    larger = self.editor(LARGER)
                    (opened,) = larger.invert([cut], inverting, progress=progress)
                    reason = f"bundle {LARGER}: the encoder of {RENDERED}{told.removeprefix('its encoder')}"
                    return Choice(LARGER, f"{reason}, as those of rendered people, and it is large", larger, opened)
                if inverting.inversion != "encoder":
                    (opened,) = rendered.invert([cut], inverting, progress=progress)
                reason = f"bundle {RENDERED}: {told}, as those of rendered people"
                if not is_known:
                    reason = (
                        f"bundle {RENDERED}: {told}, so this is a real photo, but the networks of real photos are not "
                        f"here (python -m hairclip download {REAL} fetches them)"
                    )
                return Choice(RENDERED, reason, rendered, opened)
            told = f"the encoder of {RENDERED}{told.removeprefix('its encoder')}, so this is a real photo"
        editor = self.editor(REAL)
        (opened,) = editor.invert([editor.reframe(cut)], inverting, progress=progress)
        return Choice(REAL, f"bundle {REAL}: {told}", editor, opened)


def bundle_of_mapper(mapper: str | Path) -> str:
    """Return the name of the bundle whose generator a mapper fits: `portraits`, or else `ffhq`.

    Args:
        mapper: a name or a file, see `load_mapper`.
    """
    made = load_mapper(mapper)
    return _bundle_of_sizes(getattr(made, "n_latent", None), getattr(made, "w_dim", None))


def bundle_of_latents(latents: str | Path) -> str:
    """Return the name of the bundle whose generator W+ codes fit: `portraits`, or else `ffhq`.

    Args:
        latents: a name or a file, see `open_latents`.
    """
    _, n_latent, w_dim = open_latents(latents).shape
    return _bundle_of_sizes(n_latent, w_dim)


def _bundle_of_sizes(n_latent: int | None, w_dim: int | None) -> str:
    generator = load_bundle(RENDERED).generator
    return RENDERED if (n_latent, w_dim) == (generator.n_latent, generator.w_dim) else REAL
