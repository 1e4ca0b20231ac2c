"""Edit the hair of a portrait: align, invert, condition, edit the codes, synthesize, blend.

```python
from hairclip import HairEditor

editor = HairEditor.from_bundle("portraits")
editor.edit("me.png", hairstyle="bob cut", color="red").save("edited.png")
```
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from typing_extensions import Unpack

from hairclip.common.device import pick_device
from hairclip.common.errors import HairclipError, check_range
from hairclip.common.face_labels import BACKGROUND, HAIR
from hairclip.common.files import digest
from hairclip.common.images import Flags, Images, ImageSource, Labels, WPlus, resize_area
from hairclip.common.precision import check_precision, in_float32, mixed_precision
from hairclip.common.sheets import draw_sheet
from hairclip.common.stopwatch import Stopwatch
from hairclip.conditions.encoder import ConditionEncoder, EditBatch
from hairclip.editing.blending.fill import plain_background
from hairclip.editing.blending.hair import PIXELS_TOGETHER, blend_hair
from hairclip.editing.blending.recolor import Recoloring, find_recoloring
from hairclip.editing.blending.seams import composite
from hairclip.editing.choices import Precision
from hairclip.editing.inversion.cache import InversionCache
from hairclip.editing.inversion.invert import Inversion, invert, join_inversions
from hairclip.editing.inversion.loss import ReconstructionLoss
from hairclip.editing.inversion.perceptual import parser_distance
from hairclip.editing.methods.hair_mapper import check_mapper
from hairclip.editing.methods.method import MethodResult, load_method
from hairclip.editing.options import EditOptions, InversionOptions, Settings, read_settings
from hairclip.editing.request import EditRequest, check_requests, load_picture, make_request
from hairclip.editing.result import EditResult, Prepared, compare, edit_results, keep_photo
from hairclip.losses.hair_edit import HairEditLoss
from hairclip.networks.ir_se import FaceEncoder
from hairclip.networks.mapper import LAYER_SPLIT, References
from hairclip.pretrained.bundle import EDITING_PARTS, Bundle, MissingPartError, Networks
from hairclip.pretrained.hub import HubOptions, push_folder
from hairclip.pretrained.loaders import load_mapper
from hairclip.pretrained.saved_bundle import load_any_bundle, load_pretrained_bundle, save_bundle

__all__ = ["EditRequest", "EditResult", "HairEditor", "Prepared", "compare"]


class HairEditor:
    """Edits the hair of pictures with one set of networks.

    Args:
        networks: a bundle, or any object with its attributes, all on one device and in eval mode. Each network is read
            when it is first needed.
        mapper: used instead of `networks.mapper`.
        groups: first medium and first fine layer of the codes, for `method="optimize"`.
        loss: the loss that `method="optimize"` minimizes; None builds HairCLIP's, with CLIP's own pixel normalization.
        cache: remembers inversions; None inverts every time.
        check_companions: refuse a mapper that was trained with another generator or CLIP of the same sizes.
        precision: type of number in which encoder, generator and parsers compute: "float32", "bfloat16", or on a GPU
            "float16". Descents (`inversion="optimize"` and "pivotal", `method="optimize"`), CLIP and the mapper stay
            in float32.
    """

    def __init__(
        self,
        networks: Networks,
        *,
        mapper: nn.Module | None = None,
        groups: tuple[int, int] = LAYER_SPLIT,
        loss: HairEditLoss | None = None,
        cache: InversionCache | None = None,
        check_companions: bool = True,
        precision: Precision = "float32",
    ) -> None:
        self.networks = networks
        self.precision = precision
        self.cache = cache
        self.groups = groups
        self.check_companions = check_companions
        self._mapper = mapper
        self._conditions: dict[References, ConditionEncoder] = {}
        self._loss = loss

    @classmethod
    def from_bundle(
        cls,
        name: str = "portraits",
        *,
        device: str | torch.device | None = None,
        mapper: str | Path | nn.Module | None = None,
        cache: InversionCache | None = None,
        check_companions: bool = True,
        precision: Precision = "float32",
    ) -> "HairEditor":
        """Return an editor with the networks of a bundle.

        Args:
            name: a bundle's name, YAML or folder, or ``hf-hub:user/name`` of the Hugging Face Hub.
            device: "auto", "cpu", "cuda", "cuda:N" or "mps"; None is "auto": CUDA, else Apple's MPS, else the CPU.
            mapper: a name, a file or a network, used instead of the bundle's.
            cache: remembers inversions; None inverts every time.
            check_companions: refuse a mapper that was trained with another generator or CLIP than the bundle's.
            precision: see `HairEditor`.

        Raises:
            HairclipError: if there is no such bundle, device or mapper, or if the mapper does not fit.
        """
        device = pick_device("auto" if device is None else str(device))
        check_precision(precision, device)
        return cls._with_networks(load_any_bundle(name, device), mapper, cache, check_companions, precision)

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | Path,
        *,
        device: str | torch.device | None = None,
        mapper: str | Path | nn.Module | None = None,
        cache: InversionCache | None = None,
        check_companions: bool = True,
        precision: Precision = "float32",
        **hub: Unpack[HubOptions],
    ) -> "HairEditor":
        """Return an editor with the networks that `save_pretrained` or `push_to_hub` wrote.

        Args:
            name_or_folder: a folder, or a repository of the Hugging Face Hub, ``user/name``.
            device: see `from_bundle`.
            mapper: see `from_bundle`.
            cache: see `from_bundle`.
            check_companions: see `from_bundle`.
            precision: see `HairEditor`.
            hub: how files are fetched: `revision`, `token`, `cache_dir`, `force_download`, `local_files_only`.

        Raises:
            HairclipError: if there is no such bundle, or it cannot be fetched.
        """
        device = pick_device("auto" if device is None else str(device))
        check_precision(precision, device)
        networks = load_pretrained_bundle(name_or_folder, device, **hub)
        return cls._with_networks(networks, mapper, cache, check_companions, precision)

    @classmethod
    def _with_networks(
        cls,
        networks: Bundle,
        mapper: str | Path | nn.Module | None,
        cache: InversionCache | None,
        check_companions: bool,
        precision: Precision,
    ) -> "HairEditor":
        if isinstance(mapper, (str, Path)):
            networks.require(("generator", "clip"))
            path, mapper = mapper, load_mapper(mapper)
            check_mapper(mapper, networks, f"the mapper {path}", companions=check_companions)
        mapper = None if mapper is None else mapper.to(networks.device).eval()
        return cls(networks, mapper=mapper, cache=cache, check_companions=check_companions, precision=precision)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the networks into a folder: ``bundle.yaml``, own weights, and a model card if there is none yet.

        Weights of other projects are named and not copied, because most of their licenses forbid to pass them on.

        Raises:
            HairclipError: if the networks are no bundle, or cannot be written.
        """
        if not isinstance(self.networks, Bundle):
            raise HairclipError("only the networks of a bundle can be saved: make the editor with from_bundle.")
        save_bundle(self.networks, folder, mapper=self._mapper)

    def push_to_hub(
        self,
        repo: str,
        *,
        private: bool | None = None,
        token: str | None = None,
        message: str = "Networks that edit hair",
    ) -> str:
        """Write what `save_pretrained` writes to a repository of the Hugging Face Hub and return the commit's address.

        Args:
            repo: ``user/name``; it is made if it is absent.
            private: whether a new repository is private; None takes the organization's default.
            token: of the login; None takes that of ``hf auth login``.
            message: of the commit.

        Raises:
            HairclipError: if the networks are no bundle, or the Hub refuses them.
        """
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            return push_folder(Path(folder), repo, private=private, token=token, message=message)

    # ------------------------------------------------------------------ the networks

    @property
    def device(self) -> torch.device:
        """The device of the networks."""
        device = getattr(self.networks, "device", None)  # a bundle tells it without loading its generator
        return next(self.networks.generator.parameters()).device if device is None else torch.device(device)

    @property
    def mapper(self) -> nn.Module:
        """The trained mapper.

        Raises:
            HairclipError: if it was trained for another generator or CLIP.
        """
        mapper = self.networks.mapper if self._mapper is None else self._mapper
        check_mapper(mapper, self.networks, "the mapper", companions=self.check_companions)
        return mapper

    @property
    def loss(self) -> HairEditLoss:
        """The loss that `method="optimize"` minimizes."""
        if self._loss is None:
            identity = self.identity
            if identity is None:
                raise MissingPartError(
                    'these networks have no identity network, which method="optimize" needs: use method="mapper".'
                )
            clip, parser = self.networks.clip, self.networks.parser
            self._loss = HairEditLoss(clip, parser, identity, text_pixels="normalized")
        return self._loss

    @property
    def identity(self) -> FaceEncoder | None:
        """The network that tells whether an inversion shows the same person; None if it is not there."""
        try:
            return self.networks.identity
        except MissingPartError:
            return None

    def conditions(self, references: References = "whole") -> ConditionEncoder:
        """Return the encoder of texts and reference pictures.

        Args:
            references: "whole" or "separated", see `hairclip.networks.mapper.HairMapper`.
        """
        if references not in self._conditions:
            gamma = "none" if self._loss is None else self._loss.gamma
            self._conditions[references] = ConditionEncoder(
                self.networks.clip, self.networks.parser, gamma=gamma, references=references
            )
        return self._conditions[references]

    @property
    def batch_size(self) -> int:
        """How many pictures go through the networks together unless something else is said."""
        return max(1, min(32, PIXELS_TOGETHER // self.networks.generator.size**2))

    def digest(self) -> str:
        """Return a digest of the networks' content. With request and options it determines an edit."""
        bundle = getattr(self.networks, "digest", None)
        networks = [getattr(self.networks, part, None) for part in EDITING_PARTS] if bundle is None else bundle()
        rounding = () if self.precision == "float32" else (self.precision,)
        return digest(networks, self._mapper, self.groups, *rounding)

    # ------------------------------------------------------------------ the steps of an edit

    def ask(
        self,
        hairstyle: ImageSource | None = None,
        color: ImageSource | None = None,
        *,
        text: str | None = None,
        any_color: bool = False,
    ) -> EditRequest:
        """Return a request. Texts are translated to words that the networks know; `notes` tells how.

        Args:
            hairstyle: a text ("bob cut"), a picture whose hairstyle to take, cropped to the face, or None to keep it.
            color: a text ("red"), a picture whose hair color to take, cropped to the face, or None to keep it.
            text: a text that may name both ("red bob cut").
            any_color: whether what the networks have no word for can be dyed afterwards, see `EditRequest.colors`.

        Raises:
            HairclipError: if nothing in the texts is understood, or a picture cannot be read.
        """
        words = getattr(self.networks, "known_words", None)
        known = None if words is None else words()
        return make_request(
            hairstyle,
            color,
            text,
            hairstyles=None if known is None else known.hairstyles,
            colors=None if known is None else known.colors,
            any_color=any_color,
        )

    def check(self, requests: Sequence[EditRequest], options: EditOptions, *, photos: bool = True) -> None:
        """Refuse requests that the method or the networks cannot do, and those that need weights to be fetched first.

        Args:
            requests: what is asked for.
            options: the method and its settings.
            photos: whether the edits start from photos, which need an encoder, or from codes.

        Raises:
            HairclipError: with one sentence about the first such request.
        """
        method = load_method(options)
        wanted = [request for request in requests if not request.is_empty]
        if wanted:
            encoder = ("encoder",) if photos else ()
            self.require("generator", "clip", "parser", *encoder, *getattr(method, "parts", ()))
        for request in wanted:
            method.check(request, self)

    def require(self, *parts: str) -> None:
        """Refuse work that needs parts of the bundle whose weights have not been fetched.

        Raises:
            HairclipError: with one sentence that names all of them and the command that fetches them.
        """
        require = getattr(self.networks, "require", None)
        if require is not None:
            require(part for part in parts if part != "mapper" or self._mapper is None)

    @in_float32
    @torch.no_grad()
    def prepare(
        self,
        images: Sequence[ImageSource],
        options: InversionOptions | None = None,
        *,
        plain: bool | None = None,
        batch_size: int | None = None,
        progress: bool = False,
    ) -> Prepared:
        """Load, align, invert and parse pictures.

        Args:
            images: portraits of any size, see `edit`.
            options: how they are inverted.
            plain: invert the person before a plain background, because the generator knows no other; None takes what
                the networks say (`plain_background`).
            batch_size: number of pictures that the networks always see at once, filled up with copies. The result of a
                picture then depends on no other, to the last bit; in batches of changing size it is rounded
                differently. None takes all at once.
            progress: show progress bars.
        """
        if batch_size is not None:
            parts = []
            for chosen, count in _fill_batches(len(images), batch_size):
                part = self.prepare([images[i] for i in chosen], options, plain=plain, progress=progress)
                parts.append(part[range(count)])
            return Prepared.joined(parts)
        aligned = self._align(images)
        with self._mixed():
            labels = self.networks.parser.smooth_labels(aligned)
        return Prepared(aligned, self._invert(aligned, labels, options, plain, progress), labels)

    @in_float32
    @torch.no_grad()
    def invert(
        self,
        images: Sequence[ImageSource],
        options: InversionOptions | None = None,
        *,
        plain: bool | None = None,
        batch_size: int,
        progress: bool = False,
    ) -> Inversion:
        """Invert pictures. The parser is used only where the inversion needs it; arguments as of `prepare`."""
        parts = []
        for chosen, count in _fill_batches(len(images), batch_size):
            aligned = self._align([images[i] for i in chosen])
            parts.append(self._invert(aligned, None, options, plain, progress)[range(count)])
        return join_inversions(parts)

    def _align(self, images: Sequence[ImageSource]) -> Images:
        """Return pictures at the generator's size, (B, 3, size, size) on the networks' device."""
        size = self.networks.generator.size
        return torch.cat([resize_area(load_picture(image), size) for image in images]).to(self.device)

    def _invert(
        self,
        aligned: Images,
        labels: Labels | None,
        options: InversionOptions | None,
        plain: bool | None,
        progress: bool,
    ) -> Inversion:
        """Return the inversion of aligned pictures. `labels` are the parser's, None where it has not seen them."""
        networks, options, loss = self.networks, options or InversionOptions(), None
        if networks.plain_background if plain is None else plain:
            labels = networks.parser.smooth_labels(aligned) if labels is None else labels
            aligned = plain_background(aligned, (labels == BACKGROUND)[:, None])
        mixed = self._mixed()
        if options.inversion != "encoder":  # gradients need float32
            loss, mixed = ReconstructionLoss(parser_distance(networks.parser), self.identity), nullcontext()
        # The cache knows no precision, so it keeps what was computed in float32 alone.
        cached = self.cache is not None and (self.precision == "float32" or options.inversion != "encoder")
        with mixed:
            return (self.cache.invert if self.cache is not None and cached else invert)(
                aligned,
                networks.encoder,
                networks.generator,
                method=options.inversion,
                steps=options.inversion_steps,
                loss=loss,
                identity=self.identity,
                seed=options.seed,
                progress=progress,
            )

    def _mixed(self) -> AbstractContextManager[object]:
        """Return the context in which encoder, generator and parsers have the editor's precision."""
        return mixed_precision(self.precision, self.device)

    @in_float32
    def encode(self, requests: Sequence[EditRequest], options: EditOptions) -> EditBatch:
        """Return the conditions of a batch of requests, encoded as the editing method needs them."""
        conditions = self.conditions(load_method(options).references(self))
        styles, colors = [one.hairstyle for one in requests], [one.color for one in requests]
        return conditions.encode(styles, colors, minimum_hair=0.005).to(self.device)

    @in_float32
    @torch.no_grad()
    def edit_codes(
        self, prepared: Prepared, requests: Sequence[EditRequest], options: EditOptions, *, progress: bool = False
    ) -> MethodResult:
        """Return what the editing method makes of prepared pictures. An empty request keeps the codes.

        Args:
            prepared: where the edits start.
            requests: what is asked of each picture.
            options: the method, its settings, and the strength.
            progress: show a progress bar.

        Returns:
            Codes with the strength applied, (B, n_latent, w_dim), or the pictures of a method that gives those.
        """
        w_plus = prepared.inversion.w_plus
        edited = load_method(options).edit(prepared, requests, options, self, progress=progress)
        if edited.codes is None:
            return edited
        asked = torch.tensor([one.hairstyle is not None or one.color is not None for one in requests])
        asked = asked.to(self.device)[:, None, None]
        moved = w_plus + options.strength * (edited.codes - w_plus)
        return MethodResult(codes=torch.where(asked, moved, w_plus))

    @in_float32
    @torch.no_grad()
    def edit_latents(
        self, w_plus: WPlus, request: EditRequest, options: EditOptions | None = None, *, progress: bool = False
    ) -> tuple[WPlus | None, Images]:
        """Edit codes that belong to no photo, as the official inference does; nothing is blended.

        Args:
            w_plus: the codes, (B, n_latent, w_dim).
            request: what is asked of all of them.
            options: the method, its settings, and the strength.
            progress: show a progress bar where the method takes long.

        Returns:
            The edited codes, None if the method edits pictures, and the pictures (B, 3, size, size) in about [-1, 1].
        """
        options = options or EditOptions()
        networks, w_plus = self.networks, w_plus.to(self.device, torch.float32)
        if getattr(load_method(options), "sees_pictures", True):
            with self._mixed():
                images = networks.generator(w_plus).float()
                labels = networks.parser.smooth_labels(images)
        else:
            images, labels = w_plus.new_empty(len(w_plus), 3, 0, 0), w_plus.new_empty(len(w_plus), 0, 0).long()
        start = Prepared(images, Inversion(w_plus, images, w_plus.new_full((len(w_plus),), torch.inf), 0), labels)
        edited = self.edit_codes(start, [request] * len(w_plus), options, progress=progress)
        pictures = edited.images
        if edited.codes is not None:
            with self._mixed():
                pictures = networks.generator(edited.codes).float()
        assert pictures is not None
        return edited.codes, pictures

    @in_float32
    @torch.no_grad()
    def render(
        self,
        prepared: Prepared,
        edited: MethodResult,
        requests: Sequence[EditRequest],
        options: EditOptions,
        *,
        watch: Stopwatch | None = None,
    ) -> list[EditResult]:
        """Synthesize edited codes and blend the hair into the pictures.

        With an empty request, or at strength 0, the picture stays as it is, bit for bit.

        Args:
            prepared: where the edits started.
            edited: the edited codes, or pictures.
            requests: what was asked of each picture.
            options: how the edit is blended; `options.strands` says whether the photo's own strands take a new color.
            watch: counts the seconds.
        """
        watch = watch or Stopwatch()
        with watch("edit"):
            synthesized = edited.images
            if edited.codes is not None:
                with self._mixed():
                    synthesized = prepared.inversion.synthesize(edited.codes, self.networks.generator).float()
            assert synthesized is not None
        with watch("blend"):
            with self._mixed():
                labels = self.networks.parser.smooth_labels(synthesized)
            pictures = {"synthesized": synthesized, "mask": (labels == HAIR)[:, None]}
            recolor = torch.tensor(
                [options.strands == "photo" and request.changes_color_alone for request in requests],
                device=synthesized.device,
            )
            recolored, recoloring = torch.zeros_like(recolor), None
            if options.blend and recolor.any():
                recoloring, usable = self._find_recoloring(prepared, synthesized, labels)
                recolored = usable & recolor
            if not options.blend:
                pictures["alpha"] = torch.ones_like(pictures["mask"], dtype=torch.float32)
                pictures["image"] = pictures["foreground"] = synthesized.clamp(-1, 1)
            elif not recolored.all():
                blended = blend_hair(
                    prepared.aligned,
                    synthesized,
                    prepared.labels,
                    labels,
                    seam=options.seam,
                    behind=options.behind,
                    feather=options.feather,
                )
                pictures |= {"image": blended.image, "foreground": blended.foreground, "alpha": blended.alpha}
                if blended.bare is not None:
                    pictures["bare"] = blended.bare
            recolorings: list[Recoloring | None] = [None] * len(requests)
            if recoloring is not None:
                foreground = recoloring.foreground(prepared.aligned)
                image = composite(prepared.aligned, foreground, recoloring.alpha)
                for name, value in {"image": image, "foreground": foreground, "alpha": recoloring.alpha}.items():
                    pictures[name] = torch.where(recolored[:, None, None, None], value, pictures.get(name, value))
                recolorings = [
                    recoloring[i : i + 1] if is_recolored else None for i, is_recolored in enumerate(recolored.tolist())
                ]
        results = edit_results(prepared, edited.codes, pictures, requests, recolorings)
        return [
            keep_photo(result) if options.strength == 0 or request.is_empty else result
            for result, request in zip(results, requests, strict=True)
        ]

    def _find_recoloring(self, prepared: Prepared, edited: Images, labels: Labels) -> tuple[Recoloring, Flags]:
        """Return how the photos' own hair gets the new color, and flags (B,) for photos where this is reliable."""
        before = prepared.inversion.images
        with self._mixed():
            parsed = self.networks.parser.smooth_labels(before)
        return find_recoloring(prepared.aligned, prepared.labels, before, parsed, edited, labels)

    # ------------------------------------------------------------------ what people call

    def edit(
        self,
        image: ImageSource,
        hairstyle: ImageSource | None = None,
        color: ImageSource | None = None,
        *,
        options: EditOptions | None = None,
        inverting: InversionOptions | None = None,
        progress: bool = False,
        **settings: Unpack[Settings],
    ) -> EditResult:
        """Edit one picture.

        Args:
            image: the portrait, cropped to the face: a path, PIL image, uint8 array (H, W, 3) or tensor in [-1, 1].
            hairstyle: a text ("bob cut"), a picture whose hairstyle to take, or None to keep it.
            color: a text ("red"), a picture whose hair color to take, or None to keep it.
            options: how the edit is made.
            inverting: how the picture is inverted.
            progress: show progress bars where something takes long.
            settings: single fields of `EditOptions` and `InversionOptions`, such as `strength=0.5`.

        Raises:
            HairclipError: if nothing is asked for, or a picture, a text or a setting is refused.
        """
        options, inverting = read_settings(options, inverting, settings)
        return self._edit_all([image], [self.ask(hairstyle, color)], options, inverting, None, progress)[0]

    def edit_batch(
        self,
        images: Sequence[ImageSource],
        hairstyles: Sequence[ImageSource | None] | None = None,
        colors: Sequence[ImageSource | None] | None = None,
        *,
        options: EditOptions | None = None,
        inverting: InversionOptions | None = None,
        batch_size: int | None = None,
        plain: bool | None = None,
        progress: bool = False,
        **settings: Unpack[Settings],
    ) -> list[EditResult]:
        """Edit many pictures. Each may ask for another thing, by text or by reference picture.

        Args:
            images: portraits, see `edit`.
            hairstyles: one text, picture or None per portrait; None keeps all hairstyles.
            colors: one text, picture or None per portrait; None keeps all colors.
            options: how the edits are made.
            inverting: how the pictures are inverted.
            batch_size: how many pictures go through the networks together; None takes what fits the memory: 32 up to
                256 px, 4 at 1024 px.
            plain: see `prepare`.
            progress: show progress bars where something takes long.
            settings: single fields of `EditOptions` and `InversionOptions`, such as `strength=0.5`.

        Raises:
            HairclipError: if nothing is asked for, the lists differ in length, or a picture, a text or a setting is
                refused.
        """
        options, inverting = read_settings(options, inverting, settings)
        parts = {"images": images, "hairstyles": hairstyles, "colors": colors}
        for name, values in parts.items():
            if isinstance(values, (str, Path)):
                raise HairclipError(f"{name} is {str(values)!r}: give a list with one entry per picture.")
        hairstyles = [None] * len(images) if hairstyles is None else list(hairstyles)
        colors = [None] * len(images) if colors is None else list(colors)
        if not len(images) == len(hairstyles) == len(colors):
            raise HairclipError(
                f"{len(images)} images, {len(hairstyles)} hairstyles and {len(colors)} colors do not pair up: "
                "give one of each per picture, None where that part stays."
            )
        if batch_size is not None:
            check_range("batch_size", batch_size, 1)
        requests = [self.ask(style, color) for style, color in zip(hairstyles, colors, strict=True)]
        return self._edit_all(images, requests, options, inverting, batch_size, progress, plain)

    def _edit_all(
        self,
        images: Sequence[ImageSource],
        requests: Sequence[EditRequest],
        options: EditOptions,
        inverting: InversionOptions,
        batch_size: int | None,
        progress: bool,
        plain: bool | None = None,
    ) -> list[EditResult]:
        """Edit pictures, as many at once as fit the memory."""
        check_requests(requests)
        self.check(requests, options)
        batch_size = batch_size or self.batch_size
        results: list[EditResult] = []
        for first in range(0, len(images), batch_size):
            part = slice(first, first + batch_size)
            prepared = self.prepare(images[part], inverting, plain=plain, progress=progress)
            results += self.edit_prepared(prepared, requests[part], options, progress=progress)
        return results

    @torch.no_grad()
    def edit_prepared(
        self,
        prepared: Prepared,
        requests: Sequence[EditRequest],
        options: EditOptions | None = None,
        *,
        batch_size: int | None = None,
        progress: bool = False,
        watch: Stopwatch | None = None,
    ) -> list[EditResult]:
        """Edit prepared pictures.

        Args:
            prepared: pictures that `prepare` made ready.
            requests: one per picture.
            options: how the edits are made.
            batch_size: number of pictures that the networks always see at once, see `prepare`.
            progress: show a progress bar where the method takes long.
            watch: counts the seconds.
        """
        watch, options = watch or Stopwatch(), options or EditOptions()
        if batch_size is not None:
            results: list[EditResult] = []
            for chosen, count in _fill_batches(len(prepared), batch_size):
                batch = [requests[i] for i in chosen]
                results += self.edit_prepared(prepared[chosen], batch, options, progress=progress, watch=watch)[:count]
            return results
        with watch("edit"):
            if options.strength == 0 or all(request.is_empty for request in requests):
                edited = MethodResult(codes=prepared.inversion.w_plus)
            else:
                edited = self.edit_codes(prepared, requests, options, progress=progress)
        return self.render(prepared, edited, requests, options, watch=watch)

    def grid(
        self,
        image: ImageSource | Prepared,
        hairstyles: Sequence[ImageSource | None],
        colors: Sequence[ImageSource | None],
        *,
        options: EditOptions | None = None,
        inverting: InversionOptions | None = None,
        tile: int | None = None,
        progress: bool = False,
        **settings: Unpack[Settings],
    ) -> Image.Image:
        """Return a contact sheet of one person: a row per hairstyle, a column per color.

        Args:
            image: a portrait, see `edit`, or one prepared picture.
            hairstyles: what the rows ask for; None keeps the hairstyle.
            colors: what the columns ask for; None keeps the color.
            options: how the edits are made.
            inverting: how the picture is inverted.
            tile: pixels of each picture; None takes the generator's size, at least 160 and at most 256.
            progress: show progress bars where something takes long.
            settings: single fields of `EditOptions` and `InversionOptions`, such as `strength=0.5`.
        """
        options, inverting = read_settings(options, inverting, settings)
        rows = [self.ask(hairstyle=style) for style in hairstyles] or [EditRequest()]
        columns = [self.ask(color=color) for color in colors] or [EditRequest()]
        requests = [[EditRequest(row.hairstyle, column.color) for column in columns] for row in rows]
        self.check([request for row in requests for request in row], options)
        prepared = image if isinstance(image, Prepared) else self.prepare([image], inverting, progress=progress)
        copies = prepared[[0] * len(columns)]
        sheet = [
            [result.image for result in self.edit_prepared(copies, row, options, progress=progress)] for row in requests
        ]
        return draw_sheet(
            sheet,
            columns=[column.names[1] or "own color" for column in columns],
            rows=[row.names[0] or "own style" for row in rows],
            tile=tile or min(256, max(160, self.networks.generator.size)),
        )

    @torch.no_grad()
    def frames(
        self,
        prepared: Prepared,
        requests: Sequence[EditRequest],
        count: int,
        options: EditOptions | None = None,
        *,
        progress: bool = False,
    ) -> Iterator[list[EditResult]]:
        """Yield `count` frames that morph from one edit to the next. With a single request, morph from the inversion.

        Args:
            prepared: pictures that `prepare` made ready.
            requests: what each stop of the animation asks of every picture.
            count: number of frames, 2 or more.
            options: how the edits are made.
            progress: show a progress bar where the method takes long.

        Yields:
            One result per prepared picture.

        Raises:
            HairclipError: if nothing is asked for, or the method gives no codes between which a frame could lie.
        """
        check_range("count", count, 2)
        check_requests(requests)
        options = options or EditOptions()
        self.check(requests, options)
        if not all(request.is_empty or request.changes_color_alone for request in requests):
            options = replace(options, strands="edit")
        stops: list[Tensor] = [] if len(requests) > 1 else [prepared.inversion.w_plus]
        for request in requests:
            codes = self.edit_codes(prepared, [request] * len(prepared), options, progress=progress).codes
            if codes is None:
                raise HairclipError(
                    f"method={options.method!r} edits pictures, not codes, so there are no frames between two edits: "
                    'choose method="mapper" or "optimize".'
                )
            stops.append(codes)
        last = [next(request for request in reversed(requests) if not request.is_empty)] * len(prepared)
        for position in np.linspace(0.0, len(stops) - 1.0, count):
            before = min(int(position), len(stops) - 2)
            codes = torch.lerp(stops[before], stops[before + 1], float(position) - before)
            yield self.render(prepared, MethodResult(codes=codes), last, options)


def _fill_batches(count: int, size: int) -> Iterator[tuple[list[int], int]]:
    """Yield batches as `size` positions and the number of them that count. The rest repeat the last position."""
    for first in range(0, count, size):
        positions = list(range(first, min(first + size, count)))
        yield positions + positions[-1:] * (size - len(positions)), len(positions)
