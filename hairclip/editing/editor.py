"""Edit the hair of a portrait: align, invert, condition, map (or optimise), synthesize, blend.

```python
from hairclip import HairEditor

editor = HairEditor.from_bundle("portraits")
editor.edit("me.png", hairstyle="bob cut", color="red").save("edited.png")
```
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from PIL import Image
from torch import Tensor, nn

from hairclip.common.errors import HairclipError, check_range
from hairclip.common.face_labels import BACKGROUND, HAIR
from hairclip.common.images import Flags, Images, ImageSource, Labels, resize_area
from hairclip.common.sheets import captioned_sheet
from hairclip.common.stopwatch import Stopwatch
from hairclip.conditions.encoder import EditBatch
from hairclip.editing.blending.fill import plain_background
from hairclip.editing.blending.hair import DEFAULT_SEAM, PIXELS_TOGETHER, Behind, blend_hair
from hairclip.editing.blending.recolor import Recoloring, find_recoloring
from hairclip.editing.blending.seams import Seam, composite
from hairclip.editing.editor_networks import EditorNetworks, Method, check_mapper
from hairclip.editing.inversion.cache import InversionCache
from hairclip.editing.inversion.invert import InversionMethod, invert
from hairclip.editing.inversion.loss import ReconstructionLoss
from hairclip.editing.inversion.perceptual import parser_distance
from hairclip.editing.methods.latent_descent import optimize_codes
from hairclip.editing.request import Wish, as_wish, load_picture, told
from hairclip.editing.result import Captions, EditResult, Prepared, compare, edit_results
from hairclip.pretrained.bundle import load_bundle
from hairclip.pretrained.loaders import load_mapper

__all__ = ["EditResult", "HairEditor", "Method", "Prepared", "Strands", "Wish", "as_wish", "check_request", "compare"]


Strands: TypeAlias = Literal["photo", "edit"]
"""Whose hair takes a new colour where the hairstyle stays."""


class HairEditor(EditorNetworks):
    """Edits the hair of pictures with one set of networks; its arguments are those of `EditorNetworks`."""

    @classmethod
    def from_bundle(
        cls,
        name: str = "portraits",
        *,
        device: str | torch.device | None = None,
        mapper: str | Path | nn.Module | None = None,
        cache: InversionCache | None = None,
    ) -> "HairEditor":
        """An editor of a named bundle; device None takes a GPU if there is one; `mapper` is a name, file or network."""
        device = torch.device(device if device is not None else "cuda" if torch.cuda.is_available() else "cpu")
        networks = load_bundle(name, device)
        if isinstance(mapper, (str, Path)):
            path, mapper = mapper, load_mapper(mapper)
            check_mapper(mapper, networks, f"the mapper {path}")
        return cls(networks, mapper=None if mapper is None else mapper.to(device).eval(), cache=cache)

    # ------------------------------------------------------------------ the three steps of an edit

    @torch.no_grad()
    def prepare(
        self,
        images: Sequence[ImageSource],
        *,
        inversion: InversionMethod = "encoder",
        invert_steps: int = 100,
        seed: int = 0,
        plain: bool = False,
        progress: bool = False,
    ) -> Prepared:
        """Load, align, invert and parse pictures of any size.

        Args:
            images: portraits, see `edit`.
            inversion: see `hairclip.editing.inversion.invert.invert`.
            invert_steps: its steps; the encoder takes none.
            seed: of its random latents.
            plain: invert the person before a plain background: for generators that know no other, where only hair will
                be taken from the edit.
            progress: show progress bars.
        """
        networks = self.networks
        size = networks.generator.size
        aligned = torch.cat([resize_area(load_picture(image), size) for image in images]).to(self.device)
        labels = networks.parser.labels(aligned)
        found = (invert if self.cache is None else self.cache.invert)(
            plain_background(aligned, (labels == BACKGROUND)[:, None]) if plain else aligned,
            networks.encoder,
            networks.generator,
            method=inversion,
            steps=invert_steps,
            loss=ReconstructionLoss(parser_distance(networks.parser), self.identity),
            identity=self.identity,
            seed=seed,
            progress=progress,
        )
        return Prepared(aligned, found, labels)

    @torch.no_grad()
    def edited_codes(
        self,
        prepared: Prepared,
        batch: EditBatch,
        *,
        strength: float = 1.0,
        method: Method = "mapper",
        seed: int = 0,
        steps: int = 100,
        lr: float = 0.1,
        progress: bool = False,
    ) -> Tensor:
        """W+ codes after the edit, (B, n_latent, w_dim). A sample that asks for nothing keeps its codes."""
        w_plus, condition = prepared.inversion.w_plus, batch.condition
        if method == "mapper":
            moved = w_plus + self.mapper(w_plus, condition)
        elif method == "optimize":
            moved = optimize_codes(
                w_plus,
                lambda codes: prepared.inversion.synthesize(codes, self.networks.generator),
                self.loss,
                self.loss.source_features(prepared.inversion.images),
                batch,
                steps=steps,
                lr=lr,
                seed=seed,
                groups=self.groups,
                progress=progress,
            )
        else:
            raise HairclipError(f"there is no editing method '{method}': choose mapper or optimize.")
        asked = (condition.has_hairstyle | condition.has_color)[:, None, None]
        return torch.where(asked, w_plus + strength * (moved - w_plus), w_plus)

    @torch.no_grad()
    def render(
        self,
        prepared: Prepared,
        codes: Tensor,
        captions: Sequence[Captions] | None = None,
        *,
        blend: bool = True,
        feather: int | None = None,
        seam: Seam = DEFAULT_SEAM,
        behind: Behind = "photo",
        recolor: Sequence[bool] | None = None,
        watch: Stopwatch | None = None,
    ) -> list[EditResult]:
        """Synthesize codes and blend them into the pictures they came from; see `hairclip.editing.blending.blend_hair`.

        Args:
            prepared: where the edits started.
            codes: the edited W+ codes, (B, n_latent, w_dim).
            captions: what was asked of each.
            blend: see `edit_batch`; so are the others.
            feather: width of the seam.
            seam: how hair is joined to the photo.
            behind: what is seen where hair was.
            recolor: which samples change nothing but the hair's colour, so that the photo's own strands may take it
                (`hairclip.editing.blending.recolor`); None for none.
            watch: what counts the seconds.
        """
        watch = watch or Stopwatch()
        with watch("edit"):
            synthesized = prepared.inversion.synthesize(codes, self.networks.generator)
        with watch("blend"):
            labels = self.networks.parser.labels(synthesized)
            many = {"synthesized": synthesized, "mask": (labels == HAIR)[:, None]}
            own = torch.zeros(len(codes), dtype=torch.bool, device=codes.device)
            found: Recoloring | None = None
            if blend and recolor is not None and any(recolor):
                found, usable = self._recoloring(prepared, synthesized, labels)
                own = usable & torch.tensor(recolor, device=own.device)
            if not blend:
                many["alpha"] = torch.ones_like(many["mask"], dtype=torch.float32)
                many["image"] = many["foreground"] = synthesized.clamp(-1, 1)
            elif not own.all():
                joined = blend_hair(
                    prepared.aligned, synthesized, prepared.labels, labels, seam=seam, behind=behind, feather=feather
                )
                many |= {"image": joined.image, "foreground": joined.foreground, "alpha": joined.alpha}
                if joined.bare is not None:
                    many["bare"] = joined.bare
            recolorings: list[Recoloring | None] = [None] * len(codes)
            if found is not None:
                foreground = found.foreground(prepared.aligned)
                image = composite(prepared.aligned, foreground, found.alpha)
                for name, value in {"image": image, "foreground": foreground, "alpha": found.alpha}.items():
                    many[name] = torch.where(own[:, None, None, None], value, many.get(name, value))
                recolorings = [found[i : i + 1] if mine else None for i, mine in enumerate(own.tolist())]
        return edit_results(prepared, codes, many, captions, recolorings)

    def _recoloring(self, prepared: Prepared, edited: Images, labels: Labels) -> tuple[Recoloring, Flags]:
        """How the photos' own hair takes the new colour, and for which of them that can be relied on."""
        before = prepared.inversion.images
        parsed = self.networks.parser.labels(before)
        return find_recoloring(prepared.aligned, prepared.labels, before, parsed, edited, labels)

    # ------------------------------------------------------------------ what people call

    def edit(self, image: ImageSource, hairstyle: Wish = None, color: Wish = None, **options: Any) -> EditResult:
        """Edit one picture.

        Args:
            image: the portrait: a path, PIL image, uint8 array (H, W, 3) or tensor in [-1, 1], already cropped to
                the face.
            hairstyle: a text ("bob cut"), a picture whose hairstyle to take, or None to keep it.
            color: a text ("red"), a picture whose hair colour to take, or None.
            options: as of `edit_batch`.
        """
        return self.edit_batch([image], [hairstyle], [color], **options)[0]

    def edit_batch(
        self,
        images: Sequence[ImageSource],
        hairstyles: Sequence[Wish] | None = None,
        colors: Sequence[Wish] | None = None,
        *,
        strength: float = 1.0,
        seed: int = 0,
        method: Method = "mapper",
        blend: bool = True,
        feather: int | None = None,
        seam: Seam = DEFAULT_SEAM,
        behind: Behind = "photo",
        strands: Strands = "photo",
        inversion: InversionMethod = "encoder",
        invert_steps: int = 100,
        steps: int = 100,
        lr: float = 0.1,
        batch_size: int | None = None,
        progress: bool = False,
    ) -> list[EditResult]:
        """Edit many pictures; each may ask for another thing, by text or by reference.

        Args:
            images: portraits, see `edit`.
            hairstyles: one text, picture or None per portrait; None for none at all.
            colors: likewise.
            strength: 0 gives the inversion, 1 the edit, up to 2 exaggerates.
            seed: of the random offsets of `method="optimize"`.
            method: "mapper" (one pass of the trained network) or "optimize" (descent on the code, needs no mapper).
            blend: keep the photo outside the hair; False returns the generator's picture.
            feather: width of the seam in pixels, None for 1/40 of the height.
            seam: how hair is joined to the photo: "feather", "laplacian" or "poisson".
            behind: what is seen where hair was: "photo" (continued under it) or "edit".
            strands: whose hair takes a new colour where the hairstyle stays: "photo" (its own strands, and nothing else
                changes) or "edit" (the generator's hair is blended in).
            inversion: how the pictures' codes are found: "encoder" (one pass), "optimize" (then descent) or "pivotal"
                (then a generator tuned to each picture).
            invert_steps: steps of the descent, and as many of the tuning.
            steps: steps of `method="optimize"`.
            lr: its learning rate.
            batch_size: how many pictures go through the networks together; None takes no more than memory allows for:
                32 up to 256 px, 4 at 1024 px.
            progress: show progress bars where something takes long.
        """
        hairstyles = [None] * len(images) if hairstyles is None else list(hairstyles)
        colors = [None] * len(images) if colors is None else list(colors)
        if not len(images) == len(hairstyles) == len(colors):
            raise ValueError(
                f"{len(images)} images, {len(hairstyles)} hairstyles and {len(colors)} colours do not pair up"
            )
        check_request([*hairstyles, *colors], strength)
        wishes = [(as_wish(style), as_wish(color)) for style, color in zip(hairstyles, colors, strict=True)]
        results: list[EditResult] = []
        batch_size = batch_size or max(1, min(32, PIXELS_TOGETHER // self.networks.generator.size**2))
        for first in range(0, len(images), batch_size):
            part = slice(first, first + batch_size)
            prepared = self.prepare(
                images[part], inversion=inversion, invert_steps=invert_steps, seed=seed, progress=progress
            )
            results += self.edit_prepared(
                prepared,
                wishes[part],
                strength=strength,
                seed=seed,
                method=method,
                blend=blend,
                feather=feather,
                seam=seam,
                behind=behind,
                strands=strands,
                steps=steps,
                lr=lr,
                progress=progress,
            )
        return results

    @torch.no_grad()
    def edit_prepared(
        self,
        prepared: Prepared,
        wishes: Sequence[tuple[Any, Any]],
        *,
        method: Method = "mapper",
        blend: bool = True,
        feather: int | None = None,
        seam: Seam = DEFAULT_SEAM,
        behind: Behind = "photo",
        strands: Strands = "photo",
        watch: Stopwatch | None = None,
        **options: Any,
    ) -> list[EditResult]:
        """Edit prepared pictures: one (hairstyle, colour) pair of texts, image tensors or None per picture."""
        watch = watch or Stopwatch()
        with watch("edit"):
            codes = self.edited_codes(prepared, self.asked(wishes, method), method=method, **options)
        captions = [(told(style), told(color)) for style, color in wishes]
        return self.render(
            prepared,
            codes,
            captions,
            blend=blend,
            feather=feather,
            seam=seam,
            behind=behind,
            recolor=[strands == "photo" and changes_color_alone(*wish) for wish in wishes],
            watch=watch,
        )

    def asked(self, wishes: Sequence[tuple[Any, Any]], method: Method = "mapper") -> EditBatch:
        """Pairs of hairstyle and colour, each a text, an image tensor or None, as conditions."""
        styles, colors = [style for style, _ in wishes], [color for _, color in wishes]
        return self.conditions(method).encode(styles, colors, minimum_hair=0.005).to(self.device)

    def grid(
        self,
        image: ImageSource | Prepared,
        styles: Sequence[Wish],
        colors: Sequence[Wish],
        *,
        inversion: InversionMethod = "encoder",
        invert_steps: int = 100,
        tile: int = 160,
        **options: Any,
    ) -> Image.Image:
        """Contact sheet of one person: a row per hairstyle, a column per colour; None leaves that part as it is."""
        rows, columns = [as_wish(style) for style in styles] or [None], [as_wish(color) for color in colors] or [None]
        prepared = (
            image
            if isinstance(image, Prepared)
            else self.prepare([image], inversion=inversion, invert_steps=invert_steps)
        )
        sheet: list[list[Tensor]] = []
        for row in rows:
            many = prepared[[0] * len(columns)]
            results = self.edit_prepared(many, [(row, column) for column in columns], **options)
            sheet.append([r.image if r.hairstyle or r.color else r.aligned for r in results])
        return captioned_sheet(
            sheet,
            columns=[told(column) or "own colour" for column in columns],
            rows=[told(row) or "own style" for row in rows],
            tile=tile,
        )


def changes_color_alone(hairstyle: Any, color: Any) -> bool:
    """Whether a wish leaves the hairstyle as it is."""
    return hairstyle is None and color is not None


def check_request(wishes: Sequence[Wish], strength: float) -> None:
    """Refuse a strength out of range, and wishes of which none asks for anything."""
    check_range("strength", strength, 0.0, 2.0)
    if all(wish is None for wish in wishes):
        raise HairclipError("there is nothing to edit: give a hairstyle, a colour or both.")
