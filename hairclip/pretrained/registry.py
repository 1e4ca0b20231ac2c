"""List the weights of other projects that hairclip can fetch: name, file, sources, size, sha256 and license.

`hairclip.pretrained.download` fetches them. Every loader and configuration takes their names. Where the sha256 is None,
the first fetch records it.

Behind a mirror, the environment variable HAIRCLIP_REGISTRY names a YAML file with other addresses:

```yaml
parsenet: {url: "https://mirror.example/parsenet.pth"}  # the same file: the size and sha256 of the list stay
celeba-hq-test: {url: ["https://a.example/t.pt", "https://b.example/t.pt"], size: 104140800, sha256: "9f86d0..."}
```
"""

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

from hairclip.common.errors import HairclipError
from hairclip.common.names import nearest
from hairclip.common.yaml import read_yaml

REGISTRY = "HAIRCLIP_REGISTRY"
"""The environment variable that names a YAML file with other sources."""


@dataclass(frozen=True)
class HuggingFace:
    """A file in a model repository of the Hugging Face Hub."""

    repo: str
    file: str

    def __str__(self) -> str:
        return f"Hugging Face {self.repo}"

    @property
    def page(self) -> str:
        """Where a person can fetch it by hand."""
        return f"https://huggingface.co/{self.repo}/resolve/main/{self.file}"


@dataclass(frozen=True)
class Url:
    """A plain address, such as a file of a GitHub release."""

    page: str

    def __str__(self) -> str:
        return self.page


@dataclass(frozen=True)
class Drive:
    """A public file of Google Drive."""

    id: str

    def __str__(self) -> str:
        return f"Google Drive {self.id}"

    @property
    def page(self) -> str:
        """Where a person can fetch it by hand."""
        return f"https://drive.google.com/file/d/{self.id}/view"


Origin: TypeAlias = HuggingFace | Url | Drive


@dataclass(frozen=True)
class Weight:
    """One file that can be fetched.

    Attributes:
        name: what loaders, configurations and the command line call it.
        file: its name in the cache.
        about: what it is, in a few words.
        loads: the functions of `hairclip.pretrained` that read it.
        license: license of these weights. It is independent of the license of hairclip's code.
        sources: the places that offer the file, in the order in which they are tried.
        size: bytes, None where unknown.
        sha256: hexadecimal, None where unknown.
    """

    name: str
    file: str
    about: str
    loads: tuple[str, ...]
    license: str
    sources: tuple[Origin, ...]
    size: int | None = None
    sha256: str | None = None


_NVIDIA = "NVIDIA Source Code License-NC (non-commercial)"
_FACEXLIB = "https://github.com/xinntao/facexlib/releases/download"
_HAIRFAST = "AIRI-Institute/HairFastGAN"

