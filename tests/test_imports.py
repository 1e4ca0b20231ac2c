"""Packages import only from packages before them, without circles, and the package imports light."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "hairclip"

# The order of packages, lowest first: one imports only from those before it. Names on one line do not know each other.
ORDER = [
    ("common",),
    ("config",),
    ("networks",),
    ("pretrained", "conditions"),
    ("losses", "portraits"),
    ("editing", "training"),
    ("evaluation", "demo"),
    ("cli",),
    ("__init__",),
    ("__main__",),
]

# The same inside a package. A module that is not named stands above those that are.
INSIDE = {
    "portraits": [
        ("vocabulary",),
        ("spec",),
        ("captions", "drawing", "randomize"),
        ("head", "fit"),
        ("hair", "backdrop"),
        ("render",),
        ("dataset",),
    ],
    "editing": [("choices",), ("photo", "inversion", "blending")],
}

MOST_ENTRIES = 15
"""Files and folders that the package's root may hold: `py.typed` and one for each thing that people do or use."""


def modules() -> dict[str, Path]:
    """Every module by its name without "hairclip.", a package's `__init__` by the package's name."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


def rank(name: str, order: list[tuple[str, ...]]) -> int | None:
    """Place of a name in an order, None where it is not in it."""
    return next((number for number, names in enumerate(order) if name in names), None)


def climbs(name: str, imported: str, order: list[tuple[str, ...]]) -> bool:
    """Whether an import goes to another name that does not stand before the importing one."""
    here, there = rank(name, order), rank(imported, order)
    return name != imported and here is not None and (there is None or there >= here)


def imports(path: Path, known: dict[str, Path]) -> set[str]:
    """hairclip modules that a file imports: at run time, inside functions, and for types alone."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name.removeprefix("hairclip.") for name in node.names if name.name.startswith("hairclip.")}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "hairclip":
            base = (node.module or "").removeprefix("hairclip").removeprefix(".")
            for name in node.names:
                full = f"{base}.{name.name}".removeprefix(".")
                found.add(full if full in known else base or "__init__")
    return found & set(known)


def test_the_root_has_few_entries_and_each_has_its_place():
    entries = {path.name for path in PACKAGE.iterdir() if not path.name.startswith(("__pycache__", "."))}
    assert len(entries) <= MOST_ENTRIES, sorted(entries)
    named = {name for names in ORDER for name in names}
    assert {entry.removesuffix(".py") for entry in entries} - {"py.typed"} == named


def test_packages_import_from_packages_before_them_only():
    known = modules()
    wrong = [
        f"hairclip.{module} imports hairclip.{imported}"
        for module, path in known.items()
        for imported in imports(path, known)
        if climbs(module.split(".")[0], imported.split(".")[0], ORDER)
    ]
    assert not wrong, "\n".join(sorted(wrong))


@pytest.mark.parametrize("package", INSIDE)
def test_parts_of_a_package_import_from_parts_before_them_only(package: str):
    known = modules()
    inside = {module: path for module, path in known.items() if module.startswith(f"{package}.")}
    parts = {module.split(".")[1] for module in inside}
    assert {name for names in INSIDE[package] for name in names} <= parts
    wrong = [
        f"hairclip.{module} imports hairclip.{imported}"
        for module, path in inside.items()
        for imported in imports(path, known) & set(inside)
        if climbs(module.split(".")[1], imported.split(".")[1], INSIDE[package])
    ]
    assert not wrong, "\n".join(sorted(wrong))


def test_an_import_upward_is_seen():
    order = [("low",), ("left", "right"), ("high",)]
    assert climbs("low", "high", order)
    assert climbs("left", "right", order)
    assert climbs("high", "unnamed", order)
    assert not climbs("unnamed", "high", order)
    assert not climbs("high", "low", order)
    assert not climbs("left", "left", order)


def test_no_circles():
    known = modules()
    TopologicalSorter({module: imports(path, known) - {module} for module, path in known.items()}).prepare()


def test_portraits_stand_apart_from_networks():
    for module, path in modules().items():
        if module.startswith("portraits") and not module.startswith("portraits.fit"):
            assert not any(name.startswith(("networks", "pretrained")) for name in imports(path, modules())), module


def loaded_by(code: str, names: tuple[str, ...]) -> list[str]:
    code = f"{code}\nimport sys; print([name for name in {names!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return ast.literal_eval(result.stdout)


def test_import_is_light():
    heavy = ("open_clip", "torchvision", "numba", "tensorboard", "facenet_pytorch", "anny", "pydantic", "torch")
    assert loaded_by("import hairclip", heavy) == []


def test_the_editor_imports_no_clip_before_it_needs_one():
    heavy = ("open_clip", "torchvision", "timm", "torch._dynamo", "facenet_pytorch", "pydantic", "numba")
    assert loaded_by("from hairclip import HairEditor", heavy) == []


def test_loading_networks_does_not_import_the_compiler():
    names = ("parser", "encoder", "mapper", "identity", "judge", "generator")
    code = f"from hairclip.pretrained import load_bundle as f; b = f('portraits'); [getattr(b, n) for n in {names}]"
    assert loaded_by(code, ("torch._dynamo", "open_clip", "torchvision")) == []


def test_help_of_every_command_comes_without_torch():
    code = """
import contextlib, io
from hairclip.cli.main import build_parser
parser = build_parser()
for arguments in [[], *([name] for name in parser._subparsers._group_actions[0].choices)]:
    with contextlib.redirect_stdout(io.StringIO()) as text, contextlib.suppress(SystemExit):
        parser.parse_args([*arguments, "--help"])
    assert text.getvalue().startswith("usage: hairclip"), arguments
"""
    assert loaded_by(code, ("torch", "torchvision", "open_clip", "pydantic", "tqdm", "numba")) == []
