"""Sets of codes in the forms in which people keep them, and what is said of wrong and damaged ones."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from hairclip import pretrained
from hairclip.common.errors import HairclipError
from hairclip.pretrained.inspect import describe_file
from hairclip.pretrained.latent_files import read_about, save_latent_blocks
from hairclip.training.latents import load_latent_set
from tests.pretrained.test_weight_files import anonymous_megabytes

CODES = torch.randn(4, 6, 8, generator=torch.Generator().manual_seed(0))
ARRAY = CODES.numpy()


def npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


FORMS = {
    "npy": npy(ARRAY),
    "npy in another order of bytes": npy(ARRAY.astype(">f4")),
    "npy with a row of one": npy(ARRAY[:, None]),
    "npy in columns": npy(np.asfortranarray(ARRAY)),
    "npz": npz(codes=ARRAY),
    "npz of several": npz(a=ARRAY[:1], b=ARRAY[1:]),
    "tensor with a row of one": CODES[:, None],
    "list of tensors": list(CODES),
    "list of batches": [CODES[:3], CODES[3:]],
    "list of arrays": list(ARRAY),
    "tuple": tuple(code[None] for code in CODES),
    "dictionary by name": {f"{i}.jpg": code for i, code in enumerate(CODES)},
    "dictionary of arrays": {f"{i}.jpg": code[None] for i, code in enumerate(ARRAY)},
    "dictionary with more": {"latents": CODES, "names": ["a", "b", "c", "d"], "step": 3},
    "array": ARRAY,
    "parameter": torch.nn.Parameter(CODES),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_codes_are_read_in_every_form(form, zipped, tmp_path):
    path, content = tmp_path / "codes", FORMS[form]
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
    codes = pretrained.load_latents(path)
    assert codes.dtype == torch.float32
    assert torch.equal(codes, CODES)
    assert pretrained.load_latent_labels(path) is None
    assert "latents: 4 x 6 x 8 (codes x layers x width), float32" in describe_file(path)[1]


def test_safetensors_of_several_tensors_are_joined(tmp_path):
    save_file({"a": CODES[:1].clone(), "b": CODES[1:].clone()}, tmp_path / "codes.safetensors")
    assert torch.equal(pretrained.load_latents(tmp_path / "codes.safetensors"), CODES)


def test_codes_in_blocks_give_the_file_of_all_codes_at_once(tmp_path):
    labels = {"name": ["é.png", "b.png", "c.png", "d.png"]}
    pretrained.save_latents(tmp_path / "whole.safetensors", CODES, labels)
    save_latent_blocks(tmp_path / "blocks.safetensors", iter([CODES[:3], CODES[3:]]), (4, 6, 8), labels)
    assert (tmp_path / "blocks.safetensors").read_bytes() == (tmp_path / "whole.safetensors").read_bytes()
    assert read_about(tmp_path / "blocks.safetensors") is None
    save_latent_blocks(tmp_path / "about.safetensors", [CODES], (4, 6, 8), about={"encoder": "e4e"})
    assert read_about(tmp_path / "about.safetensors") == {"encoder": "e4e"}
    with pytest.raises(ValueError, match="bytes more than its shape"):
        save_latent_blocks(tmp_path / "short.safetensors", [CODES], (3, 6, 8))
    assert not (tmp_path / "short.safetensors").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_npy_is_mapped_into_memory_not_read(tmp_path):
    np.save(tmp_path / "codes.npy", np.ones((2000, 18, 512), np.float32))  # 74 MB
    before = anonymous_megabytes()
    codes = pretrained.load_latents(tmp_path / "codes.npy")
    assert float(codes[1999, 17, 511]) == 1
    assert anonymous_megabytes() - before < 15


def refused(path: Path) -> str:
    with pytest.raises(HairclipError) as caught:
        pretrained.load_latents(path)
    message = str(caught.value)
    assert path.name in message
    assert message.endswith(".")
    assert "\n" not in message
    assert len(message) - len(str(path)) < 400
    return message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (npy(ARRAY[0]), "float32 (6, 8), expected floating-point W+ codes (count, layers, width)"),
        (npy((ARRAY * 9).astype(np.int32)), "int32 (4, 6, 8)"),
        (npy(ARRAY[:0]), "float32 (0, 6, 8)"),
        (npy(np.array([{"a": 1}], dtype=object)), "holds Python objects"),
        (npy(ARRAY)[:-9], "cannot be read"),
        (npz(a=ARRAY, b=ARRAY[:, :3]), "float32 (4, 6, 8), float32 (4, 3, 8)"),
        ([CODES, CODES[:, :, :3]], "float32 (4, 6, 8), float32 (4, 6, 3)"),
        ([torch.zeros(i + 1, 2) for i in range(9)], "(1, 2), float32 (2, 2), float32 (3, 2), ..."),
        ([CODES, "text"], "a list"),
        ({"a": 3}, "holds no latents"),
    ],
)
def test_wrong_codes_are_one_sentence(content, words, tmp_path):
    path = tmp_path / "codes"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    assert words in refused(path)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16])
def test_a_number_that_is_not_finite_is_told_as_a_fault_of_the_data(number, kind, tmp_path):
    codes = torch.zeros(1500, 2, 4, dtype=kind)
    codes[1203, 1, 2] = codes[1300] = number
    torch.save(codes, tmp_path / "codes.pt")
    assert "first in code 1203 of 1500 (counted from 0): these data are damaged" in refused(tmp_path / "codes.pt")
    pretrained.save_latents(tmp_path / "codes.safetensors", codes.float())
    assert "first in code 1203" in refused(tmp_path / "codes.safetensors")


@pytest.mark.parametrize(
    "labels", ["3", "[1]", "true", '"text"', '{"hairstyle": 3}', '{"hairstyle": [[1]]}', "{", "[" * 10**5, "nan"]
)
def test_labels_that_are_no_lists_of_names_are_one_sentence(labels, tmp_path):
    path = tmp_path / "codes.safetensors"
    save_file({"w_plus": CODES}, path, {"hairclip_kind": "latents", "labels": labels})
    for read in (pretrained.load_latent_labels, load_latent_set):
        with pytest.raises(HairclipError, match=r"codes\.safetensors has labels in its metadata that are not lists"):
            read(path)


def test_labels_of_each_code_become_lists(tmp_path):
    path = tmp_path / "codes.safetensors"
    rows = [{"hairstyle": "afro"}, {"hairstyle": "bob cut", "color": "red"}]
    save_file({"w_plus": CODES}, path, {"hairclip_kind": "latents", "labels": json.dumps(rows)})
    assert pretrained.load_latent_labels(path) == {"hairstyle": ["afro", "bob cut"], "color": [None, "red"]}
