"""Draw the hair anew in tokens of a vector-quantized codec: masked-token in-painting (Chang et al. 2022).

Tokens inside the region of an edit are hidden and drawn in a few rounds by a transformer, which is told a hairstyle and
a color. Pixels outside the region stay the photo's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from hairclip.common.color import flat_hair_color, gray_hair
from hairclip.common.errors import HairclipError, check_range
from hairclip.editing.methods.method import EditingMethod, Editor, MethodResult
from hairclip.editing.methods.region import edit_region, paste_region, reduce_region
from hairclip.editing.options import EditOptions
from hairclip.editing.request import EditRequest
from hairclip.editing.result import Prepared
from hairclip.networks.mapper import References
from hairclip.networks.text_encoder import nearest_rows
from hairclip.networks.token_transformer import fill_tokens

__all__ = ["VectorQuantized"]


@dataclass(frozen=True)
class VectorQuantized(EditingMethod):
    """Draws the tokens of hair anew. The transformer knows the hairstyles and colors of the bundle's words alone.

    A reference picture, and the person's own hair where a request keeps a hairstyle or color, counts as the word whose
    text CLIP finds nearest. `EditOptions.strength` below 1 mixes the drawn hair with the photo. Above 1 it multiplies
    the guidance.

    Attributes:
        steps: rounds in which the tokens are drawn.
        guidance: how far the request is exaggerated; 1 draws from what the transformer says.
        temperature: 0 takes the most likely tokens, 1 draws by likelihood.
        disorder: how far the order in which tokens are kept is random.
    """

    steps: int = 12
    guidance: float = 2.0
    temperature: float = 0.7
    disorder: float = 4.0
    parts = ("hair_priors", "codec", "token_transformer")

    def __post_init__(self) -> None:
        check_range("steps", self.steps, 1)
        check_range("guidance", self.guidance, 0.0)
        check_range("temperature", self.temperature, 0.0)
        check_range("disorder", self.disorder, 0.0)

    def check(self, request: EditRequest, editor: Editor) -> None:
        """Refuse networks without a codec and a transformer, and a generator of another size."""
        networks = editor.networks
        _ = networks.hair_priors
        painted = networks.codec.patch * networks.token_transformer.grid
        if painted != networks.generator.size:
            raise HairclipError(
                f'method="vq" paints pictures of {painted} px here, and the generator those of '
                f"{networks.generator.size} px: give a codec and a token transformer of that size."
            )

    def references(self, editor: Editor) -> References:
        """Return "separated": CLIP sees hair without its color, and the color without the hair."""
        return "separated"

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
        networks, photos, hair = editor.networks, prepared.aligned, prepared.hair_mask
        priors, codec = networks.hair_priors, networks.codec
        batch = editor.encode(requests, options).condition
        styles = editor.encode([EditRequest(name) for name in priors.hairstyles], options).condition.hairstyle
        colors = editor.encode([EditRequest(color=name) for name in priors.colors], options).condition.color
        own_style, own_color = (networks.clip.encode_image(look(photos, hair)) for look in (gray_hair, flat_hair_color))
        style = nearest_rows(torch.where(batch.has_hairstyle[:, None], batch.hairstyle, own_style), styles)
        color = nearest_rows(torch.where(batch.has_color[:, None], batch.color, own_color), colors)
        asked = batch.has_hairstyle | batch.has_color
        named = [
            priors.hairstyles[row] if has else None
            for row, has in zip(style.tolist(), batch.has_hairstyle.tolist(), strict=True)
        ]
        region = edit_region(prepared.labels, named, asked.tolist(), priors)
        has_hair = hair.flatten(1).any(dim=1)
        drawn = fill_tokens(
            networks.token_transformer,
            codec.tokens(photos),
            reduce_region(region, networks.token_transformer.grid)[:, 0],
            styles[style],
            colors[color],
            batch.has_hairstyle | has_hair,
            batch.has_color | has_hair,
            steps=self.steps,
            guidance=self.guidance * max(1.0, options.strength),
            temperature=self.temperature,
            disorder=self.disorder,
            seed=options.seed,
            progress=progress,
        )
        painted = codec.decode_tokens(drawn)
        return MethodResult(images=paste_region(photos, painted, region, min(1.0, options.strength)))
