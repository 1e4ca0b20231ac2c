"""Where an edit of hair may paint."""

import torch

from hairclip.common.face_labels import CELEBAMASK_CLASSES, HAIR
from hairclip.editing.blending.regions import dilate
from hairclip.editing.editor import HairEditor
from hairclip.editing.methods.region import edit_region, name_hairstyles, paste_region, reduce_region
from hairclip.editing.options import EditOptions
from hairclip.editing.request import EditRequest
from hairclip.networks.hair_priors import HairPriors
from tests.helpers.tiny_networks import tiny_networks

SKIN, EYE = CELEBAMASK_CLASSES.index("skin"), CELEBAMASK_CLASSES.index("l_eye")


def scene() -> tuple[torch.Tensor, HairPriors]:
    """Hair in a corner, skin in the middle with one eye; an afro covers the upper half, by 0.2 on its lower rows."""
    labels = torch.zeros(1, 128, 128, dtype=torch.long)
    labels[:, :20, :20] = HAIR
    labels[:, 30:100, 40:90] = SKIN
    labels[:, 40:44, 60:66] = EYE
    priors = HairPriors(("afro",), ("red",), size=128)
    priors.shape[:, :, :64], priors.shape[:, :, :36] = 0.2, 0.9
    return labels, priors


def test_a_color_may_change_the_persons_own_hair_alone():
    labels, priors = scene()
    region = edit_region(labels, [None], [True], priors)
    assert torch.equal(region, dilate((labels == HAIR)[:, None], 3))


def test_a_hairstyle_may_also_change_what_such_hair_may_cover():
    labels, priors = scene()
    region = edit_region(labels, ["afro"], [True], priors)
    assert region[0, 0, :20, :20].all()
    assert region[0, 0, 50, 5]
    assert region[0, 0, 50, 120]
    assert not region[0, 0, 70:].any()


def test_skin_is_painted_where_hair_often_covers_it_and_eyes_never():
    labels, priors = scene()
    region = edit_region(labels, ["afro"], [True], priors)
    assert region[0, 0, 32, 60]  # a fringe
    assert not region[0, 0, 50, 60]  # hair covers a fifth of the people's skin there
    priors.shape[:] = 1.0
    assert not edit_region(labels, ["afro"], [True], priors)[0, 0, 40:44, 60:66].any()


def test_the_region_of_a_request_for_nothing_is_empty():
    labels, priors = scene()
    assert not edit_region(labels, [None], [False], priors).any()


def test_a_cell_is_open_if_any_of_its_pixels_is():
    region = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    region[0, 0, 8, 15] = True
    cells = reduce_region(region, 4)
    assert cells.sum() == 1
    assert cells[0, 0, 1, 1]


def test_outside_the_region_pixels_keep_their_bits_and_deep_inside_they_are_the_paint():
    random = torch.Generator().manual_seed(0)
    photo, paint = (torch.rand(1, 3, 64, 64, generator=random) * 2 - 1 for _ in range(2))
    region = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    region[:, :, 16:48, 16:48] = True
    pasted = paste_region(photo, paint, region)
    outside = ~region.expand_as(photo)
    assert torch.equal(pasted[outside], photo[outside])
    torch.testing.assert_close(pasted[..., 24:40, 24:40], paint[..., 24:40, 24:40])
    half = paste_region(photo, paint, region, strength=0.5)
    torch.testing.assert_close(half[..., 24:40, 24:40], (photo + paint)[..., 24:40, 24:40] / 2)


def test_a_picture_and_a_new_word_are_read_as_the_nearest_name():
    editor = HairEditor(tiny_networks(), groups=(3, 5))
    names = ["afro", "bob cut", "mohawk"]
    random = torch.Generator().manual_seed(0)
    picture = torch.rand(1, 3, 32, 32, generator=random) * 2 - 1
    requests = [EditRequest("mohawk"), EditRequest(color="red"), EditRequest(picture), EditRequest("a bob")]
    batch = editor.encode(requests, EditOptions())
    read = name_hairstyles(requests, batch, names, editor)
    assert read[:2] == ["mohawk", None]
    texts = editor.encode([EditRequest(name) for name in names], EditOptions()).condition.hairstyle
    cosines = torch.nn.functional.cosine_similarity(batch.condition.hairstyle[2:3], texts)
    assert read[2] == names[int(cosines.argmax())]
    assert read[3] in names
