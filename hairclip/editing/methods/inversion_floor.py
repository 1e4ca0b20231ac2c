"""Edit nothing: the floor that a measurement must tell from an edit."""

from collections.abc import Sequence
from dataclasses import dataclass

from hairclip.editing.methods.method import EditingMethod, Editor, MethodResult
from hairclip.editing.options import EditOptions
from hairclip.editing.request import EditRequest
from hairclip.editing.result import Prepared

__all__ = ["InversionFloor"]


@dataclass(frozen=True)
class InversionFloor(EditingMethod):
    """Keeps the codes. What it scores is what a metric gives to somebody who was not edited."""

    def check(self, request: EditRequest, editor: Editor) -> None:
        """Refuse nothing."""

    def edit(
        self,
        prepared: Prepared,
        requests: Sequence[EditRequest],
        options: EditOptions,
        editor: Editor,
        *,
        progress: bool = False,
    ) -> MethodResult:
        """Return the codes of the pictures as they are."""
        return MethodResult(codes=prepared.inversion.w_plus)
