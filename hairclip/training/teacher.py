"""Let a mapper learn from a text encoder before it learns from pictures. HairCLIP has no such phase.

The text encoder knows which code people with some words have on average. Its code for the wanted words minus its code
for the person's own words is an edit (`hairclip.editing.methods.difference`), and the mapper is trained to give that
edit. No picture is drawn, so a step takes milliseconds. The paper's losses then start from a mapper that edits already.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from hairclip.common.errors import HairclipError
from hairclip.common.progress import progress_bar
from hairclip.common.schedules import warm_up_then_half_cosine
from hairclip.networks.mapper import HairCondition, HairMapper
from hairclip.networks.text_encoder import TextEncoder, nearest_words
from hairclip.pretrained.bundle_files import Source
from hairclip.pretrained.mapper import check_companions
from hairclip.training.data import EditData
from hairclip.training.tasks import TaskSampler

__all__ = ["OwnWords", "check_teacher", "teach"]

_BATCH, _RATE, _WARMUP = 64, 2e-3, 20
_STREAM = 5  # third seed number of the tasks, so that they are not those of the steps that follow


def check_teacher(teacher: TextEncoder, mapper: HairMapper, parts: Mapping[str, Source]) -> None:
    """Refuse a teacher of other sizes than the mapper's, or one that was trained with another generator or CLIP.

    Args:
        teacher: a text encoder.
        mapper: the mapper that is to learn.
        parts: part -> name or path of the networks of the run, such as `Bundle.parts`.

    Raises:
        HairclipError: with one sentence.
    """
    fits = (mapper.n_latent, mapper.w_dim, mapper.condition_dim)
    made = (teacher.n_latent, teacher.w_dim, teacher.condition_dim)
    if made != fits:
        raise HairclipError(
            f"training.teacher: it gives codes of {made[:2]} for embeddings of width {made[2]}, but the mapper has "
            f"{fits[:2]} and {fits[2]}: give a text encoder trained with these networks, or null."
        )
    check_companions(teacher, parts, "training.teacher", instead="a text encoder trained with these networks, or null")


def teach(
    mapper: HairMapper,
    teacher: TextEncoder,
    data: EditData,
    sampler: TaskSampler,
    *,
    steps: int,
    seed: int = 0,
    progress: bool = False,
) -> None:
    """Regress the mapper's output on the teacher's differences.

    Args:
        mapper: is trained.
        teacher: a text encoder.
        data: gives codes and conditions. The labels of a code are the person's own words. Without labels, CLIP reads
            them from the generator's picture, once for each code.
        sampler: draws the requests, with the probabilities of the steps that follow.
        steps: number of steps.
        seed: seed of the requests.
        progress: show a progress bar.
    """
    words = data.encoder
    known = words.hairstyle_words(teacher.hairstyles), words.color_words(teacher.colors)
    own_words = OwnWords(data, known)
    optimizer = torch.optim.Adam(mapper.parameters(), lr=_RATE)
    with progress_bar(range(steps), label="learning from the teacher", show=progress) as bar:
        for step in bar:
            tasks = sampler.sample(_BATCH, seed, _STREAM, step)
            numbers = [task.latent for task in tasks]
            w_plus, batch = data.codes(numbers), data.conditions(tasks)
            with torch.no_grad():
                lesson = teacher.difference(own_words(numbers), batch.in_words(*known), mapper.groups)
            for group in optimizer.param_groups:
                group["lr"] = _RATE * warm_up_then_half_cosine(step, steps, warmup=_WARMUP)
            loss = (mapper(w_plus, batch.condition) - lesson).square().mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            if step % 20 == 0:
                bar.set_postfix_str(f"loss {loss.item():.4f}")


class OwnWords:
    """The words that describe the people of codes.

    Args:
        data: codes and networks.
        known: embeddings of the hairstyles and of the colors that CLIP chooses from.
    """

    def __init__(self, data: EditData, known: tuple[Tensor, Tensor]) -> None:
        self.data, self.known = data, known
        self._rows: dict[int, tuple[Tensor, Tensor]] = {}
        latents, words = data.latents, data.encoder
        if latents.hairstyles is not None and latents.colors is not None:
            hairstyles, colors = words.hairstyle_words(latents.hairstyles), words.color_words(latents.colors)
            self._rows = dict(enumerate(zip(hairstyles, colors, strict=True)))

    @torch.no_grad()
    def __call__(self, numbers: Sequence[int]) -> HairCondition:
        """Return the own words of the codes with these numbers."""
        for number in numbers:
            if number not in self._rows:  # alone, so that no word depends on the batch
                picture = self.data.networks.generator(self.data.codes([number]), noise="const")
                seen = self.data.networks.clip.encode_image(picture)
                hairstyle, color = (nearest_words(seen, words)[0] for words in self.known)
                self._rows[number] = hairstyle, color
        hairstyles, colors = zip(*(self._rows[number] for number in numbers), strict=True)
        everyone = torch.ones(len(numbers), dtype=torch.bool, device=self.data.device)
        return HairCondition(torch.stack(hairstyles), torch.stack(colors), everyone, everyone)