_TABLE = (
    Weight(
        name="hairclip",
        file="hairclip.pt",
        about="HairCLIP's mapper with its generator and CLIP",
        loads=("load_hairclip", "load_mapper", "load_generator", "load_clip"),
        license=f"LGPL-2.1; the StyleGAN2 inside: {_NVIDIA}; the CLIP inside: MIT",
        sources=(HuggingFace("public-data/HairCLIP", "hairclip.pt"), Drive("1hqZT6ZMldhX3M_x378Sm4Z2HMYr-UwQ4")),
        size=565_306_802,
        sha256="434a439b71cf41b4aa454bb96aa6572d181c60844e6efadfcddf0cc1e09fdf48",
    ),
    Weight(
        name="stylegan2-ffhq",
        file="stylegan2-ffhq-config-f.pt",
        about="StyleGAN2 config-f, FFHQ, 1024 px, in rosinality's names",
        loads=("load_generator",),
        license=_NVIDIA,
        sources=(
            HuggingFace("akhaliq/jojogan-stylegan2-ffhq-config-f", "stylegan2-ffhq-config-f.pt"),
            Drive("1pts5tkfAcWrg4TpLDu6ILF5wHID32Nzm"),
            Drive("1EM87UquaoQmk17Q8d5kYIAHqu0dkYqdT"),
        ),
        size=381_462_551,
        sha256="bae494ef77e32a9cd1792a81a3c167692a0e64f6bcd8b06592ff42917e2ed46e",
    ),
    Weight(
        name="stylegan2-ffhq-nvidia",
        file="ffhq.pkl",
        about="StyleGAN2, FFHQ, 1024 px, NVIDIA's own pickle",
        loads=("load_generator",),
        license="NVIDIA Source Code License (non-commercial)",
        sources=(Url("https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/ffhq.pkl"),),
        size=381_624_121,
        sha256="a205a346e86a9ddaae702e118097d014b7b8bd719491396a162cca438f2f524c",
    ),
    Weight(
        name="clip-vit-b-32",
        file="ViT-B-32.safetensors",
        about="OpenAI's CLIP ViT-B/32",
        loads=("load_clip",),
        license="MIT",
        sources=(HuggingFace("timm/vit_base_patch32_clip_224.openai", "open_clip_model.safetensors"),),
        size=605_143_284,
        sha256="e6d1bd7789aa45192b3bf90570a789b478bae1b74ebcce7eddd908e83a2b7c31",
    ),
    Weight(
        name="parsenet",
        file="parsenet.pth",
        about="HairCLIP's face parser, a U-Net of CelebAMask-HQ",
        loads=("load_parser",),
        license="CelebAMask-HQ: non-commercial research",
        sources=(
            Url("https://github.com/wty-ustc/HairCLIP/raw/HEAD/pretrained_models/parsenet.pth"),
            Drive("1o1m-eT38zNCIFldcRaoWcLvvBtY8S4W3"),
        ),
        size=7_813_380,
        sha256="7914f1dccb37ab2f307703f2593efd74cc327d9db974424dff8d7510b46d85b5",
    ),
    Weight(
        name="bisenet",
        file="79999_iter.pth",
        about="face parser BiSeNet",
        loads=("load_parser",),
        license="MIT; its data CelebAMask-HQ: non-commercial research",
        sources=(
            HuggingFace("ManyOtherFunctions/face-parse-bisent", "79999_iter.pth"),
            HuggingFace(_HAIRFAST, "pretrained_models/BiSeNet/face_parsing_79999_iter.pth"),
            Url(f"{_FACEXLIB}/v0.2.0/parsing_bisenet.pth"),
            Drive("154JgKpzCPW82qINcVieuPH3fZ2e0P812"),
        ),
        size=53_289_463,
        sha256="468e13ca13a9b43cc0881a9f99083a430e9c0a38abd935431d1c28ee94b26567",
    ),
    Weight(
        name="bisenet-yakhyo",
        file="resnet18.pt",
        about="face parser BiSeNet, as trained by yakhyo/face-parsing",
        loads=("load_parser",),
        license="MIT; its data CelebAMask-HQ: non-commercial research",
        sources=(Url("https://github.com/yakhyo/face-parsing/releases/download/weights/resnet18.pt"),),
    ),
    Weight(
        name="ir-se50",
        file="model_ir_se50.pth",
        about="face recognition IR-SE50 (ArcFace)",
        loads=("load_identity",),
        license="MIT; its data MS1M: research only",
        sources=(
            HuggingFace(_HAIRFAST, "pretrained_models/ArcFace/ir_se50.pth"),
            Url(f"{_FACEXLIB}/v0.1.0/recognition_arcface_ir_se50.pth"),
            Drive("1FS2V756j-4kWduGxfir55cMni5mZvBTv"),
            Drive("1KW7bjndL3QG3sxBbZxreGHigcCCpsDgn"),
        ),
        size=175_367_323,
        sha256="a035c768259b98ab1ce0e646312f48b9e1e218197a0f80ac6765e88f8b6ddf28",
    ),
    Weight(
        name="facenet-vggface2",
        file="20180402-114759-vggface2.pt",
        about="face recognition InceptionResnetV1 (FaceNet), which judges edits",
        loads=("load_identity",),
        license="MIT; its data VGGFace2: research only",
        sources=(
            Url("https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9/20180402-114759-vggface2.pt"),
        ),
    ),
    Weight(
        name="e4e-ffhq",
        file="e4e_ffhq_encode.pt",
        about="e4e, the encoder of faces to W+, with a generator",
        loads=("load_encoder", "load_generator"),
        license=f"MIT; the StyleGAN2 inside: {_NVIDIA}",
        sources=(
            HuggingFace("public-data/e4e", "e4e_ffhq_encode.pt"),
            HuggingFace(_HAIRFAST, "pretrained_models/encoder4editing/e4e_ffhq_encode.pt"),
            Drive("1cUv_reLE6k3604or78EranS7XzuVMWeO"),
        ),
        size=1_201_649_680,
        sha256="2ace1d9a8c05c10a399bcd500b8dda118f759ff1aac89dbdab7435f2136a0999",
    ),
    Weight(
        name="celeba-hq-train",
        file="train_faces.pt",
        about="W+ codes of 24,176 CelebA-HQ faces, to train on",
        loads=("load_latents",),
        license="derived from CelebA-HQ: non-commercial research",
        sources=(Drive("1gof8kYc_gDLUT4wQlmUdAtPnQIlCO26q"),),
    ),
    Weight(
        name="celeba-hq-test",
        file="test_faces.pt",
        about="W+ codes of 2,824 CelebA-HQ faces, held out",
        loads=("load_latents",),
        license="derived from CelebA-HQ: non-commercial research",
        sources=(Drive("1j7RIfmrCoisxx3t-r-KC02Qc8barBecr"),),
    ),
    Weight(
        name="styleclip-afro",
        file="styleclip_afro.pt",
        about="StyleCLIP's latent mapper for an afro, with a generator",
        loads=("load_style_mappers", "load_generator"),
        license=f"MIT; the StyleGAN2 inside: {_NVIDIA}",
        sources=(Drive("1i5vAqo4z0I-Yon3FNft_YZOq7ClWayQJ"),),
    ),
    Weight(
        name="styleclip-bob-cut",
        file="styleclip_bobcut.pt",
        about="StyleCLIP's latent mapper for a bob cut, with a generator",
        loads=("load_style_mappers", "load_generator"),
        license=f"MIT; the StyleGAN2 inside: {_NVIDIA}",
        sources=(Drive("1IvyqjZzKS-vNdq_OhwapAcwrxgLAY8UF"),),
    ),
    Weight(
        name="styleclip-bowl-cut",
        file="styleclip_bowlcut.pt",
        about="StyleCLIP's latent mapper for a bowl cut, with a generator",
        loads=("load_style_mappers", "load_generator"),
        license=f"MIT; the StyleGAN2 inside: {_NVIDIA}",
        sources=(Drive("1xwdxI2YCewSt05dEHgkpmmzoauPjEnnZ"),),
    ),
    Weight(
        name="styleclip-curly-hair",
        file="styleclip_curly_hair.pt",
        about="StyleCLIP's latent mapper for curly hair, with a generator",
        loads=("load_style_mappers", "load_generator"),
        license=f"MIT; the StyleGAN2 inside: {_NVIDIA}",
        sources=(Drive("1xZ7fFB12Ci6rUbUfaHPpo44xUFzpWQ6M"),),
    ),
    Weight(
        name="styleclip-mohawk",
        file="styleclip_mohawk.pt",
        about="StyleCLIP's latent mapper for a mohawk, with a generator",
        loads=("load_style_mappers", "load_generator"),
        license=f"MIT; the StyleGAN2 inside: {_NVIDIA}",
        sources=(Drive("1oMMPc8iQZ7dhyWavZ7VNWLwzf9aX4C09"),),
    ),
    Weight(
        name="styleclip-purple-hair",
        file="styleclip_purple_hair.pt",
        about="StyleCLIP's latent mapper for purple hair, with a generator",
        loads=("load_style_mappers", "load_generator"),
        license=f"MIT; the StyleGAN2 inside: {_NVIDIA}",
        sources=(Drive("14H0CGXWxePrrKIYmZnDD2Ccs65EEww75"),),
    ),
    Weight(
        name="styleclip-fs3",
        file="styleclip_fs3.npy",
        about="StyleCLIP's global directions of FFHQ's generator",
        loads=("load_directions",),
        license="MIT",
        sources=(
            Url("https://github.com/orpatashnik/StyleCLIP/raw/main/global_directions/npy/ffhq/fs3.npy"),
            Url("https://github.com/orpatashnik/StyleCLIP/raw/main/global_torch/npy/ffhq/fs3.npy"),
        ),
    ),
)

