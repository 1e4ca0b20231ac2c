"""Every command and every piece of Python in README works: all are parsed, those that need no download also run.

Those of the guide to training on own photos are parsed too; tests/test_real_photos.py runs them.
"""

import argparse
import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from hairclip.cli import main as cli
from hairclip.config import load_config
from hairclip.pretrained.bundle_files import list_bundles
from hairclip.pretrained.registry import WEIGHTS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDE = (ROOT / "hairclip" / "training" / "README.md").read_text(encoding="utf-8")

PROGRAMS = ("python", "torchrun", "hairclip", "pip", "pytest", "git", "cd")
"""First words of what README tells a reader to type."""

PICTURES = ("data/portraits/anna.png", "data/portraits/ben.png")
"""What stands in for the reader's own pictures."""

IN_SECONDS = ("edit", "doctor")
"""README's first line with each of these runs in the fast tests; all others run in the slow tests."""

FROM_QUADS = ("train-portrait-networks", "train-strands")
"""What learns from rendered quads that nobody has in a test."""

NEVER_RUN = {"download": "needs a network", "export": "needs the official weights", "demo": "waits for a browser"}

FEW_STEPS = [
    "training.steps=1", "training.teacher_steps=1", "training.batch_size=2", "validation.count=2",
    "data.reference_pool=4", "data.cache_sources=false", "logging.tensorboard=false",
]  # fmt: skip

SHORT = {
    "edit": {"--inversion-steps": "2"},
    "benchmark": {"--repeats": "1", "--warmup": "0", "--measure": "step", "--resolution": "64"},
    "benchmark-learning": {"--edits": "3", "--seeds": "1"},
    "evaluate": {"--count": "3", "--workers": "1"},
    "compare": {"--count": "3", "--slow-count": "3", "--workers": "1"},
    "evaluate-photos": {"--count": "1", "--inversion-steps": "2"},
    "evaluate-inversion": {"--count": "2", "--steps": "2", "--workers": "1"},
    "render-portraits": {"--count": "1", "--size": "32", "--workers": "1"},
    "evaluate-portrait-networks": {
        "--count": "2", "--workers": "1", "--optimize-count": "1", "--optimize-steps": "2",
    },
}  # fmt: skip
"""Options that shorten a command, where it has them."""


@dataclass(frozen=True)
class Command:
    """One command of README.

    Attributes:
        text: the command as README has it.
    """

    text: str

    @property
    def words(self) -> list[str]:
        """The command taken apart as a shell does."""
        return shlex.split(self.text, comments=True)

    @property
    def arguments(self) -> list[str] | None:
        """What `hairclip.cli.main.main` gets: a command and its arguments. None for another program."""
        words = self.words
        for place, word in enumerate(words):
            if word.startswith("scripts/") and word.endswith(".py"):
                return [Path(word).stem.replace("_", "-"), *words[place + 1 :]]
        if words[:3] == ["python", "-m", "hairclip"]:
            return words[3:]
        return words[1:] if words[0] == "hairclip" else None

    @property
    def name(self) -> str:
        """The command's name, empty for another program."""
        arguments = self.arguments
        return arguments[0] if arguments else ""

    @property
    def runs(self) -> bool:
        """Whether a test can run it: it needs neither other processes, nor a network, nor a name filled in."""
        gap = any(word.isupper() and word.isalpha() for word in self.words)
        official = "ffhq" in self.text or "configs/hairclip.yaml" in self.text
        foreign = self.words[0] == "torchrun" or self.name in NEVER_RUN or official
        return bool(self.name) and not gap and not foreign


