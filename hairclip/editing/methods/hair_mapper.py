"""Edit with the trained mapper: one pass, as in HairCLIP (Wei et al. 2022, section 3.2)."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from hairclip.common.errors import HairclipError
from hairclip.editing.methods.method import EditingMethod, Editor, MethodResult
from hairclip.editing.options import EditOptions
from hairclip.editing.request import EditRequest
from hairclip.editing.result import Prepared
from hairclip.networks.mapper import HairMapper, References
from hairclip.pretrained.bundle import Networks
from hairclip.pretrained.mapper import check_companions

__all__ = ["HairMapperMethod", "check_mapper"]


@dataclass(frozen=True)
class HairMapperMethod(EditingMethod):
    """Adds the change that the mapper computes to the codes."""

    parts = ("mapper",)
    sees_pictures = False

    def check(self, request: EditRequest, editor: Editor) -> None:
        """Refuse what the mapper's sub-mappers cannot change."""
        mapper = editor.mapper
        if not isinstance(mapper, HairMapper):
            return
        if request.hairstyle is not None and mapper.coarse is None and mapper.medium is None:
            raise HairclipError(
                "this mapper has neither a coarse nor a medium sub-mapper, so it changes no hairstyle: "
                'ask for a color alone, give another mapper, or use method="optimize".'
            )
        if request.color is not None and mapper.fine is None:
            raise HairclipError(
                "this mapper has no fine sub-mapper, so it changes no color: "
                'ask for a hairstyle alone, give another mapper, or use method="optimize".'
            )

    def references(self, editor: Editor) -> References:
        """Return how the mapper was trained to see reference pictures."""
        return getattr(editor.mapper, "references", "whole")

    def edit(
        self,
        prepared: Prepared,
        requests: Sequence[EditRequest],
        options: EditOptions,
        editor: Editor,
        *,
        progress: bool = False,
    ) -> MethodResult:
        """Edit a batch; see `EditingMethod.edit`."""
        w_plus = prepared.inversion.w_plus
        return MethodResult(codes=w_plus + editor.mapper(w_plus, editor.encode(requests, options).condition))


def check_mapper(mapper: nn.Module, networks: Networks, name: str, *, companions: bool = True) -> None:
    """Refuse a mapper that was trained with other networks.

    Args:
        mapper: networks of other classes are not checked.
        networks: the generator and CLIP that it is used with.
        name: what the message calls the mapper.
        companions: whether to compare the content of generator and CLIP too, not only their sizes.

    Raises:
        HairclipError: if a size or the content differs.
    """
    if not isinstance(mapper, HairMapper):
        return
    generator = networks.generator
    fits = (generator.n_latent, generator.w_dim, networks.clip.width)
    made = (mapper.n_latent, mapper.w_dim, mapper.condition_dim)
    if made != fits:
        raise HairclipError(
            f"{name} does not fit the other networks: it takes {made[0]} layers of width {made[1]} and conditions of "
            f"width {made[2]}, but the generator has {fits[0]} layers of width {fits[1]} and CLIP the width {fits[2]}; "
            "give a mapper trained with them."
        )
    if companions:
        check_companions(mapper, getattr(networks, "parts", {}), name)
