"""Texts and references to conditions: mixed batches, each text and each picture encoded once."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from hairclip.common.color import mean_lab
from hairclip.common.errors import HairclipError
from hairclip.conditions.encoder import ConditionEncoder, EditBatch
from hairclip.networks.clip import Clip
from hairclip.networks.face_parser import CELEBAMASK_CLASSES, HAIR, FaceParser

SMALL = {
    "embed_dim": 16,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 64, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1},
}


class BrightIsHair(FaceParser):
    """Calls everything hair that is brighter than mid-grey."""

    def __init__(self) -> None:
        super().__init__(input_size=16)
        self.calls = 0

    def logits(self, images: Tensor) -> Tensor:
        self.calls += 1
        logits = torch.zeros(len(images), len(CELEBAMASK_CLASSES), *images.shape[-2:])
        logits[:, HAIR] = images.mean(dim=1)
        return logits


class CountingClip(Clip):
    """Remembers which texts reached the network."""

    def encode_text(self, texts: Sequence[str] | Tensor) -> Tensor:
        self.seen = [*getattr(self, "seen", []), *texts]
        return super().encode_text(texts)


@pytest.fixture
def encoder() -> ConditionEncoder:
    torch.manual_seed(0)
    return ConditionEncoder(CountingClip(SMALL).eval(), BrightIsHair())


def picture(seed: int, size: int = 16) -> Tensor:
    return torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_a_mixed_batch_says_what_each_sample_asks_for(encoder):
    style, shade = picture(1), picture(2, size=24)
    batch = encoder.encode(["bob cut", style, None, "bob cut"], ["red", None, shade, None])
    assert len(batch) == 4
    assert batch.condition.has_hairstyle.tolist() == [True, True, False, True]
    assert batch.condition.has_color.tolist() == [True, False, True, False]
    assert batch.hairstyle_is_text.tolist() == [True, False, False, True]
    assert batch.hairstyle_is_image.tolist() == [False, True, False, False]
    assert batch.color_is_text.tolist() == [True, False, False, False]
    assert batch.color_is_image.tolist() == [False, False, True, False]

    clip, parser = encoder.clip, encoder.parser
    with torch.no_grad():
        torch.testing.assert_close(batch.condition.hairstyle[:1], clip.encode_text(["bob cut hairstyle"]))
        torch.testing.assert_close(batch.condition.color[:1], clip.encode_text(["red hair"]))
        hair = clip.encode_image(style * parser.hair_mask(style))
    torch.testing.assert_close(batch.condition.hairstyle[1:2], hair)
    assert not batch.condition.hairstyle[2].any()
    assert not batch.condition.color[[1, 3]].any()
    torch.testing.assert_close(batch.reference_lab[2:3], mean_lab(shade, parser.hair_mask(shade)))
    assert not batch.reference_lab[[0, 1, 3]].any()


def test_separated_references_show_the_hairstyle_without_color_and_the_color_without_hairstyle(encoder):
    separated = ConditionEncoder(encoder.clip, encoder.parser, references="separated")
    reference = picture(1)
    recolored = torch.where(encoder.parser.hair_mask(reference), 0.5 * reference + 0.4, reference)
    flat = torch.where(encoder.parser.hair_mask(reference), torch.tensor([0.9, 0.1, 0.3]).view(3, 1, 1), -1.0)
    one, other, third = (separated.references(image)[0] for image in (reference, recolored, flat))
    torch.testing.assert_close(one.hairstyle, other.hairstyle, rtol=0, atol=1e-4)
    assert (one.color - other.color).norm() > 0.01 * one.color.norm()
    with torch.no_grad():
        uniform = torch.tensor([0.9, 0.1, 0.3]).view(1, 3, 1, 1).expand(1, 3, 8, 8)
        torch.testing.assert_close(third.color, encoder.clip.encode_image(uniform)[0], rtol=0, atol=1e-5)
    batch = separated.encode([reference], [reference])
    torch.testing.assert_close(batch.condition.hairstyle[0], one.hairstyle)
    torch.testing.assert_close(batch.condition.color[0], one.color)


def test_every_sample_is_encoded_as_if_alone(encoder):
    styles = ["bob cut", picture(1), None, picture(3, size=20)]
    colors = [None, "red", picture(2), picture(4)]
    together = encoder.encode(styles, colors)
    alone = EditBatch.cat([encoder.encode([style], [color]) for style, color in zip(styles, colors)])
    for one, other in ((together, alone), (together.condition, alone.condition)):
        for name, value in vars(one).items():
            if isinstance(value, Tensor):
                torch.testing.assert_close(value, getattr(other, name), msg=name)


def test_each_text_and_each_picture_is_encoded_once(encoder):
    reference = picture(5)
    encoder.encode(["bob cut", "afro", "bob cut"], ["red", "red", None])
    encoder.encode(["afro", reference, reference], ["red", reference, None])
    assert encoder.clip.seen == ["bob cut hairstyle", "afro hairstyle", "red hair"]
    assert encoder.parser.calls == 1


def test_encoded_references_can_be_used_again(encoder):
    images = torch.cat([picture(6), picture(7)])
    first, second = encoder.references(images)
    calls = encoder.parser.calls
    batch = encoder.encode([first, None], [None, second])
    assert encoder.parser.calls == calls
    expected = encoder.encode([images[:1], None], [None, images[1:]])
    torch.testing.assert_close(batch.condition.hairstyle, expected.condition.hairstyle)
    torch.testing.assert_close(batch.reference_lab, expected.reference_lab)


def test_batches_can_be_cut_and_joined(encoder):
    batch = encoder.encode(["bob cut", None, "afro"], [None, picture(8), "blue"])
    joined = EditBatch.cat([batch[2], batch[[1]], batch[torch.tensor([True, False, False])]])
    assert joined.hairstyle_is_text.tolist() == [True, False, True]
    torch.testing.assert_close(joined.condition.hairstyle, batch.condition.hairstyle.flip(0))
    torch.testing.assert_close(joined.reference_lab, batch.reference_lab.flip(0))
    assert len(batch[1:].to("cpu")) == 2
    condition = joined.condition
    flags = (condition.has_hairstyle, condition.has_color, joined.hairstyle_is_text, joined.color_is_text)
    assert torch.equal(joined.on_host, torch.stack(flags, dim=1))
    assert torch.equal(joined.to("cpu").on_host, joined.on_host)


def test_a_color_reference_without_hair_is_refused_where_hair_is_required(encoder):
    bald = torch.full((1, 3, 16, 16), -0.5)
    batch = encoder.encode([bald], [bald])
    assert batch.condition.hairstyle.isfinite().all()
    assert batch.reference_lab.tolist() == [[0, 0, 0]]
    with pytest.raises(HairclipError, match="color reference 1 shows hair on 0.0%"):
        encoder.encode([None], [bald], minimum_hair=0.01)
    encoder.encode([bald], ["red"], minimum_hair=0.01)  # a hairstyle may well be none


def test_lists_that_do_not_pair_up_are_refused(encoder):
    with pytest.raises(ValueError, match="pair up"):
        encoder.encode(["afro"], [])


def test_texts_that_clip_would_cut_off_are_refused(encoder):
    encoder.texts(["a " * 14])  # with start and end 16 tokens, all that this CLIP reads
    with pytest.raises(HairclipError, match="more than the 16 tokens CLIP reads: cut it"):
        encoder.encode(["a " * 14], [None])  # the template adds one
