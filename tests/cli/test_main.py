"""The command line: what it prints, what it writes, and exit code 2 with one sentence for a user's mistake."""

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import hairclip
from hairclip.cli import main as cli
from hairclip.common.images import save_image
from hairclip.editing.editor import HairEditor
from hairclip.networks.mapper import HairMapper
from hairclip.pretrained import save_latents, save_network
from tests.helpers import fuzz_loaders
from tests.helpers.tiny_networks import N_LATENT, W_DIM, save_bundle, tiny_networks

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tiny random networks and a portrait."""
    folder = save_bundle(tmp_path_factory.mktemp("bundle"))
    labels = {
        "hairstyle": ["afro", "bob cut", "perm"],
        "color": ["red", "blue", "pink"],
        "split": ["train", "train", "val"],
    }
    save_latents(folder / "latents.safetensors", torch.zeros(3, N_LATENT, W_DIM), labels)
    save_image(torch.rand(3, 40, 40, generator=torch.Generator().manual_seed(0)) * 2 - 1, folder / "me.png")
    return folder


def edit(bundle: Path, *more: str) -> int:
    """Edit the portrait, which is noise: no face would be found in it."""
    portrait = ["--image", str(bundle / "me.png"), "--aligned"]
    return cli.main(["edit", *portrait, "--bundle", str(bundle), "--device", "cpu", "--force", *more])


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def test_edit_by_text(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "edited.png"
    assert edit(bundle, "--text", "red bob cut", "--out", str(out)) == 0
    assert "hairstyle: bob cut; color: red" in capsys.readouterr().out
    assert size_of(out) == (40, 40)  # the portrait's own, not the networks'


def test_edit_compare(bundle: Path, tmp_path: Path):
    out, beside = tmp_path / "edited.png", tmp_path / "compared.png"
    assert edit(bundle, "--hairstyle", str(bundle / "me.png"), "--out", str(out), "--compare", str(beside)) == 0
    assert size_of(out) == (40, 40)
    assert size_of(beside)[0] > 2 * size_of(beside)[1]


def test_edit_grid(bundle: Path, tmp_path: Path):
    out = tmp_path / "grid.png"
    assert edit(bundle, "--grid", "--hairstyle", "afro, perm", "--color", "red,blue,pink", "--out", str(out)) == 0
    width, height = size_of(out)
    assert width > height  # four columns, three rows


def test_edit_by_optimization_with_another_mapper(bundle: Path, tmp_path: Path):
    options = [
        "--method",
        "optimize",
        "--steps",
        "2",
        "--set",
        "lr=0.05",
        "--mapper",
        str(bundle / "mapper.safetensors"),
    ]
    assert edit(bundle, "--color", "red", *options, "--out", str(tmp_path / "a.png")) == 0
    assert (tmp_path / "a.png").is_file()


@pytest.mark.parametrize("method", ["mapper", "optimize"])
def test_a_mapper_of_other_networks_is_one_sentence(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], method: str
):
    save_network(tmp_path / "m.safetensors", "mapper", HairMapper(18, W_DIM, 512))
    assert edit(bundle, "--color", "red", "--mapper", str(tmp_path / "m.safetensors"), "--method", method) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    for part in ("m.safetensors does not fit", "18 layers", "512", f"{N_LATENT} layers"):
        assert part in message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["edit", "--image", "none.png", "--text", "red hair"], "none.png"),
        (["edit", "--image", "ME", "--text", "please"], "names neither"),
        (["edit", "--image", "ME"], "nothing to edit"),
        (["edit", "--image", "ME", "--color", "red", "--strength", "3"], "strength 3"),
        (["edit", "--image", "ME", "--color", "red", "--device", "gpu"], "device 'gpu'"),
        (["edit", "--image", "ME", "--color", "red", "--bundle", "nowhere"], "no bundle nowhere"),
        (["edit", "--image", "ME", "--color", "red", "--mapper", "none.safetensors"], "none.safetensors"),
        (["edit", "--image", "ME", "--color", "red", "--out", "edited.xyz"], "edited.xyz"),
        (["edit", "--image", "ME", "--color", "red", "--out", "CONFIG/edited.png"], "CONFIG/edited.png"),
        (["edit", "--image", "ME", "--color", "red", "--compare", "x.psd"], "x.psd"),
        (["edit", "--image", "ME", "--text", ""], "names neither"),
        (["edit", "--image", "ME", "--color", ""], "empty text"),
        (["edit", "--image", "CONFIG", "--color", "red"], "CONFIG cannot be read as an image"),
        (["edit", "--image", ".", "--color", "red"], "no picture in the folder"),
        (["edit", "--image", "ME", "--color", "red", "--face", "middle"], "no face 'middle'"),
        (["edit", "--image", "ME", "--color", "red", "--gif"], "add --frames"),
        (["edit", "--image", "ME", "--color", "red", "--frames", "1"], "--frames 1"),
        (
            ["edit", "--image", "ME", "--color", "red", "--frames", "3", "--compare", "x.png"],
            "--compare shows single edits",
        ),
        (["edit", "--image", "ME", "--text", "red hair", "--text", "afro", "--grid"], "leave out --text"),
        (["edit", "--image", "ME", "--grid", "--strength", "3"], "strength 3"),
        (["edit", "--image", "ME", "--text", "@none.txt"], "--text @none.txt cannot be read"),
        (["edit", "--image", "ME", "--text", "@EMPTY"], "--text @EMPTY names no edit"),
        (["edit", "--image", ".", "--color", "red", "--grid"], "--grid is for one photo"),
        (["edit", "--image", "ME", "--color", "red", "--steps", "0"], "--steps 0"),
        (["edit", "--image", "ME", "--color", "red", "--seed", "-1"], "--seed -1"),
        (["edit", "--image", "ME", "--grid", "--color", ","], "--color ',' names nothing"),
        (["edit", "--image", "ME", "--color", "red", "--mapper", "."], ". is a folder"),
        (["train", "--config", "none.yaml"], "none.yaml"),
        (["train", "--config", "."], ". is a folder"),
        (["train", "--config", "CONFIG", "lr"], "'lr' is not an override"),
        (["train", "--config", "CONFIG", "--resume", "."], "--resume .: there is no checkpoint"),
        (["train", "--config", "CONFIG", "--resume", "CONFIG"], "cannot be read as a checkpoint"),
        (
            ["train", "--config", "CONFIG", "--out", "CONFIG"],
            "cannot write CONFIG/config.yaml (CONFIG is not a folder)",
        ),
        (["evaluate", "--config", "CONFIG", "--seed", "-1"], "--seed -1"),
        (["evaluate", "--config", "CONFIG", "--workers", "-1"], "--workers -1"),
        (["evaluate", "--config", "CONFIG", "--out", "CONFIG/x"], "cannot make the folder CONFIG/x"),
        (["train", "--config", "CONFIG", "optimizer.name=adm"], "did you mean adam?"),
        (["evaluate", "--config", "CONFIG", "--count", "0"], "--count 0"),
        (["doctor", "--file", "none.pt"], "none.pt"),
        (["doctor", "--file", "CONFIG"], "CONFIG"),
    ],
)
def test_mistakes_are_one_sentence(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    arguments: list[str], words: str,
):  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "CONFIG").write_text(
        f"name: x\ndevice: cpu\nnetworks: {{bundle: {bundle}}}\nmapper: {{groups: [3, 5]}}\n"
        f"data: {{latents: {bundle}/latents.safetensors, reference_pool: 2}}\n"
    )
    (tmp_path / "EMPTY").write_text(" \n")
    before = sorted(tmp_path.iterdir())
    arguments = [str(bundle / "me.png") if argument == "ME" else argument for argument in arguments]
    if arguments[0] == "edit" and "--bundle" not in arguments:
        arguments += ["--bundle", str(bundle)]
    assert cli.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("hairclip: error: ")
    assert captured.err.count("\n") == 1
    assert words in captured.err
    assert sorted(tmp_path.iterdir()) == before


def test_words_outside_the_vocabulary_are_said_and_change_nothing(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = ["--out", str(tmp_path / "a.png")]
    assert edit(bundle, "--hairstyle", "bob cut", "--color", "blurple", *out) == 0
    note = capsys.readouterr().out.splitlines()[1]
    assert note == "note: 'blurple' is not understood and changes nothing (did you mean purple?)."
    assert edit(bundle, "--hairstyle", "curly", "--color", str(bundle / "me.png"), *out) == 0
    assert "vocabulary" not in capsys.readouterr().out


def test_ctrl_c_while_editing_leaves_what_was_there(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def interrupt(*arguments: object, **settings: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "out.png").write_bytes(b"before")
    monkeypatch.setattr("PIL.Image.Image.save", interrupt)
    assert edit(bundle, "--color", "red", "--out", str(tmp_path / "out.png")) == 130
    assert capsys.readouterr().err == "hairclip: interrupted\n"
    assert [path.name for path in tmp_path.iterdir()] == ["out.png"]
    assert (tmp_path / "out.png").read_bytes() == b"before"


def evaluated(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, text: str, *more: str
) -> tuple[HairEditor, dict[str, Any]]:
    """What `evaluate` would measure with a configuration, and how."""
    caught: list[tuple[HairEditor, dict[str, Any]]] = []
    monkeypatch.setattr(
        "hairclip.evaluation.edit_report.evaluate_editor",
        lambda editor, judge, out, **settings: caught.append((editor, {"judge": judge, "out": out, **settings})),
    )
    monkeypatch.chdir(bundle)
    (bundle / "run.yaml").write_text(f"name: x\ndevice: cpu\nnetworks: {{bundle: {bundle}}}\n{text}")
    assert cli.main(["evaluate", "--config", "run.yaml", *more]) == 0
    return caught[0]


def test_evaluate_measures_what_the_config_trains(bundle: Path, monkeypatch: pytest.MonkeyPatch):
    text = "losses: {text: 4.0, background: 0.5, text_pixels: official, gamma: srgb}\nmapper: {groups: [3, 5]}\n"
    editor, settings = evaluated(bundle, monkeypatch, text, "losses.latent=0.25")
    weights = editor.loss.weights
    assert (weights["text_color"], weights["background"], weights["latent"]) == (4.0, 0.5, 0.25)
    assert (editor.loss.gamma, editor.loss.normalize_text_pixels) == ("srgb", False)
    assert editor.conditions().gamma == "srgb"
    assert editor.groups == (3, 5)
    assert editor.loss.clip is editor.networks.clip
    assert settings["out"] == Path("runs/x/evaluation")
    assert not editor.mapper.training
    other, _ = evaluated(bundle, monkeypatch, "losses: {text_pixels: normalized}\n")
    assert other.loss.normalize_text_pixels


@pytest.mark.parametrize(("method", "optimized"), [("mapper", 0), ("both", 24), ("optimize", 60)])
def test_evaluate_methods_do_what_their_help_says(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, method: str, optimized: int
):
    _, settings = evaluated(bundle, monkeypatch, "", "--method", method, "--count", "60")
    assert (settings["count"], settings["optimize_count"]) == (60, optimized)


def test_evaluate_takes_networks_that_the_config_names(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    save_network(tmp_path / "other.safetensors", "identity", tiny_networks(seed=5).identity)
    editor, _ = evaluated(bundle, monkeypatch, "", f"networks.identity={tmp_path / 'other.safetensors'}")
    face = torch.zeros(1, 3, 40, 40)
    assert torch.equal(editor.loss.identity(face), tiny_networks(seed=5).identity(face))
    # a configuration that names every network of training, but no encoder or judge
    named = [f"networks.{part}={bundle}/{part}.safetensors" for part in ("generator", "clip", "parser", "identity")]
    assert cli.main(["evaluate", "--config", "run.yaml", *named]) == 2
    assert "no encoder and no judge" in capsys.readouterr().err


def test_unknown_options_exit_with_2(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as caught:
        cli.main(["train", "--confg", "x"])
    assert caught.value.code == 2
    assert "--config" in capsys.readouterr().err


def test_doctor_names_what_a_file_is(bundle: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["doctor", "--file", str(bundle / "mapper.safetensors")]) == 0
    assert "mapper (HairMapper): 210 tensors" in capsys.readouterr().out
    assert cli.main(["doctor", "--file", str(bundle / "latents.safetensors")]) == 0
    assert f"latents: 3 x {N_LATENT} x {W_DIM}" in capsys.readouterr().out


def test_doctor_names_official_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    from tests.golden import fill

    torch.save(fill.official("parsenet"), tmp_path / "p.pth")
    assert cli.main(["doctor", "--file", str(tmp_path / "p.pth")]) == 0
    assert "parser (UNetParser): 136 tensors" in capsys.readouterr().out
    state = fill.official("parsenet")
    torch.save({key: value for key, value in state.items() if key != "final.bias"}, tmp_path / "p.pth")
    assert cli.main(["doctor", "--file", str(tmp_path / "p.pth")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "looks most like the U-Net of CelebAMask-HQ, but lacks 'final.bias'" in captured.err
    assert cli.main(["doctor", "--file", str(fill.HERE / "nvidia_32.pkl")]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("0.5 MB, NVIDIA pickle")
    assert second.startswith("generator (Generator): ")
    assert "NVIDIA's StyleGAN2" in second


def test_doctor_names_everything_in_one_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for name in ("hairclip.pt", "train_faces.pt", "legacy_train_faces.pt"):
        fuzz_loaders.originals(tmp_path)
        assert cli.main(["doctor", "--file", str(tmp_path / name)]) == 0
        lines = capsys.readouterr().out.splitlines()[1:]
        kinds = ["latents"] if "faces" in name else ["generator", "clip", "mapper"]
        assert [line.split(":")[0].split(" ")[0] for line in lines] == kinds


def test_doctor_refuses_a_file_of_which_one_network_is_damaged(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    fuzz_loaders.originals(tmp_path)
    content = torch.load(tmp_path / "hairclip.pt")
    del content["state_dict"]["decoder.convs.3.conv.weight"]
    torch.save(content, tmp_path / "hairclip.pt")
    assert cli.main(["doctor", "--file", str(tmp_path / "hairclip.pt")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "lacks 'decoder.convs.3.conv.weight'" in captured.err
    torch.save({"layer.weight": torch.zeros(1)}, tmp_path / "other.pt")
    assert cli.main(["doctor", "--file", str(tmp_path / "other.pt")]) == 2
    assert "holds no network that hairclip knows, first entry 'layer.weight'" in capsys.readouterr().err


FAULTS = """
import ctypes, resource, sys
from hairclip.cli import main as cli
cli._keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = libc.malloc(2**27)
    ctypes.memset(block, 1, 2**27)
    libc.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that gives memory back")
