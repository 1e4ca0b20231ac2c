"""Faster layers for the towers of open_clip, with the same parameters and the same results up to rounding."""

import torch.nn.functional as F
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn

__all__ = ["Attention", "PatchEmbedding", "replace_layers"]


class PatchEmbedding(nn.Conv2d):
    """A convolution whose square kernels do not overlap, computed as a matrix product.

    On a CPU its backward pass takes a tenth of the convolution's time.

    Args:
        layer: whose sizes and parameters are taken.
    """

    def __init__(self, layer: nn.Conv2d) -> None:
        side = layer.kernel_size[0]
        super().__init__(layer.in_channels, layer.out_channels, side, side, bias=False, device="meta")
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, x: Tensor) -> Tensor:
        side = self.kernel_size[0]
        rows, columns = x.shape[2] // side, x.shape[3] // side
        x = x[:, :, : rows * side, : columns * side]
        patches = x.unflatten(2, (rows, side)).unflatten(4, (columns, side)).permute(0, 2, 4, 1, 3, 5)
        weight = self.weight
        if not weight.is_contiguous():  # channels last: in this order there is nothing to copy
            patches, weight = patches.movedim(3, 5), weight.movedim(1, 3)
        return F.linear(patches.flatten(3), weight.flatten(1), self.bias).permute(0, 3, 1, 2)


class Attention(nn.MultiheadAttention):
    """Self-attention on input (B, L, E) without transposing it.

    Torch's own attention puts the sequence first. With frozen weights it then computes one product per position, each
    with its own copy of the weights in half precision. On a CPU with four pictures all of CLIP then takes four times
    as long.

    Args:
        layer: whose sizes and parameters are taken.
    """

    def __init__(self, layer: nn.MultiheadAttention) -> None:
        super().__init__(layer.embed_dim, layer.num_heads, batch_first=True, device="meta")
        self.in_proj_weight, self.in_proj_bias = layer.in_proj_weight, layer.in_proj_bias
        self.out_proj = layer.out_proj

    def forward(  # type: ignore[override]
        self, query: Tensor, key: Tensor, value: Tensor, *, need_weights: bool, attn_mask: Tensor | None
    ) -> tuple[Tensor, None]:
        """Return the attended values and None, called as open_clip does: with the same query, key and value.

        Args:
            query, key, value: ``(B, L, E)``.
            need_weights: False.
            attn_mask: added before the softmax, ``(L, L)`` or ``(B * heads, L, L)``.
        """
        assert query is key is value
        assert not need_weights
        projected = F.linear(query, self.in_proj_weight, self.in_proj_bias)
        q, k, v = projected.unflatten(2, (3, self.num_heads, self.head_dim)).permute(2, 0, 3, 1, 4)
        if attn_mask is not None and attn_mask.ndim == 3:
            attn_mask = attn_mask.unflatten(0, (-1, self.num_heads))
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask)
        return self.out_proj(x.transpose(1, 2).flatten(2)), None


def replace_layers(network: nn.Module) -> None:
    """Replace the layers of an open_clip model by these wherever they compute the same."""
    for module in list(network.modules()):
        if isinstance(module, VisionTransformer):
            module.conv1 = PatchEmbedding(module.conv1)
        if isinstance(module, ResidualAttentionBlock) and module.attn.batch_first and not hasattr(module, "ln_1_kv"):
            module.attn = Attention(module.attn)  # with ln_1_kv it would attend to something else
