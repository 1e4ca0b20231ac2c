"""YAML is read as people write it, and hostile YAML is one sentence in no time."""

import time
from pathlib import Path

import pytest

from hairclip.common.errors import HairclipError
from hairclip.common.yaml import parse_yaml, read_yaml

ALIAS_BOMB = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
MERGE_BOMB = "a0: &a0 {k0: 1}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}], k{n}: 1}}\n" for n in range(1, 12)
)
HOSTILE = {
    "nested aliases": (ALIAS_BOMB, "stands for more than 20,000 values"),
    "nested merges": (MERGE_BOMB, "stands for more than 20,000 values"),
    "aliases in a key": (ALIAS_BOMB + "? *a9\n: 1\n", "stands for more than 20,000 values"),
    "an alias of itself": ("a: &a [*a]\n", "contains it"),
    "nested lists": ("a: " + "[" * 900 + "]" * 900, "nested more than 30 deep"),
    "nested mappings": ("".join(f"{' ' * n}a:\n" for n in range(200)), "nested more than 30 deep"),
    "one long key": ("k" * 20_000_000 + ": 1", "too large"),
    "many keys": ("".join(f"k{n}: 1\n" for n in range(1_000_000)), "too large"),
    "a damaged time": ("a: !!timestamp x", "not YAML"),
    "a damaged number": ("a: !!int x", "not YAML"),
    "a huge number": ("a: " + "9" * 5000, "not YAML"),
    "a Python object": ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
    "a long key twice": (("k" * 900 + ": 1\n") * 2, "appears twice|\\.\\.\\."),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_in_one_short_sentence(name: str, tmp_path: Path):
    text, words = HOSTILE[name]
    (tmp_path / "a.yaml").write_text(text)
    started = time.perf_counter()
    with pytest.raises(HairclipError, match=words) as told:
        read_yaml(tmp_path / "a.yaml")
    assert time.perf_counter() - started < 2  # a tenth of a second, where the machine has nothing else to do
    assert "a.yaml" in str(told.value)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 300 + len(str(tmp_path))


def test_aliases_and_merges_of_a_sane_size_are_read():
    text = "base: &base {lr: 1e-4, steps: 10}\nrun: {<<: *base, steps: 20}\nagain: *base\n"
    base = {"lr": 1e-4, "steps": 10}
    assert parse_yaml(text, where="here") == {"base": base, "run": {"lr": 1e-4, "steps": 20}, "again": base}


def test_numbers_and_booleans_are_those_of_version_1_2():
    assert parse_yaml("[1e-4, 12:30, no, 010, .5, true, ~]", where="here") == [
        1e-4,
        "12:30",
        "no",
        "010",
        0.5,
        True,
        None,
    ]


def test_what_is_no_regular_file_is_refused(tmp_path: Path):
    for place in (tmp_path, tmp_path / "absent.yaml", "/dev/zero"):
        with pytest.raises(HairclipError, match="configuration file"):
            read_yaml(place)
