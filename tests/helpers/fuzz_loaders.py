"""Damage weight files, and the small files beside them, at random and load them.

    python fuzz_loaders.py CASES SEED FOLDER

Each case is a truncation, flipped bits, overwritten bytes, noise behind a true beginning, or JSON with other values. It
must end in a network or in a `HairclipError` of one line of at most 400 letters without the path. Anything else is
printed and ends the process with code 1. Memory is limited to what the libraries need and 2 GB more. Starting a program
or a connection counts as a failure.
"""

import argparse
import io
import json
import os
import random
import resource
import sys
import traceback
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from safetensors.torch import save_file

from hairclip import pretrained
from hairclip.common.errors import HairclipError
from hairclip.networks.clip import Clip
from hairclip.networks.e4e import E4EEncoder
from hairclip.networks.face_parser import UNetParser
from hairclip.networks.ir_se import IRSE
from hairclip.networks.mapper import HairMapper
from hairclip.networks.stylegan2 import Generator
from hairclip.pretrained import foreign
from hairclip.pretrained.download import obtain, weight_path
from hairclip.pretrained.inspect import describe_file
from hairclip.pretrained.registry import Url, Weight
from hairclip.training.latents import load_latent_set

FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect", "shutil.rmtree")
CLIP = {
    "embed_dim": 8,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 64, "patch_size": 8},
    "text_cfg": {"context_length": 8, "vocab_size": 32, "width": 64, "heads": 1, "layers": 1},
}


def originals(folder: Path) -> dict[str, list[str]]:
    """Write one small file of each format and return its name -> the kinds of network that it is loaded as."""
    torch.manual_seed(0)
    generator = Generator(64, w_dim=6, z_dim=6, mapping_layers=1, channels=dict.fromkeys((4, 8, 16, 32, 64), 2))
    mapper = HairMapper(10, w_dim=6, condition_dim=8)
    clip = Clip(CLIP)
    rosinality = foreign.generator_to_rosinality(generator.state_dict())
    hairclip = {f"mapper.clip_model.{key}": value.half() for key, value in clip.state_dict().items()}
    hairclip |= {f"mapper.{k}": v for k, v in foreign.mapper_to_hairclip(mapper.state_dict()).items()}
    hairclip |= {f"decoder.{key}": value for key, value in rosinality.items()}
    encoder = E4EEncoder(n_latent=6, w_dim=6, input_size=32, units=(1, 1, 1, 1), widths=(4, 6, 8, 10), fpn_width=8)
    backbone = IRSE(units=(1, 1), widths=(4, 8), input_size=16, embedding=8, dropout=0.0)
    codes = torch.randn(9, 6, 6)
    contents: dict[str, tuple[object, list[str]]] = {
        "stylegan2.pt": ({"g_ema": rosinality, "latent_avg": torch.zeros(6)}, ["generator"]),
        "hairclip.pt": ({"state_dict": hairclip, "opts": {"batch_size": 1, "device": "cuda"}}, ["hairclip", "clip"]),
        "e4e.pt": (
            {
                "state_dict": {f"encoder.{k}": v for k, v in encoder.state_dict().items()},
                "latent_avg": torch.ones(6, 6),
            },
            ["encoder"],
        ),
        "parsenet.pth": (official_unet(UNetParser(filters=(4, 6, 8), input_size=16)), ["parser"]),
        "ir_se.pth": (backbone.state_dict(), ["identity"]),
        "train_faces.pt": (codes, ["latents"]),
        "trainer.pt": ({"g_ema": rosinality, "args": argparse.Namespace(size=64, rate=np.float64(1))}, ["generator"]),
        "codes.pt": ({"a.jpg": codes[:1].numpy(), "b.jpg": codes[1:].numpy()}, ["latents"]),
    }
    kinds: dict[str, list[str]] = {}
    for name, (content, loaders) in contents.items():
        torch.save(content, folder / name)
        torch.save(content, folder / f"legacy_{name}", _use_new_zipfile_serialization=False)
        kinds |= {name: loaders, f"legacy_{name}": loaders}
    np.save(folder / "codes.npy", codes.numpy())
    np.savez(folder / "codes.npz", a=codes.numpy())
    kinds |= {"codes.npy": ["latents"], "codes.npz": ["latents"]}
    kinds["nvidia.pkl"] = ["generator"]
    (folder / "nvidia.pkl").write_bytes((Path(__file__).parents[1] / "golden" / "nvidia_32.pkl").read_bytes())
    kinds["script.pt"] = ["clip"]
    save_torchscript(CLIP, folder / "script.pt")
    pretrained.save_network(folder / "mapper.safetensors", "mapper", mapper)
    pretrained.save_network(folder / "clip.safetensors", "clip", clip)
    pretrained.save_latents(folder / "latents.safetensors", codes, {"color": ["red"] * 9}, half=True)
    return kinds | {"mapper.safetensors": ["mapper"], "clip.safetensors": ["clip"], "latents.safetensors": ["latents"]}


