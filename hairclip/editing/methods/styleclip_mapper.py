"""StyleCLIP's latent mappers (Patashnik et al. 2021, section 5): one trained network for each word."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from hairclip.common.errors import HairclipError
from hairclip.common.names import nearest
from hairclip.editing.methods.method import EditingMethod, Editor, MethodResult
from hairclip.editing.options import EditOptions
from hairclip.editing.request import EditRequest
from hairclip.editing.result import Prepared
from hairclip.networks.style_mappers import StyleMappers
from hairclip.networks.stylegan2 import Generator
from hairclip.pretrained.bundle import MissingPartError, Networks
from hairclip.pretrained.loaders import load_style_mappers
from hairclip.pretrained.mapper import check_companions
from hairclip.pretrained.sources import find_unfetched

__all__ = ["PUBLISHED", "StyleClipMapper", "check_style_mappers", "serves_published"]

PUBLISHED = {
    "afro": "styleclip-afro",
    "bob cut": "styleclip-bob-cut",
    "bowl cut": "styleclip-bowl-cut",
    "perm": "styleclip-curly-hair",
    "mohawk": "styleclip-mohawk",
    "purple": "styleclip-purple-hair",
}
"""Word of the vocabulary -> name of the published mapper for it. Curly hair is the nearest to a perm."""

_PUBLISHED_FOR = (18, 512)  # layers and width of the codes
_TOLERANCE = 1e-3  # of a generator's constant input in half precision


@dataclass(frozen=True)
class StyleClipMapper(EditingMethod):
    """Adds the change that a word's own network computes to the codes.

    Attributes:
        mapper: a name or a file of one mapper, which then serves whatever is asked for. Without it, those of the
            bundle, or the published ones for FFHQ's generator.
    """

    mapper: str = ""
    sees_pictures = False

    def check(self, request: EditRequest, editor: Editor) -> None:
        """Refuse pictures, words without a mapper, and mappers of another generator."""
        for name, value in (("hairstyle", request.hairstyle), ("color", request.color)):
            if isinstance(value, Tensor):
                raise HairclipError(
                    f'method="styleclip-mapper" was trained for words, and the {name} is a picture: name it in words, '
                    'or use method="mapper".'
                )
        if self.mapper and request.hairstyle is not None and request.color is not None:
            raise HairclipError(
                f"the mapper {self.mapper} knows one text, but a hairstyle and a color are asked for: leave one out."
            )
        for _ in self._mappers(request, editor):
            pass

    def edit(
        self,
        prepared: Prepared,
        requests: Sequence[EditRequest],
        options: EditOptions,
        editor: Editor,
        *,
        progress: bool = False,
    ) -> MethodResult:
        """Edit a batch; see `EditingMethod.edit`. A hairstyle and a color are two changes, which are added."""
        w_plus = prepared.inversion.w_plus
        change = torch.zeros_like(w_plus)
        wanted: dict[int, tuple[StyleMappers, list[int], list[str]]] = {}
        for number, request in enumerate(requests):
            for mappers, word in self._mappers(request, editor):
                _, samples, words = wanted.setdefault(id(mappers), (mappers, [], []))
                samples.append(number)
                words.append(word)
        for mappers, samples, words in wanted.values():
            rows = torch.tensor(samples, device=w_plus.device)
            change = change.index_add(0, rows, mappers(w_plus[rows], words).to(change.dtype))
        return MethodResult(codes=w_plus + change)

    def _mappers(self, request: EditRequest, editor: Editor) -> Iterator[tuple[StyleMappers, str]]:
        """Yield the mappers of a request, each with the word to give it."""
        for word in (request.hairstyle, request.color):
            if isinstance(word, str):
                yield self._find(word, editor)

    def _find(self, word: str, editor: Editor) -> tuple[StyleMappers, str]:
        generator = editor.networks.generator
        if self.mapper:
            mappers = _load_checked(self.mapper, generator)
            if len(mappers.words) > 1 and word not in mappers.words:
                raise _no_mapper(word, list(mappers.words), self.mapper)
            return mappers, word if word in mappers.words else next(iter(mappers.words))
        try:
            mappers = editor.networks.style_mappers
        except MissingPartError:
            published = PUBLISHED.get(word)
            if not serves_published(editor.networks):
                raise
            if published is None:
                raise _no_mapper(word, list(PUBLISHED), "StyleCLIP's authors") from None
            mappers = _load_checked(published, generator)
            return mappers, next(iter(mappers.words))
        check_style_mappers(mappers, generator, "style_mappers")
        check_companions(mappers, getattr(editor.networks, "parts", {}), "style_mappers")
        if word not in mappers.words:
            raise _no_mapper(word, list(mappers.words), "the bundle")
        return mappers, word


def check_style_mappers(mappers: StyleMappers, generator: Generator, name: str) -> None:
    """Refuse mappers that were trained with another generator.

    Args:
        mappers: any.
        generator: the generator that they are used with.
        name: what the message calls the mappers.

    Raises:
        HairclipError: if a size differs, or the constant input of the generator in the mappers' file.
    """
    made, fits = (mappers.n_latent, mappers.w_dim), (generator.n_latent, generator.w_dim)
    if made != fits:
        raise HairclipError(
            f"{name} does not fit the generator: it takes {made[0]} layers of width {made[1]}, but the generator has "
            f"{fits[0]} layers of width {fits[1]}; give mappers trained with it."
        )
    constant = mappers.constant
    if constant is not None and (
        constant.shape != generator.constant.shape
        or float((constant - generator.constant).abs().max()) > _TOLERANCE * float(constant.abs().max())
    ):
        raise HairclipError(
            f"{name} was trained with another generator than this one, because the two differ in their constant input: "
            "use the generator in its file, or give mappers trained with this one."
        )


def serves_published(networks: Networks) -> bool:
    """Return whether StyleCLIP's published networks may fit: the generator has the shape of FFHQ's at 1024 px."""
    return (networks.generator.n_latent, networks.generator.w_dim) == _PUBLISHED_FOR


@lru_cache(maxsize=8)
def _load(name: str, device: torch.device) -> StyleMappers:
    return load_style_mappers(name, device)


def _load_checked(name: str, generator: Generator) -> StyleMappers:
    """Return mappers by name or file, kept in memory, after a check that they fit a generator.

    Raises:
        HairclipError: also if they must be fetched first.
    """
    if find_unfetched({"style_mappers": name}, ["style_mappers"]):
        raise MissingPartError(f"the weights {name} are not here yet: run python -m hairclip download {name}.")
    mappers = _load(name, generator.constant.device)
    check_style_mappers(mappers, generator, f"the mapper {name}")
    return mappers


def _no_mapper(word: str, known: list[str], whose: str) -> HairclipError:
    return HairclipError(
        f"{whose} has no latent mapper for '{word}'{nearest(word, known)}: choose {', '.join(known)}, or use "
        'method="mapper".'
    )
