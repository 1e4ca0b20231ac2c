"""Files that are not weights, or would run something: one sentence, exit code 2, and nothing happens."""

import io
import os
import pickle
import subprocess
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from hairclip import pretrained
from hairclip.cli.main import main
from hairclip.common.errors import HairclipError
from hairclip.networks.classifier import HairstyleClassifier
from hairclip.networks.clip import VIT_B_32
from hairclip.pretrained import weight_files
from hairclip.pretrained.inspect import describe_file
from hairclip.pretrained.weight_files import map_torch, read_torch
from tests.helpers.fuzz_loaders import CLIP, originals, save_torchscript

LOADERS = ("generator", "clip", "parser", "identity", "encoder", "mapper", "judge", "hairclip", "latents")


class Attack:
    """What a hostile pickle holds: reading it the ordinary way makes a file."""

    def __reduce__(self):
        return os.system, ("touch executed",)


def hostile(folder: Path) -> dict[str, Path]:
    """A file per container, each of which would run a command if it were unpickled."""
    contents = {"g_ema": {"input.input": torch.zeros(1, 4, 4, 4)}, "attack": Attack()}
    files = {name: folder / f"{name}.pt" for name in ("zip", "legacy", "pickle", "nvidia", "script", "tar")}
    torch.save(contents, files["zip"])
    torch.save(contents, files["legacy"], _use_new_zipfile_serialization=False)
    files["pickle"].write_bytes(pickle.dumps(Attack(), protocol=4))
    build = b"\x80\x02ctorch_utils.persistence\n_reconstruct_persistent_obj\n0"
    files["nvidia"].write_bytes(build + pickle.dumps({"G_ema": Attack()}, protocol=2)[2:])
    save_torchscript(CLIP, folder / "sound.pt")
    with zipfile.ZipFile(folder / "sound.pt") as sound, zipfile.ZipFile(files["script"], "w") as changed:
        for name in sound.namelist():
            data = pickle.dumps(Attack(), protocol=2) if name.endswith("/data.pkl") else sound.read(name)
            changed.writestr(name, data)
    files["tar"].write_bytes(b"pickle" + b"\0" * 94 + b"0000644" + pickle.dumps(Attack()))
    assert len(files) == 6
    return files


