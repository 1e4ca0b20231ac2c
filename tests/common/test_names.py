"""Parts are found by name, the user's own too."""

from pathlib import Path

import pytest

from hairclip.common.errors import HairclipError
from hairclip.common.names import NameTable

TABLE: NameTable[type] = NameTable("number", {"fraction": "fractions:Fraction", "decimal": "decimal:Decimal"})


def test_names_lead_to_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert TABLE.load("fraction").__name__ == "Fraction"
    assert list(TABLE) == ["fraction", "decimal"]
    (tmp_path / "own_numbers.py").write_text("class Surreal: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert TABLE.load("own_numbers:Surreal").__name__ == "Surreal"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("fractoin", r"there is no number 'fractoin' \(did you mean fraction\?\): choose fraction, decimal, or name"),
        ("nowhere:Surreal", "there is no module nowhere"),
        ("fractions:Surreal", "the module fractions has no Surreal"),
        ("fractions:", "there is no number"),
        (":x", "there is no number"),
    ],
)
def test_a_name_that_leads_nowhere_is_one_sentence(name: str, told: str):
    with pytest.raises(HairclipError, match=told):
        TABLE.load(name)


def test_an_error_inside_an_own_module_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "own_broken.py").write_text("import a_package_that_is_not_there\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="a_package_that_is_not_there"):
        TABLE.load("own_broken:x")
