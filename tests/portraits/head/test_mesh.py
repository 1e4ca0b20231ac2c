"""The head model: built once, the same for everyone in its topology, different for every person in its shape."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba")
pytest.importorskip("anny")

from hairclip.common.errors import HairclipError
from hairclip.portraits.head import mesh, mesh_build
from hairclip.portraits.head.mesh import BODY, EYE, LASH, TEETH, HeadModel, load_head_model
from hairclip.portraits.spec import sample_identity, sample_scene


@pytest.fixture(scope="module")
def model() -> HeadModel:
    return load_head_model()


def test_geometry(model: HeadModel) -> None:
    assert model.triangles.min() == 0
    assert model.triangles.max() == len(model.rest) - 1
    assert set(np.unique(model.part)) == {BODY, EYE, LASH, TEETH}
    assert (np.ptp(model.part[model.triangles], axis=1) == 0).all(), "a triangle belongs to one part"
    assert np.isfinite(model.rest).all()


def test_every_target_of_a_person_exists(model: HeadModel) -> None:
    for seed in range(5):
        missing = [name for name in sample_identity(seed).shape if name not in model.targets]
        # MakeHuman's average build is the base mesh itself, so it has no target.
        assert all(name.endswith("averageweight") for name in missing)


def test_people_differ_and_are_reproducible(model: HeadModel) -> None:
    first, again, second = (model.morph(sample_identity(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first.positions, again.positions)
    assert np.abs(first.positions - second.positions).max() > 0.05
    assert np.allclose(np.linalg.norm(first.normals, axis=1), 1, atol=1e-4)


def test_skulls_stay_near_the_canonical_one(model: HeadModel) -> None:
    """Pointed and tall heads were a flaw of the raw targets."""
    crown = (model.part == BODY) & (model.rest[:, 1] > 8.3)
    for seed in range(12):
        head = model.morph(sample_identity(seed))
        assert np.abs(head.positions[crown] - model.rest[crown]).max() < 0.3
        assert 8.15 < head.positions[crown, 1].max() < 8.65


def test_expression_moves_the_face_only(model: HeadModel) -> None:
    neutral, smiling = model.morph_both(sample_identity(4), replace(sample_scene(4), smile=1.0))
    moved = np.abs(smiling.positions - neutral.positions).max(1)
    assert moved[model.rest[:, 1] > 8.2].max() < 0.02
    assert moved[neutral.lips > 0.5].max() > 0.01
    assert np.array_equal(neutral.positions, model.morph(sample_identity(4)).positions)


def test_subdivision_keeps_a_plane_and_quarters_its_quads() -> None:
    """Catmull-Clark: a flat grid stays flat, one quad becomes four."""
    corners = np.array([[x, y, 0.0] for y in range(3) for x in range(3)])
    quads = [[i, i + 1, i + 4, i + 3] for i in (0, 1, 3, 4)]
    matrix, finer = mesh_build._subdivide(len(corners), quads)
    points = (matrix.to_dense().numpy()) @ corners
    assert len(finer) == 16
    assert np.allclose(points[:, 2], 0)
    assert np.allclose(points[4], corners[4]), "the center of a symmetric grid stays"


def test_a_missing_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("HAIRCLIP_HOME", str(tmp_path))
    with pytest.raises(HairclipError, match=r"pip install hairclip\[portraits\]"):
        mesh.load_head_model.__wrapped__()
