"""Hair painted by diffusion: the own denoiser, and a tiny pipeline of diffusers."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from hairclip.common.errors import HairclipError
from hairclip.editing.editor import HairEditor
from hairclip.editing.methods.diffusion import Diffusion
from hairclip.editing.methods.inpainting import check_pipeline, prompt_of
from hairclip.editing.methods.region import edit_region, head_region
from hairclip.editing.options import EditOptions
from hairclip.editing.request import EditRequest
from hairclip.pretrained.bundle import load_bundle
from tests.helpers.tiny_networks import SIZE, WIDTH, tiny_networks
from tests.helpers.tiny_painter import tiny_painter


def networks() -> SimpleNamespace:
    made = tiny_networks()
    made.denoiser = tiny_painter(WIDTH, SIZE)
    return made


@pytest.fixture(scope="module")
def editor() -> HairEditor:
    return HairEditor(networks(), groups=(3, 5))


@pytest.fixture(scope="module")
def portraits() -> torch.Tensor:
    return torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 0.6 - 0.3


def painted(editor: HairEditor, portraits: torch.Tensor, *requests: EditRequest, **settings: object) -> torch.Tensor:
    """What the method alone makes of the portraits, nothing blended."""
    options = EditOptions(method="diffusion", **{"method_settings": {"steps": 3, "fine_steps": 2}, **settings})
    images = editor.edit_codes(editor.prepare(list(portraits[: len(requests)])), requests, options).images
    assert images is not None
    return images


def test_pixels_outside_the_region_are_the_photos(editor: HairEditor, portraits: torch.Tensor) -> None:
    requests = [EditRequest("afro", "red"), EditRequest(color="red")]
    made = painted(editor, portraits, *requests)
    labels = editor.prepare(list(portraits)).labels
    region = edit_region(labels, ["afro", None], [True, True], editor.networks.hair_priors).expand_as(made)
    assert torch.equal(made[~region], portraits[~region])
    assert (made[region] != portraits[region]).float().mean() > 0.4
    assert made.abs().max() <= 1


def test_a_request_for_nothing_keeps_the_photo(editor: HairEditor, portraits: torch.Tensor) -> None:
    made = painted(editor, portraits, EditRequest(), EditRequest(color="red"))
    assert torch.equal(made[0], portraits[0])


def test_the_same_seed_gives_the_same_picture_and_another_seed_another(
    editor: HairEditor, portraits: torch.Tensor
) -> None:
    request = EditRequest("afro")
    first = painted(editor, portraits, request, seed=3)
    assert torch.equal(first, painted(editor, portraits, request, seed=3))
    assert not torch.equal(first, painted(editor, portraits, request, seed=4))


def test_texts_and_reference_pictures_and_their_words_each_give_another_picture(
    editor: HairEditor, portraits: torch.Tensor
) -> None:
    picture = portraits[1:]
    requests = [EditRequest(color="red"), EditRequest(color="blond"), EditRequest(color=picture), EditRequest("afro")]
    made = [painted(editor, portraits, request) for request in requests]
    for i, one in enumerate(made):
        assert all(not torch.allclose(one, other, atol=1e-4) for other in made[:i])


def test_a_small_strength_starts_from_the_photo_and_a_large_one_raises_the_guidance(
    editor: HairEditor, portraits: torch.Tensor
) -> None:
    request = EditRequest(color="red")
    coarse = {"steps": 3, "fine_steps": 0}
    near, far = (
        (painted(editor, portraits, request, strength=strength, method_settings=coarse) - portraits[:1]).norm()
        for strength in (0.05, 1.0)
    )
    assert near < 0.5 * far
    exaggerated = painted(editor, portraits, request, strength=2.0, method_settings={**coarse, "guidance": 1.5})
    assert torch.equal(exaggerated, painted(editor, portraits, request, method_settings={**coarse, "guidance": 3.0}))


def test_without_a_denoiser_the_method_names_the_command_that_trains_it() -> None:
    with pytest.raises(HairclipError, match="has no denoiser: make it with python -m hairclip train-denoiser"):
        Diffusion().check(EditRequest("afro"), HairEditor(load_bundle("ffhq")))


# ------------------------------------------------------------------ a pipeline of diffusers


def write_pipeline(folder: Path) -> Path:
    """A Stable Diffusion inpainting pipeline with tiny random networks and a tokenizer of letters."""
    diffusers, transformers = pytest.importorskip("diffusers"), pytest.importorskip("transformers")
    letters = [chr(number) for number in range(ord("a"), ord("z") + 1)] + [","]
    tokens = ["<|startoftext|>", "<|endoftext|>", *letters, *(letter + "</w>" for letter in letters)]
    words = folder / "words"
    words.mkdir(parents=True)
    (words / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    (words / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizer(str(words / "vocab.json"), str(words / "merges.txt"), model_max_length=77)
    torch.manual_seed(0)
    text = transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            vocab_size=len(tokens), hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
            bos_token_id=0, eos_token_id=1,
        )
    )  # fmt: skip
    blocks = {"down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"), "layers_per_block": 1, "norm_num_groups": 4}
    unet = diffusers.UNet2DConditionModel(
        sample_size=8, in_channels=9, out_channels=4, block_out_channels=(4, 8), cross_attention_dim=8,
        attention_head_dim=2, up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), **blocks,
    )  # fmt: skip
    vae = diffusers.AutoencoderKL(
        block_out_channels=(4, 4), norm_num_groups=2, latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    scheduler = diffusers.DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, steps_offset=1)
    diffusers.StableDiffusionInpaintPipeline(
        vae=vae, text_encoder=text, tokenizer=tokenizer, unet=unet, scheduler=scheduler, safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_pipeline(tmp_path_factory.mktemp("pipeline")))


def test_a_pipeline_paints_the_region_and_nothing_else(
    editor: HairEditor, portraits: torch.Tensor, pipeline: str
) -> None:
    settings = {"pipeline": pipeline, "steps": 2, "size": 32}
    requests = [EditRequest("afro"), EditRequest(color="red")]
    made = painted(editor, portraits, *requests, method_settings=settings)
    region = head_region(editor.prepare(list(portraits)).labels, [True, False]).expand_as(made)
    assert torch.equal(made[~region], portraits[~region])
    assert (made[region] != portraits[region]).float().mean() > 0.3
    assert torch.equal(made, painted(editor, portraits, *requests, method_settings=settings))
    assert not torch.equal(made, painted(editor, portraits, *requests, method_settings=settings, seed=1))


def test_the_prompt_is_made_of_the_request() -> None:
    assert prompt_of(EditRequest("bob cut", "red")) == "a photo of a person with red hair, bob cut hairstyle"
    assert prompt_of(EditRequest(color="blond")) == "a photo of a person with blond hair"


def test_a_pipeline_refuses_reference_pictures(editor: HairEditor, portraits: torch.Tensor) -> None:
    with pytest.raises(HairclipError, match="takes texts alone, and the request holds a reference picture"):
        Diffusion(pipeline="any/thing").check(EditRequest(portraits[:1]), editor)


def test_a_folder_without_a_pipeline_is_refused_in_one_sentence(
    editor: HairEditor, portraits: torch.Tensor, tmp_path: Path
) -> None:
    pytest.importorskip("diffusers")
    with pytest.raises(HairclipError, match="is no inpainting pipeline of diffusers that can be loaded"):
        painted(editor, portraits, EditRequest("afro"), method_settings={"pipeline": str(tmp_path)})


def test_without_the_extra_one_sentence_says_what_to_install() -> None:
    find: Callable[[str], object] = {"transformers": object()}.get
    with pytest.raises(HairclipError, match=r"needs diffusers and accelerate, .* pip install 'hairclip\[diffusion\]'"):
        check_pipeline(find)
