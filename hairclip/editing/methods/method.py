"""What an editing method is: the part of an edit that turns codes and a request into new codes, or into a picture."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast, runtime_checkable

from torch import Tensor, nn

from hairclip.common.errors import HairclipError
from hairclip.common.names import nearest
from hairclip.conditions.encoder import ConditionEncoder, EditBatch
from hairclip.editing.methods import METHODS
from hairclip.editing.options import EditOptions
from hairclip.editing.request import EditRequest
from hairclip.editing.result import Prepared
from hairclip.losses.hair_edit import HairEditLoss
from hairclip.networks.mapper import References
from hairclip.pretrained.bundle import Networks

__all__ = ["EditingMethod", "Editor", "MethodResult", "load_method", "refuse_pictures"]


if TYPE_CHECKING:

    class Editor(Protocol):
        """What a method may use of a `HairEditor`. Networks are loaded when they are first read.

        Attributes:
            networks: generator, CLIP, parser, encoder and identity network.
            groups: the first medium and the first fine layer of the codes.
            mapper: the trained mapper.
            loss: the training loss, with HairCLIP's weights unless the editor was given another.
            encode: gives the requests' embeddings in CLIP, with flags for what is asked.
        """

        networks: Networks
        groups: tuple[int, int]

        @property
        def mapper(self) -> nn.Module: ...
        @property
        def loss(self) -> HairEditLoss: ...
        def conditions(self, references: References = "whole") -> ConditionEncoder: ...
        def encode(self, requests: Sequence[EditRequest], options: EditOptions) -> EditBatch: ...

else:
    Editor = Any  # a type check while the program runs would read, and so load, the networks


@dataclass(frozen=True)
class MethodResult:
    """What a method makes of a batch: codes, or pictures where it has none.

    Attributes:
        codes: edited W+ codes, (B, n_latent, w_dim). The editor applies the strength to them and synthesizes them.
        images: edited pictures, (B, 3, size, size) in [-1, 1], of a method that does not edit codes. Such a method
            applies `EditOptions.strength` itself.
    """

    codes: Tensor | None = None
    images: Tensor | None = None

    def __post_init__(self) -> None:
        if (self.codes is None) == (self.images is None):
            raise ValueError("a method gives either codes or images")


@runtime_checkable
class EditingMethod(Protocol):
    """A way to edit. A method of your own inherits from this class, or has the same three functions.

    Arguments of its constructor, such as the fields of a dataclass, are its own settings: `EditOptions.method_settings`
    and ``--set name=value`` give their values. Each has a default.

    Attributes:
        parts: parts of a bundle that the method needs besides generator, encoder, parser and CLIP.
        sees_pictures: whether the method looks at the pictures of `Prepared`. If not, these are empty where codes are
            edited that belong to no photo.
    """

    parts: ClassVar[tuple[str, ...]] = ()
    sees_pictures: ClassVar[bool] = True

    def check(self, request: EditRequest, editor: Editor) -> None:
        """Refuse a request that this method or these networks cannot do. It is called before the work starts.

        Raises:
            HairclipError: with one sentence that says what cannot be done and what can.
        """

    def references(self, editor: Editor) -> References:
        """Return how CLIP is shown reference pictures: "whole" or "separated", see `HairMapper`."""
        return "whole"

    def edit(
        self,
        prepared: Prepared,
        requests: Sequence[EditRequest],
        options: EditOptions,
        editor: Editor,
        *,
        progress: bool = False,
    ) -> MethodResult:
        """Edit a batch whose samples may ask for different things.

        Args:
            prepared: the pictures with their codes.
            requests: what is asked of each picture; one may ask for nothing. `editor.encode` makes embeddings of them.
            options: `steps` and `seed` are for the method. Strength and blending are applied to what it returns.
            editor: where the networks are.
            progress: show a progress bar.
        """
        ...


def load_method(options: EditOptions) -> EditingMethod:
    """Return the editing method that options name, with its settings.

    Raises:
        HairclipError: if there is no such method, if it lacks a function of `EditingMethod`, or if it has no setting of
            a name in `options.method_settings`.
    """
    made = METHODS.load(options.method)
    if not callable(made) or not all(hasattr(made, name) for name in ("check", "references", "edit")):
        raise HairclipError(
            f"method={options.method!r} is no editing method: give a class with check, references and edit, as "
            "hairclip.editing.methods.method.EditingMethod has them."
        )
    known = [name for name in inspect.signature(made).parameters if name not in ("args", "kwargs")]
    for name in options.method_settings:
        if name not in known:
            told = f"it has {', '.join(known)}" if known else "it has none"
            raise HairclipError(f"method={options.method!r} has no setting '{name}'{nearest(name, known)}: {told}.")
    return cast(EditingMethod, made(**options.method_settings))


def refuse_pictures(method: str, request: EditRequest) -> None:
    """Refuse a reference picture for a method that knows texts alone.

    Raises:
        HairclipError: with one sentence.
    """
    for name, value in (("hairstyle", request.hairstyle), ("color", request.color)):
        if isinstance(value, Tensor):
            raise HairclipError(
                f'method="{method}" takes texts alone, and the {name} is a picture: name it in words, or use '
                'method="mapper".'
            )
