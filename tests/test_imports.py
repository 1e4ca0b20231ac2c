"""The layers of the library: imports point down only, without circles, and the package imports light."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "hairclip"

# Lowest first. A module may import from its own row and from rows below; a row is matched by the longest prefix.
LAYERS = [
    ("errors", "home", "stopwatch"),
    ("decode",),
    ("images",),
    ("photo",),
    (
        "color",
        "prompts",
        "yaml_files",
        "safe_pickle",
        "nvidia_pickle",
        "torch_archives",
        "weight_files",
        "registry",
        "transfer",
        "fetch",
        "hub",
    ),
    ("networks", "checkpoint_keys", "official_checkpoint"),
    ("perceptual", "network_files", "latent_files", "open_clip_files"),
    ("pretrained", "identify"),
    (
        "condition",
        "align",
        "reconstruction",
        "pivotal",
        "invert",
        "inversion_cache",
        "inversion_check",
        "blend",
        "sheet",
        "edit_result",
        "wishes",
        "losses",
        "portraits",
        "faces",
        "edit_stages",
        "photo_beyond",
        "photo_recolor",
        "photo_result",
    ),
    ("config",),
    (
        "training",
        "edit_networks",
        "edit",
        "edit_photo",
        "edit_options",
        "edit_wishes",
        "edit_folder",
        "edit_folder_command",
        "optimize",
        "evaluation",
        "doctor",
        "weight_commands",
        "edit_command",
    ),
    ("benchmark",),
    ("__main__",),
]


def modules() -> dict[str, Path]:
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
        for path in PACKAGE.rglob("*.py")
        if path != PACKAGE / "__init__.py"
    }


def row(module: str) -> int:
    for rank, names in enumerate(LAYERS):
        if any(module == name or module.startswith(f"{name}.") for name in names):
            return rank
    raise AssertionError(f"hairclip.{module} has no layer: add it to LAYERS")


def imports(path: Path) -> set[str]:
    """hairclip modules that a file imports at run time, inside functions too; type-checking imports do not count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    known = modules()
    found = set()
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            found |= {name.name.removeprefix("hairclip.") for name in node.names if name.name.startswith("hairclip.")}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "hairclip":
            base = (node.module or "").removeprefix("hairclip").removeprefix(".")
            for name in node.names:
                full = f"{base}.{name.name}".removeprefix(".")
                found.add(full if full in known else base)
    return {name for name in found if name in known}


def test_imports_point_down():
    for module, path in modules().items():
        for imported in imports(path):
            assert row(imported) <= row(module), f"hairclip.{module} imports hairclip.{imported}, which is above it"


def test_no_circles():
    TopologicalSorter({module: imports(path) - {module} for module, path in modules().items()}).prepare()


def test_only_the_top_reads_configs():
    for module, path in modules().items():
        if row(module) < row("config"):
            assert "config" not in imports(path), f"hairclip.{module} takes arguments, not config objects"


def test_portraits_stand_apart_from_networks():
    for module, path in modules().items():
        if module.startswith("portraits") and not module.startswith("portraits.fit"):
            assert not any(name.startswith(("networks", "pretrained")) for name in imports(path)), module


def loaded_by(code: str, names: tuple[str, ...]) -> list[str]:
    code = f"{code}; import sys; print([name for name in {names!r} if name in sys.modules])"
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