_SHIPPED: dict[str, Weight] = {weight.name: weight for weight in _TABLE}


class _Weights(Mapping[str, Weight]):
    """The weights by name, with the sources of the YAML file that the environment names at the time of asking."""

    def __getitem__(self, name: str) -> Weight:
        return _listed()[name]

    def __contains__(self, name: object) -> bool:
        return name in _SHIPPED  # the YAML adds no names, so a mistake in it cannot spoil this answer

    def __iter__(self) -> Iterator[str]:
        return iter(_SHIPPED)

    def __len__(self) -> int:
        return len(_SHIPPED)


WEIGHTS: Mapping[str, Weight] = _Weights()

SAME_NETWORK: dict[tuple[str, str], str] = {
    ("generator", "hairclip"): "stylegan2-ffhq",
    ("generator", "e4e-ffhq"): "stylegan2-ffhq",
    ("generator", "stylegan2-ffhq-nvidia"): "stylegan2-ffhq",
    ("clip", "hairclip"): "clip-vit-b-32",
    ("clip", "ViT-B-32-quickgelu/openai"): "clip-vit-b-32",
    ("clip", "ViT-B-32/openai"): "clip-vit-b-32",
}
"""Part and name -> the name under which the same network is published, but for rounding."""


def find(name: str) -> Weight:
    """Return the weights with this name or with this file name.

    Raises:
        HairclipError: if there are none.
    """
    if name in WEIGHTS:
        return WEIGHTS[name]
    for weight in WEIGHTS.values():
        if weight.file == name:
            return weight
    near = difflib.get_close_matches(name, WEIGHTS, n=1, cutoff=0.5)
    guess = f" (did you mean {near[0]}?)" if near else ""
    raise HairclipError(f"there are no weights named {name}{guess}: give one of {', '.join(WEIGHTS)}.")