def refused(path: Path, read: object) -> str:
    with pytest.raises(HairclipError) as caught:
        read(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    assert path.name in message
    return message


@pytest.mark.parametrize("loader", LOADERS)
def test_no_loader_runs_a_hostile_file(loader, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, path in hostile(tmp_path).items():
        message = refused(path, getattr(pretrained, f"load_{loader}"))
        if name != "tar":
            assert f"asks to run {os.system.__module__}.system" in message
            assert "do not trust this file" in message
        assert not Path("executed").exists(), name


def test_the_attack_would_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with hostile(tmp_path)["zip"].open("rb") as file:
        torch.load(file, weights_only=False)
    assert Path("executed").exists()


def test_doctor_refuses_hostile_files_with_exit_code_2(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for path in hostile(tmp_path).values():
        assert main(["doctor", "--file", str(path)]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith(f"hairclip: error: {path}")
        assert captured.err.count("\n") == 1
    assert not Path("executed").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title>", "is a web page"),
        (b"\n\n  <html lang='en'>\xc3\xa4</html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 7\n", "Git LFS pointer"),
        (b"these are not weights\n" * 300, "is text, not weights"),
        ("gewichte: keine, höchstens Umlaute".encode(), "is text, not weights"),
        (b"\x00\x01\x02\x03" * 100, "cannot be read as a weight file"),
        (b"\x1f\x8b\x08\x00" + b"\x00" * 50, "cannot be read as a weight file"),
        (b"PK\x03\x04" + b"\x00" * 100, "probably cut off"),
    ],
)
def test_what_is_not_weights_is_told(content, words, tmp_path):
    path = tmp_path / "hairclip.pt"
    path.write_bytes(content)
    for loader in ("generator", "latents", "clip"):
        assert words in refused(path, getattr(pretrained, f"load_{loader}"))
    assert words in refused(path, describe_file)


def test_every_format_cut_off_is_one_sentence_and_whole_is_described(tmp_path):
    for name in originals(tmp_path):
        path = tmp_path / name
        first, *networks = describe_file(path)
        assert str(path) in first
        assert networks
        data = path.read_bytes()
        for share in (0.02, 0.5, 0.99):
            path.write_bytes(data[: int(len(data) * share)])
            refused(path, describe_file)


def test_archives_are_told_from_weights(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hairclip.pt", b"0" * 100)
    assert "zip archive without weights" in refused(path, read_torch)
    torch.save(torch.zeros(100_000), tmp_path / "plain.pt")
    with zipfile.ZipFile(tmp_path / "plain.pt") as plain, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in plain.namelist():
            archive.writestr(name, plain.read(name))
    assert "compressed" in refused(path, read_torch)


def test_a_tensor_that_repeats_one_number_endlessly_is_refused(tmp_path):
    path = tmp_path / "bomb.pt"
    for legacy in (True, False):
        torch.save({"a": torch.zeros(1).expand(10**9)}, path, _use_new_zipfile_serialization=not legacy)
        assert "unfolds to 4,000 MB" in refused(path, read_torch)
    torch.save(torch.zeros(1, 1, 1).expand(10**6, 18, 512), path, _use_new_zipfile_serialization=False)
    assert "repeats its storage" in refused(path, map_torch)


@pytest.mark.parametrize(
    "tensor",
    [torch.zeros(2, 2).to_sparse(), torch.empty(3, device="meta"), torch.zeros(3).to(torch.complex64)],
    ids=["sparse", "meta", "complex"],
)
def test_tensors_that_are_not_plain_numbers_are_refused(tensor, tmp_path):
    path = tmp_path / "odd.pt"
    torch.save(OrderedDict({"conv1.conv1.0.weight": tensor}), path)
    refused(path, pretrained.load_parser)
    refused(path, pretrained.load_latents)


def test_a_pickle_that_contains_itself_ends(tmp_path):
    content: dict[str, object] = {"a": torch.zeros(1)}
    content["state_dict"] = content
    torch.save(content, tmp_path / "loop.pt")
    refused(tmp_path / "loop.pt", describe_file)


@pytest.mark.parametrize(
    "config",
    [
        '{"classes": ["a"], "widths": [8], "input_size": 16}',
        f'{{"classes": ["a"], "input_size": 16, "widths": {[4] * 100_000}}}',
        "[" * 50_000,
    ],
    ids=["other shapes", "endless", "deep"],
)
def test_an_own_file_that_lies_about_its_network_is_refused(config, tmp_path):
    torch.manual_seed(0)
    judge = HairstyleClassifier(["bob cut", "afro"], widths=(4, 8), input_size=16)
    path = tmp_path / "judge.safetensors"
    save_file(judge.state_dict(), path, {"hairclip_kind": "judge", "config": config})
    refused(path, pretrained.load_judge)


def test_wrong_shapes_in_an_own_file_are_listed(tmp_path):
    judge = HairstyleClassifier(["bob cut", "afro"], widths=(4, 8), input_size=16)
    state = judge.state_dict()
    first, second, *_ = (key for key in state if key.endswith("weight"))
    state[first] = torch.zeros(2, 2)
    del state[second]
    config = '{"classes": ["bob cut", "afro"], "widths": [4, 8], "input_size": 16}'
    save_file(state, tmp_path / "judge.safetensors", {"hairclip_kind": "judge", "config": config})
    message = refused(tmp_path / "judge.safetensors", pretrained.load_judge)
    assert f"'{first}' is (2, 2), expected" in message
    assert f"lacks '{second}'" in message


def anonymous_megabytes() -> float:
    """What this process holds in memory that is not a mapped file."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) / 1000


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("form", ["zip", "legacy", "own", "half"])
def test_latents_are_mapped_into_memory_not_read(form, tmp_path):
    path = tmp_path / "train_faces.pt"
    codes = (torch.arange(2000 * 18 * 512, dtype=torch.float32) % 60_000).view(2000, 18, 512)  # 74 MB
    if form == "own":
        pretrained.save_latents(path, codes)
    else:
        stored = codes.half() if form == "half" else codes
        torch.save(stored, path, _use_new_zipfile_serialization=form != "legacy")
    expected = (codes.half().float() if form == "half" else codes)[[3, 1999]].clone()
    del codes
    before = anonymous_megabytes()
    found = pretrained.open_latents(path) if form == "half" else pretrained.load_latents(path)
    assert torch.equal(found[[3, 1999]].float(), expected)
    assert anonymous_megabytes() - before < 10


def test_a_mapped_legacy_file_keeps_its_views_and_containers(tmp_path):
    whole = torch.arange(24.0).view(4, 2, 3)
    content = {"w_plus": whole[1:], "other": [whole.half(), whole.transpose(0, 2)]}
    torch.save(content, tmp_path / "l.pt", _use_new_zipfile_serialization=False)
    mapped = map_torch(tmp_path / "l.pt")
    assert torch.equal(mapped["w_plus"], whole[1:])
    assert torch.equal(mapped["other"][1], whole.transpose(0, 2))
    assert pretrained.load_latents(tmp_path / "l.pt").shape == (3, 2, 3)


@pytest.mark.parametrize(
    "model", [CLIP, pytest.param(VIT_B_32, marks=pytest.mark.slow)], ids=["small", "ViT-B/32 of 354 MB"]
)
def test_openais_archive_is_read_without_its_code(model, tmp_path):
    expected = save_torchscript(model, tmp_path / "sound.pt")
    with zipfile.ZipFile(tmp_path / "sound.pt") as sound:
        # torch compresses the code, so that all records together are larger than the file
        assert any(entry.compress_type == zipfile.ZIP_DEFLATED for entry in sound.infolist())
        assert sum(entry.file_size for entry in sound.infolist()) > (tmp_path / "sound.pt").stat().st_size
    clip = pretrained.load_clip(tmp_path / "sound.pt")
    assert all(torch.equal(clip.state_dict()[key], value.float()) for key, value in expected.items())
    assert "TorchScript archive" in describe_file(tmp_path / "sound.pt")[0]


def test_the_code_of_an_archive_is_never_looked_at(tmp_path):
    expected = save_torchscript(CLIP, tmp_path / "sound.pt")
    with zipfile.ZipFile(tmp_path / "sound.pt") as sound, zipfile.ZipFile(tmp_path / "s.pt", "w") as changed:
        for name in sound.namelist():
            changed.writestr(name, b"raise SystemExit" if "/code/" in name else sound.read(name))
    again = pretrained.load_clip(tmp_path / "s.pt")
    assert all(torch.equal(again.state_dict()[key], value.float()) for key, value in expected.items())


@pytest.mark.parametrize("record", ["data.pkl", "data/0", "version"])
def test_a_compressed_record_that_is_read_is_refused(record, tmp_path):
    save_torchscript(CLIP, tmp_path / "sound.pt")
    with zipfile.ZipFile(tmp_path / "sound.pt") as sound, zipfile.ZipFile(tmp_path / "s.pt", "w") as changed:
        for name in sound.namelist():
            bomb = name.endswith(f"/{record}")
            content = sound.read(name) + b"0" * 10**7 * bomb
            changed.writestr(name, content, zipfile.ZIP_DEFLATED if bomb else zipfile.ZIP_STORED)
    assert "compressed" in refused(tmp_path / "s.pt", read_torch)


@pytest.mark.parametrize("cases", [100, pytest.param(4000, marks=pytest.mark.slow)])
def test_damaged_files_are_refused_and_nothing_else_happens(cases, tmp_path):
    script = Path(__file__).parents[1] / "helpers" / "fuzz_loaders.py"
    command = [sys.executable, "-W", "error", "-X", "faulthandler", script, str(cases), str(cases), tmp_path]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 0, result.stdout + result.stderr[-3000:]


def test_a_storage_of_another_size_than_announced_is_refused(tmp_path):
    buffer = io.BytesIO()
    torch.save(torch.zeros(4), buffer, _use_new_zipfile_serialization=False)
    data = buffer.getvalue()
    assert data[-24:-16] == (4).to_bytes(8, "little")
    (tmp_path / "l.pt").write_bytes(data[:-24] + (2**40).to_bytes(8, "little") + data[-16:])
    refused(tmp_path / "l.pt", map_torch)
    refused(tmp_path / "l.pt", read_torch)


WRITE_IN_A_PROCESS = """
import sys
from pathlib import Path
import torch
from hairclip.pretrained.weight_files import write_safetensors
tensors = {"b": torch.arange(6.0).view(2, 3), "a": torch.zeros(2, dtype=torch.uint8), "c": torch.ones(5).half()}
write_safetensors(Path(sys.argv[1]), tensors, {f"key {i}": "caf\u00e9" * i for i in range(9)})
"""


def test_two_processes_write_equal_weights_as_equal_bytes(tmp_path: Path):
    paths = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for path in paths:
        subprocess.run([sys.executable, "-c", WRITE_IN_A_PROCESS, str(path)], check=True)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    metadata, tensors = weight_files.read_safetensors(paths[0])
    assert metadata == {f"key {i}": "caf\u00e9" * i for i in range(9)}
    assert torch.equal(tensors["b"], torch.arange(6.0).view(2, 3))
    assert torch.equal(tensors["c"], torch.ones(5).half())
