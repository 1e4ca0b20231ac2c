"""Measure where a training step spends its time: each network by itself, forward and backward, in its precision."""

import torch
from torch import Tensor

from hairclip.config import Config
from hairclip.evaluation.speed.clock import LapTimer, Work
from hairclip.evaluation.speed.steps import LibraryTraining
from hairclip.losses.judge import Judged

__all__ = ["REST", "part_precision", "part_works"]

REST = "other terms"
"""What the losses do beside the networks: colors, backgrounds, weights. Found by difference."""


def part_works(training: LibraryTraining) -> dict[str, Work]:
    """Return one work per part of a training step, by name. Each work times forward and backward separately.

    The edited pictures and codes are those of a real step. If the step splits its batch, the works use the first part.
    The work "losses" also runs CLIP, parser and identity network. Its time without them is `REST`.
    """
    tasks = training.tasks[: training.size]
    sample = training.data.collate(tasks)
    mapper, autocast, synthesis = training.mapper, training.autocast, training.synthesis
    loss = training.setting.parts.loss
    with torch.no_grad():
        w_hat = sample.w_plus + mapper(sample.w_plus, sample.batch.condition)
    with autocast:
        edited = synthesis(w_hat.requires_grad_()).detach().float().clone()  # CUDA graphs reuse what they return
    reduced = loss.reduced(edited)
    judging = loss.autocast(edited)
    with judging:
        hair_mask = loss.parser.hair_mask(reduced)

    def data(timer: LapTimer) -> None:
        training.data.collate(tasks)
        timer.lap("data: sources, conditions")

    def move(timer: LapTimer) -> None:
        delta = mapper(sample.w_plus, sample.batch.condition)
        timer.lap("mapper forward")
        torch.autograd.backward(delta, torch.ones_like(delta))
        timer.lap("mapper backward")
        mapper.zero_grad(set_to_none=True)

    def synthesize(timer: LapTimer) -> None:
        codes = w_hat.detach().clone().requires_grad_()
        with autocast:
            images = synthesis(codes)
        timer.lap("generator forward")
        _backward(images, codes)
        timer.lap("generator backward")

    def judge_by_clip(timer: LapTimer) -> None:
        pictures = reduced.clone().requires_grad_()
        judged = Judged(loss, sample.source, pictures, sample.w_plus, w_hat.detach(), sample.batch)
        judged.__dict__["hair_mask"] = hair_mask  # the parser is measured by itself
        embeddings = torch.cat(judged.clip_embeddings)
        timer.lap("CLIP forward")
        if embeddings.requires_grad:  # some term asked for one
            _backward(embeddings, pictures)
        timer.lap("CLIP backward")

    def parse(timer: LapTimer) -> None:
        with judging:
            loss.parser.hair_mask(reduced)
        timer.lap("parser")

    def recognize(timer: LapTimer) -> None:
        pictures = reduced.clone().requires_grad_()
        with judging:
            who = loss.identity(pictures)
        timer.lap("identity forward")
        _backward(who, pictures)
        timer.lap("identity backward")

    def judge(timer: LapTimer) -> None:
        pictures, codes = edited.clone().requires_grad_(), w_hat.detach().clone().requires_grad_()
        output = loss(sample.source, pictures, sample.w_plus, codes, sample.batch)
        timer.lap("losses forward")
        _backward(output.total, pictures)
        timer.lap("losses backward")

    def update(timer: LapTimer) -> None:
        training.updates.clear()
        training.updates.backward(torch.stack([p.sum() for p in mapper.parameters()]).sum())
        training.updates.update(training.steps)
        timer.lap("optimizer")

    return {
        "data": data,
        "mapper": move,
        "generator": synthesize,
        "CLIP": judge_by_clip,
        "parser": parse,
        "identity": recognize,
        "losses": judge,
        "optimizer": update,
    }


def part_precision(part: str, config: Config) -> str:
    """Return the name of the precision in which a part computes products and convolutions."""
    if part.startswith("generator"):
        return config.training.precision
    return config.losses.precision if part.startswith(("CLIP", "identity", "parser")) else "float32"


def _backward(output: Tensor, pictures: Tensor) -> None:
    output.backward(torch.ones_like(output))
    pictures.grad = None
