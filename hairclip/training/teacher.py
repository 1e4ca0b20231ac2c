"""Let a mapper learn from a text encoder before it learns from pictures. HairCLIP has no such phase.

The text encoder knows which code people with some words have on average. Its code for the wanted words minus its code
for the person's own words is an edit (`hairclip.editing.methods.difference`), and the mapper is trained to give that
edit. No picture is drawn, so a step takes milliseconds. The paper's losses then start from a mapper that edits already.
"""

import torch

from hairclip.common.errors import HairclipError
from hairclip.common.progress import progress_bar
from hairclip.common.schedules import warm_up_then_half_cosine
from hairclip.networks.mapper import HairCondition, HairMapper
from hairclip.networks.text_encoder import TextEncoder
from hairclip.training.data import EditData
from hairclip.training.latents import LatentSet
from hairclip.training.tasks import TaskSampler

__all__ = ["check_teacher", "teach"]

_BATCH, _RATE, _WARMUP = 64, 2e-3, 20
_STREAM = 5  # third seed number of the tasks, so that they are not those of the steps that follow


def check_teacher(teacher: TextEncoder, mapper: HairMapper, latents: LatentSet) -> None:
    """Refuse a teacher of other sizes than the mapper's, and codes that do not say which words describe them.

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
    if latents.hairstyles is None or latents.colors is None:
        raise HairclipError(
            "training.teacher: the codes of data.latents have no labels hairstyle and color, from which the teacher "
            "starts: give codes with labels, or null."
        )


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
        data: gives codes, with labels, and conditions.
        sampler: draws the requests, with the probabilities of the steps that follow.
        steps: number of steps.
        seed: seed of the requests.
        progress: show a progress bar.
    """
    latents, words = data.latents, data.encoder
    assert latents.hairstyles is not None
    assert latents.colors is not None
    hairstyles, colors = words.hairstyle_words(latents.hairstyles), words.color_words(latents.colors)
    known = words.hairstyle_words(teacher.hairstyles), words.color_words(teacher.colors)
    optimizer = torch.optim.Adam(mapper.parameters(), lr=_RATE)
    with progress_bar(range(steps), label="learning from the teacher", show=progress) as bar:
        for step in bar:
            tasks = sampler.sample(_BATCH, seed, _STREAM, step)
            numbers = [task.latent for task in tasks]
            w_plus, batch = data.codes(numbers), data.conditions(tasks)
            everyone = torch.ones_like(batch.condition.has_hairstyle)
            own = HairCondition(hairstyles[numbers], colors[numbers], everyone, everyone)
            with torch.no_grad():
                lesson = teacher.difference(own, batch.in_words(*known), mapper.groups)
            for group in optimizer.param_groups:
                group["lr"] = _RATE * warm_up_then_half_cosine(step, steps, warmup=_WARMUP)
            loss = (mapper(w_plus, batch.condition) - lesson).square().mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            if step % 20 == 0:
                bar.set_postfix_str(f"loss {loss.item():.4f}")
