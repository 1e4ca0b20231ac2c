"""Fetch files from repositories of the Hugging Face Hub and push folders to them."""

from pathlib import Path
from typing import TypedDict

from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from typing_extensions import Unpack

from hairclip.common.errors import HairclipError
from hairclip.pretrained import transfer
from hairclip.pretrained.download import is_offline

__all__ = ["HUB_ERRORS", "HUB_PREFIX", "HubOptions", "card_header", "fetch_file", "push_folder", "reason_of"]

HUB_PREFIX = "hf-hub:"
"""The start of a name that means a repository of the Hugging Face Hub, such as ``hf-hub:USER/NAME``."""
HUB_ERRORS = (HfHubHTTPError, HFValidationError, OSError, ValueError)
"""What huggingface_hub raises where a repository or a file cannot be fetched."""


class HubOptions(TypedDict, total=False):
    """How a file is fetched from the Hub; see `huggingface_hub.hf_hub_download`."""

    revision: str | None
    cache_dir: str | Path | None
    force_download: bool
    local_files_only: bool
    token: str | bool | None


def fetch_file(repo: str, file: str, **options: Unpack[HubOptions]) -> Path:
    """Return a file of a repository in the Hub's cache; fetch it if it is absent.

    Args:
        repo: ``user/name``.
        file: its name in the repository.
        options: of `HubOptions`. In offline mode only the cache is looked at.

    Raises:
        one of `HUB_ERRORS`: if it cannot be fetched.
    """
    options.setdefault("local_files_only", is_offline())
    return Path(hf_hub_download(repo, file, endpoint=transfer.HUGGING_FACE, **options))


def push_folder(folder: Path, repo: str, *, private: bool | None, token: str | None, message: str) -> str:
    """Upload a folder in one commit and return the commit's address. A repository that is absent is made.

    Raises:
        HairclipError: if the Hub refuses it or cannot be reached.
    """
    try:
        api = HfApi(endpoint=transfer.HUGGING_FACE, token=token)
        name = api.create_repo(repo, private=private, exist_ok=True).repo_id
        return str(api.upload_folder(repo_id=name, folder_path=folder, commit_message=message))
    except HUB_ERRORS as error:
        raise HairclipError(
            f"{repo} cannot be pushed ({reason_of(error)}): check the name and log in with `hf auth login`."
        ) from None


def card_header(license: str) -> str:
    """Return the YAML head of a model card.

    Args:
        license: the Hub's name of a license, such as "mit" or "other".
    """
    return f"""\
---
library_name: hairclip
pipeline_tag: image-to-image
license: {license}
tags: [hair-editing, stylegan2, clip, hairclip]
---
"""


def reason_of(error: BaseException) -> str:
    """Return the first line of what huggingface_hub says, at most 200 letters."""
    return str(error).strip().split("\n")[0].rstrip(".:")[:200] or type(error).__name__
