"""The task sampler draws with HairCLIP's probabilities, and the same tasks for the same seed."""

from collections import Counter

import pytest

from hairclip.training.tasks import Task, TaskSampler

STYLES, COLORS = ("afro", "bob cut", "perm"), ("red", "blond", "black")


def sampler(**settings: object) -> TaskSampler:
    given = {
        "latents": 100,
        "hairstyles": STYLES,
        "colors": COLORS,
        "hairstyle_references": 50,
        "color_references": 40,
        "references_of_color": {"red": [1, 2], "blond": [3]},
    }
    return TaskSampler(**{**given, **settings})


def test_probabilities():
    tasks = sampler(references_of_color={}).sample(20_000, 0)
    kinds = Counter((task.hairstyle is not None, task.color is not None) for task in tasks)
    for kind, share in {(True, False): 0.5, (False, True): 0.2, (True, True): 0.27, (False, False): 0.03}.items():
        assert kinds[kind] / len(tasks) == pytest.approx(share, abs=0.012)
    styles = [task.hairstyle for task in tasks if task.hairstyle is not None]
    assert sum(isinstance(style, str) for style in styles) / len(styles) == pytest.approx(0.5, abs=0.02)
    assert {style for style in styles if isinstance(style, int)} == set(range(50))
    assert {style for style in styles if isinstance(style, str)} == set(STYLES)
    assert {task.latent for task in tasks} == set(range(100))


def test_half_of_the_color_references_are_in_domain():
    tasks = sampler(references_of_color={"red": [0], "blond": [1], "black": [2]}).sample(20_000, 0)
    references = [task.color for task in tasks if isinstance(task.color, int)]
    assert sum(number < 3 for number in references) / len(references) == pytest.approx(0.5 + 0.5 * 3 / 40, abs=0.02)


def test_one_kind_alone():
    settings = {"hairstyle": 0.0, "color": 1.0, "both": 0.0, "none": 0.0, "color_text": 1.0}
    tasks = sampler(**settings).sample(50, 0)
    assert all(task.hairstyle is None and task.color in COLORS for task in tasks)


def test_in_domain_references_show_the_named_color():
    tasks = sampler(color_text=0.0, color_in_domain=1.0).sample(500, 0)
    assert {task.color for task in tasks if task.color is not None} == {1, 2, 3}


def test_same_seed_same_tasks():
    assert sampler().sample(8, 1, 0, 5) == sampler().sample(8, 1, 0, 5)
    assert sampler().sample(8, 1, 0, 5) != sampler().sample(8, 1, 0, 6)
    assert sampler().sample(8, 1, 0, 5) != sampler().sample(8, 1, 1, 5)
    assert isinstance(sampler().sample(1, 0)[0], Task)


def test_a_probability_changes_only_its_own_choice():
    before = sampler().sample(200, 3)
    after = sampler(color_text=1.0).sample(200, 3)
    assert [task.hairstyle for task in before] == [task.hairstyle for task in after]
    assert [task.latent for task in before] == [task.latent for task in after]