def replaced_sha256(name: str) -> str | None:
    """Return the SHA-256 that HAIRCLIP_REGISTRY gives for weights in place of the listed one; None where it does not.

    Such a file goes by the same name but may hold other numbers.
    """
    given = WEIGHTS[name].sha256 if name in WEIGHTS else None
    return None if given is None or given == _SHIPPED[name].sha256 else given


def megabytes(size: int | None) -> str:
    """Return a size in bytes as text in MB."""
    return "size unknown" if size is None else f"{size / 1e6:,.1f} MB"


def total_size(weights: Iterable[Weight]) -> str:
    """Return the size of several files as text in MB; a file that occurs twice counts once."""
    sizes = [weight.size for weight in dict.fromkeys(weights)]
    known = megabytes(sum(size for size in sizes if size is not None))
    return f"at least {known}" if None in sizes else known


def table() -> str:
    """Return a Markdown table of all weights."""
    rows = ["| name | what | size | license of the weights |", "|---|---|---|---|"]
    rows += [f"| `{w.name}` | {w.about} (`{w.file}`) | {megabytes(w.size)} | {w.license} |" for w in WEIGHTS.values()]
    return "\n".join(rows)


# ------------------------------------------------------------------------------------------ other sources


def _listed() -> Mapping[str, Weight]:
    """Return the shipped weights, with the sources of the YAML file that the environment names."""
    named = os.environ.get(REGISTRY, "")
    if not named:
        return _SHIPPED
    path = Path(named).expanduser()
    if not path.is_file():
        raise HairclipError(f"{REGISTRY} names {path}, but there is no such file: correct or unset the variable.")
    status = path.stat()
    return _replaced(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=8)
def _replaced(path: Path, mtime_ns: int, size: int) -> dict[str, Weight]:
    """Return all weights with a YAML's sources. A new modification time or size makes it read the file again."""
    found = dict(_SHIPPED)
    for name, given in read_yaml(path).items():
        if name not in found:
            raise HairclipError(f"{path}: there are no weights named {name}{nearest(str(name), list(found))}.")
        found[name] = _with_source(found[name], given, f"{path}: {name}")
    return found


def _with_source(weight: Weight, given: Any, place: str) -> Weight:
    keys = ("url", "size", "sha256")
    if not isinstance(given, Mapping) or not set(given) <= set(keys):
        raise HairclipError(f"{place}: give a mapping with the keys {', '.join(keys)}.")
    urls = given.get("url")
    urls = [urls] if isinstance(urls, str) else urls
    if not isinstance(urls, list) or not urls or not all(re.match("https?://", str(url)) for url in urls):
        raise HairclipError(f"{place}: url: give an address that begins with https:// or http://, or a list of them.")
    weight = replace(weight, sources=tuple(Url(str(url)) for url in urls))
    if not {"size", "sha256"} & set(given):
        return weight
    size, sha256 = given.get("size"), given.get("sha256")
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size <= 0):
        raise HairclipError(f"{place}: size: give a number of bytes, but it is {size!r}.")
    if not re.fullmatch("[0-9a-f]{64}", str(sha256)):
        raise HairclipError(f"{place}: sha256: give 64 hexadecimal digits in lower case, but it is {sha256!r}.")
    return replace(weight, size=size, sha256=str(sha256))
