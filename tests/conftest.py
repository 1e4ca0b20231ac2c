"""Shapes are enforced while tests run: jaxtyping annotations of every hairclip module are checked by beartype."""

import os

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("NUMBA_CACHE_DIR", os.path.join(os.path.expanduser("~"), ".cache", "hairclip", "numba"))

import torch
from jaxtyping import install_import_hook

from tests.helpers import shape_checks

install_import_hook("hairclip", f"{shape_checks.__name__}.check")
if "OMP_NUM_THREADS" not in os.environ:
    torch.set_num_threads(min(2, os.cpu_count() or 1))
