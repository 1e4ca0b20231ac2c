"""Write sets of reference pictures: edits of training faces, a folder per word (HairCLIP's extended reference set).

Colors: a mapper that is given no hairstyle colors faces. `<color> hair/00000.jpg` and so on is the layout that the
official training reads. Hairstyles: faces are edited by text, and a classifier or CLIP must agree with the result.

Which faces are edited, and in which batches, follows from the seed and the word alone. The set is therefore the same
whether one process writes it or several do, in one go or after a kill.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch

from hairclip.common.distributed import World
from hairclip.common.errors import HairclipError, check_range
from hairclip.common.files import digest, write_atomic
from hairclip.common.images import Images, WPlus, save_image
from hairclip.common.progress import progress_bar
from hairclip.conditions.prompts import HAIRSTYLES, color_prompt, hairstyle_prompt, in_vocabulary_order
from hairclip.editing.editor import HairEditor
from hairclip.editing.options import EditOptions
from hairclip.editing.request import EditRequest
from hairclip.networks.classifier import HairstyleClassifier
from hairclip.pretrained.bundle import BundleWords, MissingPartError

__all__ = ["RECORD", "Codes", "SetKind", "SetSettings", "WordSet", "write_references"]

SetKind: TypeAlias = Literal["color", "hairstyle"]
"""What the pictures of a set show."""

RECORD = "references.json"
"""Name of the file in each folder of pictures that tells how they were made."""

_FORMAT = 1
_OPTIONS = ("method", "method_settings", "strength", "steps", "seed")  # those that edits of codes depend on
_MINIMUM_HAIR = 0.005  # share of a picture below which its hair has no color to learn from, as in training


@runtime_checkable
class Codes(Protocol):
    """A numbered set of W+ codes, such as `hairclip.training.latents.LatentSet`."""

    def __len__(self) -> int: ...
    def __getitem__(self, indices: Sequence[int]) -> WPlus: ...
    def digest(self) -> str: ...


@dataclass(frozen=True)
class SetSettings:
    """How a set of references is made.

    Attributes:
        count: pictures of each word.
        seed: chooses and orders the faces.
        tries: faces that are tried for a word, at most so many times `count`.
        top: the word must be among so many first choices of the classifier or of CLIP.
        batch_size: faces that the networks always see at once; None takes what fits the memory.
        options: how they are edited.
    """

    count: int = 4000
    seed: int = 0
    tries: int = 4
    top: int = 1
    batch_size: int | None = None
    options: EditOptions = field(default_factory=EditOptions)

    def __post_init__(self) -> None:
        for name, least in (("count", 1), ("seed", 0), ("tries", 1), ("top", 1)):
            check_range(name, getattr(self, name), least)
        if self.batch_size is not None:
            check_range("batch_size", self.batch_size, 1)


@dataclass
class WordSet:
    """The pictures of one word.

    Attributes:
        kind: what they show.
        word: the color or the hairstyle.
        folder: where they are.
        wanted: number of pictures that were asked for.
        codes: number of the code of each picture, in the order of the pictures.
        tried: number of faces that were edited.
        judge: what had to agree with each picture.
    """

    kind: SetKind
    word: str
    folder: Path
    wanted: int
    codes: list[int]
    tried: int
    judge: str

    @property
    def rejected(self) -> int:
        """Number of edits that were not taken."""
        return self.tried - len(self.codes)

    @property
    def is_short(self) -> bool:
        """Whether there are fewer pictures than were asked for."""
        return len(self.codes) < self.wanted


def write_references(
    editor: HairEditor,
    codes: Codes,
    words: Mapping[SetKind, Sequence[str]],
    out: Path,
    settings: SetSettings | None = None,
    *,
    world: World | None = None,
    sources: Mapping[str, str] | None = None,
    progress: bool = False,
) -> Iterator[WordSet]:
    """Write the pictures of each word and yield what became of them, word by word.

    Args:
        editor: edits the faces. A `judge` among its networks must agree with hairstyles; without one, CLIP must.
        codes: the faces, training codes of the editor's generator.
        words: colors and hairstyles.
        out: holds one folder per word: "red hair", "afro hairstyle". Pictures are 00000.jpg and so on.
        settings: how many pictures, and how they are made.
        world: the processes that share the work; None for this one alone.
        sources: names of bundle, mapper and codes, for the record.
        progress: show a progress bar.

    Raises:
        HairclipError: if the codes are of another generator, a word cannot be edited, a folder holds other pictures, or
            a file cannot be written.
    """
    settings = settings or SetSettings()
    world = world or World(rank=0, size=1, device=editor.device)
    requests = [(kind, _ask(editor, kind, word)) for kind, named in words.items() for word in named]
    editor.check([request for _, request in requests], settings.options, photos=False)
    generator = editor.networks.generator
    shape = tuple(codes[[0]].shape[1:])
    if shape != (generator.n_latent, generator.w_dim):
        raise HairclipError(
            f"the codes are of shape {shape}, but the generator takes ({generator.n_latent}, {generator.w_dim}): give "
            "codes of this generator, or another bundle."
        )
    batch_size = settings.batch_size or editor.batch_size
    made_with = {
        "format": _FORMAT,
        "networks": editor.digest(),
        "codes_digest": codes.digest(),
        "seed": settings.seed,
        "batch_size": batch_size,
        "options": {name: getattr(settings.options, name) for name in _OPTIONS},
    }
    with progress_bar(total=settings.count * len(requests), label="references", show=progress and world.is_main) as bar:
        for kind, request in requests:
            agrees, judge = _find_judge(editor, kind, request, settings.top)
            run = _WordRun(editor, codes, kind, request, out, settings, batch_size, world, agrees)
            yield run.write({**made_with, "judge": judge}, dict(sources or {}), bar.update)


def _ask(editor: HairEditor, kind: SetKind, word: str) -> EditRequest:
    request = editor.ask(color=word) if kind == "color" else editor.ask(hairstyle=word)
    if request.names != ((None, word) if kind == "color" else (word, None)):
        raise HairclipError(f"{' '.join(request.notes)} Name the {kind} as the networks know it.")
    return request


class _WordRun:
    """The pictures of one word."""

    def __init__(
        self,
        editor: HairEditor,
        codes: Codes,
        kind: SetKind,
        request: EditRequest,
        out: Path,
        settings: SetSettings,
        batch_size: int,
        world: World,
        agrees: Callable[[Images], list[bool]],
    ) -> None:
        self.editor, self.codes, self.kind, self.request = editor, codes, kind, request
        self.settings, self.batch_size, self.world, self.agrees = settings, batch_size, world, agrees
        word = request.color if kind == "color" else request.hairstyle
        assert isinstance(word, str)
        self.word = word
        self.folder = out / (color_prompt(word) if kind == "color" else hairstyle_prompt(word))
        stream = int(digest("references", kind, word)[:8], 16)
        self.order = np.random.default_rng([settings.seed, stream]).permutation(len(codes)).tolist()
        self.order = self.order[: settings.tries * settings.count]

    def write(self, made_with: dict[str, Any], sources: dict[str, str], advance: Callable[[int], Any]) -> WordSet:
        """Write what is missing of the pictures; every process must call this."""
        taken, tried = self._resume(made_with)
        advance(min(len(taken), self.settings.count))
        world, size = self.world, self.batch_size
        first = tried - tried % size  # a batch holds the same faces whenever it is edited
        while len(taken) < self.settings.count and first < len(self.order):
            mine = self.order[first + world.rank * size : first + (world.rank + 1) * size]
            flags = torch.zeros(world.size, size, dtype=torch.bool)
            images = torch.empty(0)
            if mine:
                filled = [*mine, *mine[-1:] * (size - len(mine))]
                _, images = self.editor.edit_latents(self.codes[filled], self.request, self.settings.options)
                flags[world.rank] = torch.tensor(self.agrees(images.clamp(-1, 1)))
            accepted = world.anywhere(flags).flatten().tolist()
            before = len(taken)
            for position, is_good in enumerate(accepted, start=first):
                if position < tried or position >= len(self.order):
                    continue
                tried = position + 1
                if is_good:
                    if position // size == first // size + world.rank:
                        path = self.folder / name_reference(len(taken))
                        save_image(images[position % size], path, quality=95, subsampling=0)
                    taken.append(self.order[position])
                    if len(taken) == self.settings.count:
                        break
            world.wait()  # the record names no picture that is not there
            if world.is_main:
                self._record(made_with, sources, taken, tried)
            advance(len(taken) - before)
            first += size * world.size
        world.wait()
        return WordSet(self.kind, self.word, self.folder, self.settings.count, taken, tried, made_with["judge"])

    def _resume(self, made_with: Mapping[str, Any]) -> tuple[list[int], int]:
        """Return the codes of the pictures that are there, and how many faces were tried for them."""
        path = self.folder / RECORD
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            taken, tried = [int(code) for code in record["codes"]], int(record["tried"])
            before = {name: record[name] for name in made_with}
        except FileNotFoundError:
            if any(self.folder.glob("*.jpg")):
                raise HairclipError(
                    f"{self.folder} holds pictures but no {RECORD} that tells of them: choose another folder."
                ) from None
            return [], 0
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            raise HairclipError(f"{path} is damaged: remove its folder, or choose another place.") from None
        changed = [name for name, value in made_with.items() if before[name] != value]
        if changed:
            raise HairclipError(
                f"{self.folder} holds pictures that were made with other {changed[0].replace('_', ' ')}: remove it, or "
                "choose another place."
            )
        whole = next((i for i in range(len(taken)) if not (self.folder / name_reference(i)).is_file()), len(taken))
        if whole < len(taken):  # from the first missing picture on, all are made again
            taken, tried = taken[:whole], self.order.index(taken[whole - 1]) + 1 if whole else 0
        return taken, tried

    def _record(
        self, made_with: Mapping[str, Any], sources: Mapping[str, str], taken: Sequence[int], tried: int
    ) -> None:
        told = {"kind": self.kind, "word": self.word, **sources, **made_with}
        told |= {"rejected": tried - len(taken), "tried": tried, "codes": list(taken)}
        write_atomic(self.folder / RECORD, json.dumps(told) + "\n")


def name_reference(number: int) -> str:
    """Return the file name of a reference picture, as the official code has it: "00012.jpg"."""
    return f"{number:05d}.jpg"


def _find_judge(
    editor: HairEditor, kind: SetKind, request: EditRequest, top: int
) -> tuple[Callable[[Images], list[bool]], str]:
    """Return what says whether pictures (B, 3, H, W) show the word, and its name."""
    if kind == "color":

        def has_hair(images: Images) -> list[bool]:
            shares = editor.networks.parser.hair_mask(images).float().mean(dim=(1, 2, 3))
            return (shares >= _MINIMUM_HAIR).tolist()

        return has_hair, f"the parser finds hair on {_MINIMUM_HAIR:.1%} of the pixels"
    word = request.hairstyle
    assert isinstance(word, str)
    judge: HairstyleClassifier | None = None
    with suppress(MissingPartError, AttributeError):
        judge = editor.networks.judge  # type: ignore[attr-defined]
    if judge is not None and word in judge.classes:
        scores: Callable[[Images], torch.Tensor] = judge
        names, told = list(judge.classes), "the classifier's"
    else:
        known = getattr(editor.networks, "known_words", BundleWords)().hairstyles
        names, told = in_vocabulary_order({*(known or HAIRSTYLES), word}, HAIRSTYLES), "CLIP's"
        clip, texts = editor.networks.clip, editor.conditions().texts([hairstyle_prompt(name) for name in names])

        def scores(images: Images) -> torch.Tensor:
            return torch.cosine_similarity(clip.encode_image(images)[:, None], texts[None], dim=-1)

    wanted = names.index(word)

    @torch.no_grad()
    def agrees(images: Images) -> list[bool]:
        given = scores(images)
        return ((given > given[:, wanted : wanted + 1]).sum(dim=1) < top).tolist()

    return agrees, f"the word is among {told} first {top} of {len(names)} hairstyles"