def find_commands(text: str) -> list[Command]:
    """Return the commands of a text: each line of its bash blocks, taken apart at &&, and inline code that is one."""
    blocks = re.findall(r"```(?:bash|sh|console)\n(.*?)```", text, flags=re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    parts = [part.strip().removeprefix("$ ") for line in lines for part in line.split("&&")]
    inline = re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    spoken = [code for code in (" ".join(code.split()) for code in inline) if is_command(code)]
    found = [part for part in parts if shlex.split(part, comments=True)]
    return [Command(part) for part in dict.fromkeys(found + spoken)]


def is_command(code: str) -> bool:
    """Return whether inline code is a whole command: a program and what to do, without gaps to fill in."""
    first, _, rest = code.partition(" ")
    return first in PROGRAMS and bool(rest) and "..." not in code and "…" not in code


COMMANDS = find_commands(README)
READ = list(dict.fromkeys(COMMANDS + find_commands(GUIDE)))
SHARED = [command for command in READ if command.words[0] == "torchrun" and command.name == "train"]
OURS = [command for command in COMMANDS if command.arguments is not None]
RUN = [c for c in OURS if c.runs]
FAST = [next((c for c in RUN if c.name == name), None) for name in IN_SECONDS]


def test_commands_are_found_in_blocks_and_in_sentences():
    text = """Type `pytest -m slow` or `python -m hairclip doctor`, not `edit.py`.
```bash
# first
pip install a && \\
python scripts/edit.py --text "red hair"
torchrun --nproc-per-node 2 scripts/train.py --config x
```
"""
    found = find_commands(text)
    assert [command.words[0] for command in found] == ["pip", "python", "torchrun", "pytest", "python"]
    assert [command.arguments for command in found] == [
        None, ["edit", "--text", "red hair"], ["train", "--config", "x"], None, ["doctor"],
    ]  # fmt: skip


def test_readme_has_commands():
    assert {"edit", "train"} <= {command.name for command in OURS}


@pytest.mark.parametrize("command", READ, ids=lambda command: command.text)
def test_every_command_can_be_read(command: Command):
    """Our own by their parser; other programs only in the form that CI uses."""
    assert command.words[0] in PROGRAMS, f"tests do not know {command.text}"
    if command.arguments is None:
        ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
        if command.words[:2] == ["pip", "install"] and "-e" in command.words:
            assert '--editable ".[portraits,demo,browser,dev]"' in ci
        elif command.words[0] == "pytest":
            assert "\npytest\n" in ci
        return
    options = parse(command.arguments)
    assert set(getattr(options, "names", [])) <= {*WEIGHTS, *list_bundles()}
    if script := next((word for word in command.words if word.startswith("scripts/")), None):
        assert (ROOT / script).is_file()
    if getattr(options, "config", None) and isinstance(options.config, str):
        load_config(ROOT / options.config, options.overrides)


def parse(arguments: list[str]) -> argparse.Namespace:
    """Parse the arguments of a command, or fail with what its parser says."""
    try:
        return cli.build_parser(arguments[0]).parse_args(arguments)
    except SystemExit as end:
        if end.code:
            pytest.fail(f"hairclip {shlex.join(arguments)} is no command")
        return argparse.Namespace()  # --help


@pytest.mark.parametrize(
    "command", [c for c in READ if c.words[0] == "torchrun" and c.name == "train"], ids=lambda c: c.text
)
def test_a_batch_can_be_shared_among_processes(command: Command):
    processes = int(command.words[command.words.index("--nproc-per-node") + 1])
    options = parse(command.arguments or [])
    batch_size = load_config(ROOT / options.config, options.overrides).training.batch_size
    assert batch_size % processes == 0, f"{command.text}: add training.batch_size={processes}"


def shortened(command: Command, out: Path) -> list[str]:
    """Return the arguments of a command that takes little time and writes below `out` only."""
    name, *words = command.arguments or []
    photos = out / "photos"
    photos.mkdir()
    for picture in PICTURES:
        shutil.copy(ROOT / picture, photos)
    for option in ("--image", "--images", "--photo", "--edited", "--hairstyle", "--color"):
        for place in [place + 1 for place, word in enumerate(words) if word == option]:
            words[place] = stand_in(words[place], photos)
    help_text = cli.build_parser(name)._subparsers._group_actions[0].choices[name].format_help()  # type: ignore[union-attr]
    known = set(re.findall(r"--[a-z-]+", help_text))
    for option, value in SHORT.get(name, {}).items():
        if option in known and not (option == "--resolution" and "configs/portraits.yaml" in words):
            words = replaced(words, option, value)
    if name == "composite":
        words = replaced(words, "--out", str(out / "out.png"))
    elif name == "edit":
        folder = str(photos) in words
        words = replaced(words, "--out", str(out / ("edited" if folder else "out.png")))
        for option in ("--frames", "--save-stages", "--compare"):
            if option in words:
                words = replaced(words, option, "2" if option == "--frames" else str(out / "beside.png"))
        if "--mapper" in words:  # of a run that the reader has made
            words = replaced(words, "--mapper", "portraits/mapper")
        if "optimize" in words and "--steps" in known:
            words = replaced(words, "--steps", "3")
    elif name == "benchmark":
        words = [*replaced(words, "--json", str(out / "out.json")), "--no-check"]
    elif "--out" in known:
        suffix = Path(words[words.index("--out") + 1]).suffix if "--out" in words else ""
        words = replaced(words, "--out", str(out / f"out{suffix}"))
    if name in ("train", "benchmark-learning") and "--help-config" not in words:
        words = [*words, *FEW_STEPS]
    if name in FROM_QUADS:
        words = replaced(words, "--quads", str(out / "none"))
        if "--install" in known:
            words = replaced(words, "--install", str(out / "install"))
    if name == "evaluate" and "--mapper" in words:
        words = replaced(words, "--mapper", "portraits/mapper")
    return [name, *words]


def stand_in(word: str, photos: Path) -> str:
    """Return a shipped picture for a picture that only the reader has, `photos` for a folder of theirs."""
    if (ROOT / word).exists():
        return word
    if Path(word).suffix.lower() in (".jpg", ".jpeg", ".png", ".heic", ".webp"):
        return PICTURES["friend" in word]
    return str(photos) if word.startswith("photos") else word


def replaced(words: list[str], option: str, value: str) -> list[str]:
    """Return the arguments with an option set to another value; a missing option is put before all others."""
    if option in words:
        place = words.index(option)
        return [*words[: place + 1], value, *words[place + 2 :]]
    return [option, value, *words]


@pytest.mark.parametrize(
    "command",
    [pytest.param(c, marks=[] if c in FAST else [pytest.mark.slow], id=c.text) for c in RUN],
)
def test_it_runs(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("HAIRCLIP_HOME", str(tmp_path / "home"))
    arguments = shortened(command, tmp_path)
    try:
        code = cli.main(arguments)
    except SystemExit as end:  # --help and --help-config
        code = end.code if isinstance(end.code, int) else 0
    told = capsys.readouterr()
    if command.name in FROM_QUADS:  # takes hours: as far as the pictures that it wants
        assert code == 2
        assert "no rendered quads in" in told.err
        return
    # Networks that are measured on two people may miss what they must reach, which is exit code 1.
    assert code in ((0, 1) if command.name == "evaluate-portrait-networks" else (0,)), told.err
    apart = {"home", "photos"}
    written = [path for path in tmp_path.rglob("*") if path.is_file() and not apart & set(path.parts)]
    assert written or told.out
    assert all(path.stat().st_size > 0 for path in written)


@pytest.mark.slow
def test_the_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Blocks run in the order of README, with what those before them have named; files go to a folder of the test."""
    shutil.copytree(ROOT / "data", tmp_path / "data")
    for name in set(re.findall(r"[\w/]+\.jpg", README)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / PICTURES["friend" in name], tmp_path / name)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert blocks
    for block in blocks:
        if "ffhq" not in block:
            exec(compile(block, "README.md", "exec"), names)


# ------------------------------------------------------------------------------------------ README in Chinese

CHINESE = ROOT / ".github" / "README.zh-TW.md"


def test_the_chinese_readme_has_the_same_commands_and_the_same_figures():
    text = CHINESE.read_text(encoding="utf-8")
    for pattern in (r"```.*?```", r"^\|.*\|$"):
        found, expected = (
            re.findall(pattern, one, flags=re.DOTALL if "`" in pattern else re.MULTILINE) for one in (text, README)
        )
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            if pattern.startswith("`"):
                assert one == other
            else:
                assert re.findall(r"\d+(?:[.,]\d+)*", one) == re.findall(r"\d+(?:[.,]\d+)*", other), one
    assert [c.text for c in find_commands(text)] == [c.text for c in COMMANDS]
    assert len(re.findall(r"^#+ ", text, flags=re.MULTILINE)) == len(re.findall(r"^#+ ", README, flags=re.MULTILINE))


def test_links_of_the_chinese_readme_lead_somewhere():
    text = CHINESE.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)]+)\)", text):
        assert target.startswith("http") or (CHINESE.parent / target).exists(), target