@pytest.mark.parametrize(("variables", "kept"), [({}, True), ({"MALLOC_TOP_PAD_": "131072"}, False)])
def test_freed_memory_is_kept_unless_the_user_tells_glibc_otherwise(variables: dict[str, str], kept: bool):
    plain = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    faults = subprocess.run(
        [sys.executable, "-c", FAULTS], env={**plain, **variables}, capture_output=True, text=True, check=True
    ).stdout
    assert (int(faults) < 100) == kept


def test_commands_keep_freed_memory(monkeypatch: pytest.MonkeyPatch):
    calls: list[str] = []
    monkeypatch.setattr(cli, "_keep_freed_memory", lambda: calls.append("kept"))
    monkeypatch.setattr(sys, "argv", ["hairclip", "doctor", "--file", "none.pt"])
    assert cli.main() == 2
    assert calls == ["kept"]


@pytest.mark.parametrize("name", sorted(path.stem for path in (REPOSITORY / "scripts").glob("*.py")))
def test_scripts_run_from_anywhere(name: str, tmp_path: Path):
    script = REPOSITORY / "scripts" / f"{name}.py"
    result = subprocess.run([sys.executable, script, "--help"], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("usage: ")


def test_public_names_load():
    for name in hairclip.__all__:
        assert getattr(hairclip, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        hairclip.nothing  # noqa: B018


@pytest.mark.skipif(os.name == "nt", reason="pipes of another kind")
@pytest.mark.parametrize("arguments", [["doctor"], ["download"], ["prompts", "red bob cut"], ["--help"], ["--version"]])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_command_whose_output_nobody_reads_ends_quietly(arguments: list[str], unbuffered: str):
    """As after `| head -1`, which closes the pipe after the first line."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "hairclip", *arguments]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    ended = subprocess.run(
        command, stdout=writing, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY, env=environment, timeout=300
    )
    os.close(writing)
    assert ended.stderr == ""
    assert ended.returncode in (0, 141)
