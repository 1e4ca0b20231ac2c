"""Packages import only from packages before them, without circles, and the package imports light."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "hairclip"

# The order of packages, lowest first: one imports only from those before it. Names on one line do not know each other.
ORDER = [
    ("common",),
    ("config",),
    ("networks",),
    ("pretrained", "conditions"),
    ("losses", "portraits"),
    ("editing", "training"),
    ("evaluation",),
    ("cli",),
    ("__init__",),
    ("__main__",),
]


def modules() -> dict[str, Path]:
    """Every module by its name without "hairclip.", a package's `__init__` by the package's name."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


def rank(module: str) -> int:
    for number, names in enumerate(ORDER):
        if module.split(".")[0] in names:
            return number
    raise AssertionError(f"hairclip.{module} is in no package of ORDER")


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


def test_packages_import_from_packages_before_them_only():
    known = modules()
    wrong = []
    for module, path in known.items():
        package = module.split(".")[0]
        for imported in imports(path, known):
            other = imported.split(".")[0]
            if other != package and rank(imported) >= rank(module):
                wrong.append(f"hairclip.{module} imports hairclip.{imported}")
    assert not wrong, "\n".join(sorted(wrong))


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