def official_unet(parser: UNetParser) -> dict[str, torch.Tensor]:
    """Return the tensors of a small U-Net under the names of parsenet.pth."""
    (form,) = (form for form in foreign.FORMATS if form.class_name == "UNetParser")
    return {form.theirs(key, parser.config): value for key, value in parser.state_dict().items()}


def save_torchscript(model: dict[str, Any], path: Path) -> dict[str, torch.Tensor]:
    """Write a CLIP as OpenAI does: a traced TorchScript archive in mixed precision, three sizes among the tensors.

    Args:
        model: open_clip's config of the model.
        path: the file to write.

    Returns:
        The tensors of the model, without the sizes.
    """
    torch.manual_seed(0)
    clip = open_clip.CLIP(model["embed_dim"], model["vision_cfg"], model["text_cfg"], quick_gelu=True).eval()
    open_clip.model.convert_weights_to_fp16(clip)
    state = clip.state_dict()
    size, length = model["vision_cfg"]["image_size"], model["text_cfg"]["context_length"]
    for name, value in {"input_resolution": size, "context_length": length, "vocab_size": 49408}.items():
        vars(clip).pop(name, None)
        clip.register_buffer(name, torch.tensor(value))
    examples = torch.zeros(1, 3, size, size).half(), torch.zeros(1, length, dtype=torch.long)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        torch.jit.trace(clip, examples, check_trace=False, strict=False).save(str(path))
    return state


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Return the bytes of a file, truncated, flipped, overwritten or replaced."""
    kind = chance.choice(("truncate", "flip", "flip", "flip", "overwrite", "noise", "repeat"))
    if kind == "truncate":
        return data[: chance.randrange(len(data))]
    if kind == "noise":
        return data[: chance.randrange(1, 40)] + chance.randbytes(chance.randrange(4000))
    changed = bytearray(data)
    if kind == "repeat":
        start, length = chance.randrange(len(data)), chance.randrange(1, 200)
        return bytes(changed[:start] + changed[start : start + length] * chance.randrange(2, 5) + changed[start:])
    ends = min(len(data), 3000)  # names and sizes lie near both ends
    for _ in range(chance.choice((1, 2, 8, 50))):
        place = chance.choice(
            (chance.randrange(ends), len(data) - 1 - chance.randrange(ends), chance.randrange(len(data)))
        )
        if kind == "flip":
            changed[place] ^= 1 << chance.randrange(8)
        else:
            block = chance.choice((b"\xff" * 8, b"\0" * 4, chance.randbytes(6), b"\x80\x02c", b"posix\nsystem\n"))
            changed[place : place + len(block)] = block
    return bytes(changed)


def altered(data: bytes, chance: random.Random) -> bytes:
    """Return JSON in which one value has become another, or a few are gone."""
    others = (None, True, 3, -1, 10**400, 1e300, "x", "", [], [1], {}, {"a": [{}]}, ["a"] * 50, "[" * 2000)
    content = json.loads(data)
    place, key = content, None
    while isinstance(place, (dict, list)) and place and (key is None or chance.random() < 0.6):
        holder, key = place, chance.choice(list(place) if isinstance(place, dict) else range(len(place)))
        place = holder[key]
    if key is None or chance.random() < 0.1:
        return json.dumps(chance.choice(others)).encode()
    if chance.random() < 0.2:
        del holder[key]
    else:
        holder[key] = chance.choice(others)
    return json.dumps(content).encode()


def side_files(folder: Path) -> dict[Path, Callable[[], object]]:
    """Write the small files that lie beside weights and return each with what reads it."""
    os.environ["HAIRCLIP_HOME"] = str(folder)
    weight = Weight("thing", "thing.pt", "", (), "", (Url("https://example.org/thing.pt"),))
    fetched = weight_path(weight)
    fetched.parent.mkdir(parents=True)
    fetched.write_bytes(b"weights")
    with redirect_stderr(io.StringIO()):
        obtain(weight)

    clip = folder / "hub" / "open_clip_model.safetensors"
    clip.parent.mkdir()
    pretrained.save_network(clip, "clip", Clip(CLIP))
    described = {"model_cfg": CLIP, "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}}
    clip.with_name("open_clip_config.json").write_text(json.dumps(described))

    mapper = folder / "mapper"
    pretrained.HairMapper(10, w_dim=6, condition_dim=8).save_pretrained(mapper)

    metadata = folder / "metadata.json"  # what the header of a codes file says
    codes = folder / "codes.safetensors"
    metadata.write_text(json.dumps({"labels": {"color": ["red"] * 9}, "config": {}, "hairclip_kind": "latents"}))

    def find_weight() -> object:
        with redirect_stderr(io.StringIO()):  # where a new record is told
            return obtain(weight)

    def load_codes() -> object:
        content = json.loads(metadata.read_bytes())
        said = content.items() if isinstance(content, dict) else ()
        texts = {str(key): value if isinstance(value, str) else json.dumps(value) for key, value in said}
        save_file({"w_plus": torch.zeros(9, 6, 6)}, codes, texts)
        return pretrained.load_latents(codes), load_latent_set(codes)

    return {
        fetched.with_name("thing.pt.json"): find_weight,
        clip.with_name("open_clip_config.json"): lambda: pretrained.load_clip(clip),
        mapper / "config.json": lambda: pretrained.HairMapper.from_pretrained(mapper),
        metadata: load_codes,
    }


def main(cases: int, seed: int, folder: Path) -> int:
    kinds = originals(folder)
    loaders: dict[str, Callable[[Path], object]] = {
        kind: getattr(pretrained, f"load_{kind}")
        for kind in ("generator", "clip", "parser", "identity", "encoder", "mapper", "hairclip", "latents")
    }
    sides = side_files(folder)
    whole = {path: path.read_bytes() for path in sides}
    data = {name: (folder / name).read_bytes() for name in kinds}
    started: list[str] = []
    sys.addaudithook(lambda event, _: started.append(event) if event.startswith(FORBIDDEN) else None)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, wanted in kinds.items():
        for kind in wanted:
            loaders[kind](folder / name)  # undamaged, each of them loads
        describe_file(folder / name)
    for load_beside in sides.values():
        load_beside()
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[0])
    limit = pages * resource.getpagesize() + 2**31
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    chance, loaded, refused = random.Random(seed), 0, 0
    for case in range(cases):
        loads: list[Callable[[], object]]
        if case % 4 == 3:
            path = chance.choice(list(sides))
            change = altered if chance.random() < 0.7 or path.name == "metadata.json" else damaged
            path.write_bytes(change(whole[path], chance))
            loads = [sides[path]]
        else:
            name = chance.choice(list(kinds))
            path = folder / f"case_{name}"
            path.write_bytes(damaged(data[name], chance))
            loads = [partial(load, path) for load in (*(loaders[kind] for kind in kinds[name]), describe_file)]
        for load in loads:
            try:
                load()
                loaded += 1
            except HairclipError as error:
                refused += 1
                told = str(error)
                if "\n" in told or len(told.replace(str(folder), "")) > 400 or not told.endswith((".", ")")):
                    print(f"case {case}, {path.name}: {error}")
                    return 1
            except BaseException:
                traceback.print_exc()
                print(f"case {case}, {path.name}, {load}")
                (folder / "failed").write_bytes(path.read_bytes())
                return 1
        if path in sides:
            path.write_bytes(whole[path])
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used) / 1000
    print(f"{cases} cases: {loaded} loaded, {refused} refused, memory grew by {grown:.0f} MB, started {started}")
    return int(bool(started) or grown > 500)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])))
