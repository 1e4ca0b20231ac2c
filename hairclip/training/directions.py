"""Compute StyleCLIP's global directions of a generator (Patashnik et al. 2021, section 6): what each channel changes.

Every channel of S is set to its mean plus and minus five deviations in a number of pictures, with all other channels
left as they are. The mean difference of CLIP's two embeddings is the direction of the channel.
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from hairclip.common.errors import HairclipError
from hairclip.common.files import digest, open_atomic
from hairclip.common.images import WPlus
from hairclip.common.precision import mixed_precision
from hairclip.common.progress import progress_bar
from hairclip.networks.clip import Clip
from hairclip.networks.style_directions import StyleDirections, channel_statistics, split_channels
from hairclip.networks.stylegan2 import Generator
from hairclip.training.latents import LatentSet
from hairclip.training.sampled_codes import SampledCodes

__all__ = ["code_batches", "compute_directions", "drawn_codes", "split_half_cosine"]

_FAR = 5.0  # deviations, as in the official code; the paper moves channels by them instead of setting them
_PSI, _TRUNCATED = 0.7, 8  # truncation of drawn codes, and the number of layers that it applies to
_LARGEST = 128  # the official run leaves out convolutions above this resolution
_EXACT_UNTIL = 16  # resolutions that are always float32: small changes of their channels drown in bfloat16


def compute_directions(
    generator: Generator,
    clip: Clip,
    codes: LatentSet,
    folder: Path,
    *,
    images: int = 100,
    seed: int = 0,
    batch: int = 64,
    precision: str = "float32",
    progress: bool = True,
) -> StyleDirections:
    """Return the directions of all channels up to the resolution 128.

    A run that was stopped continues after the last picture that it finished, and gives the same bits. So does a run
    with more images.

    Args:
        generator: the generator.
        clip: the CLIP, on the same device.
        codes: codes of the generator. All of them give mean and deviation; `images` of them are synthesized.
        folder: where the sums so far are kept, in a file that is named for the digest of networks, codes and seed.
        images: number of pictures in which each channel is moved.
        seed: chooses these pictures.
        batch: pictures that are synthesized together.
        precision: of the generator above 16 px, see `hairclip.common.precision`; CLIP computes in float32.
        progress: show progress bars.

    Raises:
        HairclipError: if there are fewer codes than `images`, or the file of sums is damaged.
    """
    if len(codes) < images:
        raise HairclipError(f"there are {len(codes)} codes for {images} images: ask for fewer images.")
    device = generator.constant.device
    with progress_bar(total=len(codes), label="statistics", show=progress, log_every=30) as bar:
        mean, deviation = channel_statistics(generator, code_batches(codes), bar.update)
    sizes = zip(generator.style_widths, (4 * 2 ** ((k + 1) // 2) for k in range(len(generator.style_widths))))
    channels = sum(width for width, size in sizes if size <= _LARGEST)
    mean, deviation = mean[:channels], deviation[:channels]
    order = torch.randperm(len(codes), generator=torch.Generator().manual_seed(seed)).tolist()
    key = digest(generator, clip, codes.digest(), mean, deviation, seed, precision)
    path = folder / f"{key[:16]}.pt"
    sums, done = torch.zeros(2, channels, clip.width), 0
    if path.exists():
        sums, done = _restore(path, sums)
    if done > images:
        raise HairclipError(f"{path} holds the sums of {done} images, more than the {images} asked for: delete it.")
    steps = -(-channels // max(1, batch // 2))
    with progress_bar(
        total=images * steps, initial=done * steps, label="relevance", show=progress, log_every=30, unit="batch"
    ) as bar:
        for number in range(done, images):
            code = codes[[order[number]]].to(device)
            rows = []
            for chosen in torch.arange(channels).split(max(1, batch // 2)):
                rows.append(_move_channels(generator, clip, code, chosen.to(device), mean, deviation, precision).cpu())
                bar.update()
            sums[number % 2] += torch.cat(rows)
            with open_atomic(path) as file:
                torch.save({"sums": sums, "done": number + 1}, file)
            if number:
                bar.set_postfix_str(f"split-half cosine {split_half_cosine(sums):.3f}")
    directions = StyleDirections(channels, clip.width).to(device)
    directions.relevance.copy_(F.normalize(sums.sum(dim=0), dim=1))
    directions.mean, directions.deviation = mean, deviation
    directions.notes = {"images": images, "split_half_cosine": round(split_half_cosine(sums), 4)}
    return directions.eval()


def split_half_cosine(sums: Float[Tensor, "2 channels width"]) -> float:
    """Return the mean cosine of the directions from two halves of the pictures: near 1 if they are not noise."""
    return float(F.cosine_similarity(sums[0], sums[1], dim=1).mean())


def drawn_codes(generator: Generator, count: int, seed: int) -> LatentSet:
    """Return random codes as the official code draws them: truncated by 0.7 in the first eight layers."""
    return LatentSet(
        SampledCodes(generator, count=count, truncation=_PSI, truncated=_TRUNCATED, seed=seed, stream="train")
    )


def code_batches(codes: LatentSet, size: int = 256) -> Iterator[WPlus]:
    """Yield all codes in batches."""
    for first in range(0, len(codes), size):
        yield codes[range(first, min(first + size, len(codes)))]


@torch.no_grad()
def _move_channels(
    generator: Generator,
    clip: Clip,
    code: WPlus,
    chosen: Tensor,
    mean: Tensor,
    deviation: Tensor,
    precision: str,
) -> Float[Tensor, "chosen width"]:
    """Return the unit difference of CLIP's embeddings of one picture with channels far up and far down.

    Args:
        generator: the generator.
        clip: the CLIP.
        code: of the picture, (1, n_latent, w_dim).
        chosen: numbers of the channels that are moved one after the other, (N,).
        mean: of each channel.
        deviation: of each channel.
        precision: of the generator.
    """
    count, device = len(chosen), code.device
    styles = torch.cat(generator.styles(code), dim=1)[0, chosen]
    rows = torch.arange(count, device=device)
    values = torch.zeros(2 * count, len(mean), device=device)
    values[rows, chosen] = mean[chosen] + _FAR * deviation[chosen] - styles
    values[rows + count, chosen] = mean[chosen] - _FAR * deviation[chosen] - styles
    offsets = split_channels(values, generator.style_widths)
    with mixed_precision(precision, device):
        pictures = generator(code.expand(2 * count, -1, -1), style_offsets=offsets, float32_until=_EXACT_UNTIL).float()
    embeddings = F.normalize(clip.encode_image(pictures), dim=1)
    return F.normalize(embeddings[:count] - embeddings[count:], dim=1)


def _restore(path: Path, like: Tensor) -> tuple[Tensor, int]:
    try:
        saved = torch.load(path, weights_only=True)
        if saved["sums"].shape != like.shape:
            raise ValueError("another shape")
        return saved["sums"], int(saved["done"])
    except Exception as error:  # a damaged file raises almost anything
        raise HairclipError(
            f"the sums in {path} cannot be read ({type(error).__name__}): delete the file to begin anew."
        ) from error
