"""The whole loss on batches that mix tasks, with small networks."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from hairclip.common.errors import HairclipError
from hairclip.conditions.encoder import ConditionEncoder, EditBatch
from hairclip.losses.hair_edit import HairEditLoss, LossOutput, SourceFeatures, default_weights
from hairclip.losses.judge import Judged
from hairclip.losses.terms import TERMS, background, color_distance, contrast, cosine_distance
from hairclip.networks.face_parser import CELEBAMASK_CLASSES, HAIR, FaceParser
from tests.helpers.tiny_networks import N_LATENT, SIZE, W_DIM, tiny_networks

ALWAYS = {"identity", "background", "latent"}


class BrightIsHair(FaceParser):
    """Calls everything hair that is brighter than a threshold, and counts its calls."""

    def __init__(self, threshold: float = 0.0) -> None:
        super().__init__(input_size=SIZE)
        self.threshold = threshold
        self.calls = 0

    def logits(self, images: Tensor) -> Tensor:
        self.calls += 1
        logits = torch.zeros(len(images), len(CELEBAMASK_CLASSES), *images.shape[-2:])
        logits[:, HAIR] = images.mean(dim=1) - self.threshold
        return logits


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).clamp(-1, 1)


class Case:
    """Eight samples, one for each kind of edit."""

    def __init__(self, **options) -> None:
        networks = tiny_networks()
        self.parser = BrightIsHair()
        self.loss = HairEditLoss(networks.clip, self.parser, networks.identity, **options)
        self.encoder = ConditionEncoder(networks.clip, self.parser)
        style, shade = random(1, 3, 24, 24, seed=1), random(1, 3, SIZE, SIZE, seed=2)
        self.batch = self.encoder.encode(
            ["afro", style, None, None, "afro", style, "bob cut", None],
            [None, None, "red", shade, "red", shade, shade, None],
        )
        self.images = random(8, 3, SIZE, SIZE, seed=3)
        self.edited = random(8, 3, SIZE, SIZE, seed=4)
        self.w_plus, self.w_hat = random(8, N_LATENT, W_DIM, seed=5), random(8, N_LATENT, W_DIM, seed=6)
        self.source = self.loss.source_features(self.images)

    def run(self, batch: EditBatch | None = None, edited: Tensor | None = None) -> LossOutput:
        edited = self.edited if edited is None else edited
        return self.loss(self.source, edited, self.w_plus, self.w_hat, batch or self.batch)


@pytest.fixture(scope="module")
def case() -> Case:
    return Case()


def test_terms_apply_exactly_where_they_are_asked(case):
    terms = case.run().terms
    asked = {name: [bool(value != 0) for value in term] for name, term in terms.items()}
    assert asked["text_hairstyle"] == [True, False, False, False, True, False, True, False]
    assert asked["image_hairstyle"] == [False, True, False, False, False, True, False, False]
    assert asked["text_color"] == [False, False, True, False, True, False, False, False]
    assert asked["image_color"] == [False, False, False, True, False, True, True, False]
    assert asked["maintain_color"] == [True, True, False, False, False, False, False, False]
    assert all(all(asked[name]) for name in ALWAYS)
    assert set(terms) == {name for name, term in TERMS.items() if term.weight}


def test_separated_references_judge_a_hairstyle_whatever_its_color():
    case = Case(references="separated")
    hair = case.parser.hair_mask(case.edited)
    paler = torch.where(hair, 0.5 * case.edited + 0.45, case.edited)
    terms, other = case.run().terms, case.run(edited=paler).terms
    torch.testing.assert_close(terms["image_hairstyle"], other["image_hairstyle"], rtol=0, atol=1e-4)
    assert (terms["image_color"] - other["image_color"]).abs().max() > 1
    whole, paled = Case().run().terms["image_hairstyle"], Case().run(edited=paler).terms["image_hairstyle"]
    assert (whole - paled).abs().max() > 1e-3
    condition = case.batch.condition
    assert torch.equal(terms["text_hairstyle"] != 0, condition.has_hairstyle)
    assert torch.equal(terms["text_color"] != 0, condition.has_color)


@pytest.fixture(scope="module")
def contrasting() -> Case:
    weights = {"contrast": 0.5}
    return Case(weights=weights, references="separated", hairstyles=["afro", "bob cut", "perm"], colors=["red", "blue"])


def test_the_contrast_is_a_divergence_of_two_zero_shot_classifications(contrasting):
    clip, condition = contrasting.loss.clip, contrasting.batch.condition
    output = contrasting.run()
    assert set(output.terms) == set(contrasting.loss.weights)
    names = {"hairstyle": ["afro hairstyle", "bob cut hairstyle", "perm hairstyle"], "color": ["red hair", "blue hair"]}
    for kind, prompts in names.items():
        with torch.no_grad():
            words, seen = clip.encode_text(prompts), clip.encode_image(contrasting.edited, normalize_pixels=False)
        asked = getattr(condition, kind)
        present = getattr(condition, f"has_{kind}")
        wanted, got = (
            (clip.logit_scale.exp() * torch.cosine_similarity(e[:, None], words, dim=2)).softmax(dim=1)
            for e in (asked, seen)
        )
        expected = (wanted * (wanted / got).log()).sum(dim=1) * present
        torch.testing.assert_close(output.terms[f"contrast_{kind}"], expected, rtol=1e-3, atol=1e-5)
    plain = Case(references="separated").run()
    added = 0.5 * (output.terms["contrast_hairstyle"] + output.terms["contrast_color"])
    torch.testing.assert_close(output.per_sample, plain.per_sample + added)


def test_what_shows_the_asked_word_has_no_contrast(contrasting):
    words = contrasting.loss.hairstyle_words
    everyone = torch.ones(3, dtype=torch.bool)
    same = contrast(3 * words, words, words, contrasting.loss.scale, everyone)
    torch.testing.assert_close(same, torch.zeros(3), rtol=0, atol=1e-6)
    other = contrast(words.roll(1, 0), words, words, contrasting.loss.scale, everyone)
    assert (other > 1e-3).all()


def test_a_contrast_without_words_is_refused():
    with pytest.raises(ValueError, match="hairstyles and colors"):
        Case(weights={"contrast": 0.5})


@pytest.mark.parametrize("name", ["case", "contrasting"])
def test_a_mixed_batch_is_its_samples_one_by_one(name, request):
    case = request.getfixturevalue(name)
    edited = case.edited.clone().requires_grad_()
    together = case.run(edited=edited)
    (gradient,) = torch.autograd.grad(together.total * 8, edited)
    for i in range(8):
        one = slice(i, i + 1)
        source = SourceFeatures(**{name: value[one] for name, value in vars(case.source).items()})
        alone = case.edited[one].clone().requires_grad_()
        output = case.loss(source, alone, case.w_plus[one], case.w_hat[one], case.batch[one])
        for name, term in output.terms.items():
            torch.testing.assert_close(term, together.terms[name][one], msg=f"{name} of sample {i}")
        (expected,) = torch.autograd.grad(output.total, alone)
        torch.testing.assert_close(gradient[one], expected)


def test_the_total_is_the_papers_weighted_sum(case):
    official = {
        "text_hairstyle": 2.0,
        "text_color": 2.0,
        "image_hairstyle": 5.0,
        "image_color": 0.02,
        "identity": 0.3,
        "maintain_color": 0.02,
        "background": 1.0,
        "latent": 0.8,
    }
    output = case.run()
    expected = sum(official[name] * term for name, term in output.terms.items())
    torch.testing.assert_close(output.total, expected.mean())
    only_latent = {**dict.fromkeys(default_weights(), 0.0), "latent": 1.0}
    torch.testing.assert_close(Case(weights=only_latent).run().total, (case.w_hat - case.w_plus).square().mean())


@pytest.mark.parametrize("name", ["case", "contrasting"])
def test_what_stands_in_absent_places_reaches_nothing(name, request):
    case = request.getfixturevalue(name)
    condition = case.batch.condition
    nan = torch.tensor(torch.nan)
    poisoned = replace(
        case.batch,
        condition=replace(
            condition,
            hairstyle=torch.where(condition.has_hairstyle[:, None], condition.hairstyle, nan),
            color=torch.where(condition.has_color[:, None], condition.color, nan),
        ),
        reference_lab=torch.where(case.batch.color_is_image[:, None], case.batch.reference_lab, nan),
    )
    edited = case.edited.clone().requires_grad_()
    output = case.run(poisoned, edited)
    torch.testing.assert_close(output.total, case.run().total, rtol=0, atol=0)
    (gradient,) = torch.autograd.grad(output.total, edited)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("threshold", [-2.0, 2.0], ids=["all is hair", "no hair"])
def test_empty_and_full_hair_masks_are_finite(threshold):
    case = Case()
    case.parser.threshold = threshold
    case.source = case.loss.source_features(case.images)
    edited = torch.full_like(case.edited, -1.0).requires_grad_()
    output = case.run(edited=edited)
    (gradient,) = torch.autograd.grad(output.total, edited)
    assert output.total.isfinite()
    assert gradient.isfinite().all()
    if threshold < 0:
        assert not output.terms["background"].any()


def test_the_parser_sees_each_picture_once(case):
    before = case.parser.calls
    case.run()
    assert case.parser.calls == before + 1
    case.loss.source_features(case.images)
    assert case.parser.calls == before + 2


def test_nothing_changed_costs_nothing(case):
    absent = case.encoder.encode([None] * 8, [None] * 8)
    output = case.loss(case.source, case.images, case.w_plus, case.w_plus, absent)
    assert abs(output.total) < 1e-6


def test_the_networks_are_frozen_and_the_picture_is_not(case):
    networks = (case.loss.clip, case.loss.parser, case.loss.identity)
    assert not any(network.training or any(p.requires_grad for p in network.parameters()) for network in networks)
    edited, w_hat = case.edited.clone().requires_grad_(), case.w_hat.clone().requires_grad_()
    case.loss(case.source, edited, case.w_plus, w_hat, case.batch).total.backward()
    assert edited.grad.flatten(1).abs().amax(dim=1).min() > 0
    assert w_hat.grad.flatten(1).abs().amax(dim=1).min() > 0


def test_text_pixels_change_the_text_terms_alone(case):
    official, normalized = case.run(), Case(text_pixels="normalized").run()
    for name in official.terms:
        same = torch.equal(official.terms[name], normalized.terms[name])
        assert same == (not name.startswith("text_")), name
    clip, texts = case.loss.clip, case.batch.condition.hairstyle
    expected = 1 - torch.cosine_similarity(clip.encode_image(case.edited), texts, dim=1)
    torch.testing.assert_close(normalized.terms["text_hairstyle"][[0, 4, 6]], expected[[0, 4, 6]])


def test_gamma_changes_the_color_terms_alone(case):
    plain, decoded = case.run(), Case(gamma="srgb").run()
    changed = {name for name in plain.terms if not torch.equal(plain.terms[name], decoded.terms[name])}
    assert changed == {"image_color", "maintain_color"}


def test_the_background_excludes_both_masks_and_counts_all_pixels():
    networks, parser = tiny_networks(), BrightIsHair(threshold=0.5)
    judge = HairEditLoss(networks.clip, parser, networks.identity)
    source, edited = torch.zeros(1, 3, SIZE, SIZE), torch.full((1, 3, SIZE, SIZE), 0.25)
    source[..., : SIZE // 4, :] = 1  # the top quarter is hair before the edit, the left quarter after it
    edited[..., : SIZE // 4] = 1
    w_plus = torch.zeros(1, N_LATENT, W_DIM)
    batch = ConditionEncoder(networks.clip, parser).encode([None], [None])
    judged = Judged(judge, judge.source_features(source), edited, w_plus, w_plus, batch)
    assert background(judged).tolist() == [0.25**2 * 9 / 16]


def test_simple_terms_by_hand():
    asked = torch.tensor([True, False])
    a, b = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.0, 2.0], [0.0, 2.0]])
    assert cosine_distance(a, b, asked).tolist() == [1, 0]
    assert cosine_distance(a, -3 * a, asked).tolist() == [2, 0]
    lab = torch.tensor([[50.0, 0.0, 3.0]]).repeat(2, 1)
    assert color_distance(lab, torch.tensor([[47.0, 6.0, 3.0]]).repeat(2, 1), asked).tolist() == [3, 0]


def brightness(judged: Judged) -> Tensor:
    """A term of a user's own."""
    return judged.edited.mean(dim=(1, 2, 3))


def scalar(judged: Judged) -> Tensor:
    """A term that forgets that there are samples."""
    return judged.edited.mean()


def test_a_term_of_ones_own_is_named_by_its_module(case):
    output = (mine := Case(weights={f"{__name__}:brightness": 3.0})).run()
    assert mine.loss.weights["brightness"] == 3.0
    torch.testing.assert_close(output.terms["brightness"], mine.edited.mean(dim=(1, 2, 3)))
    torch.testing.assert_close(output.per_sample, case.run().per_sample + 3 * output.terms["brightness"])


def test_a_term_of_weight_zero_is_not_computed():
    mine = Case(weights={"identity": 0.0, f"{__name__}:brightness": 0.0})
    mine.loss.identity = None
    assert not {"identity", "brightness"} & set(mine.run().terms)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("identiti", "did you mean identity?"),
        ("no_such_module:energy", "there is no module no_such_module"),
        (f"{__name__}:darkness", "has no darkness"),
        ("hairclip.losses.terms:identity", "there is a term called identity already"),
        (f"{__name__}:scalar", r"shape \(\), but must return one number per sample, a tensor of shape \(8,\)"),
    ],
)
def test_a_wrong_term_is_told_in_one_sentence(key, message):
    with pytest.raises(HairclipError, match=message):
        Case(weights={key: 1.0}).run()
