"""The values that settings of an edit can take. They stand apart, because they are read without loading PyTorch."""

from typing import Literal, TypeAlias

__all__ = ["Behind", "InversionMethod", "Precision", "Seam", "Strands"]

Seam: TypeAlias = Literal["feather", "laplacian", "poisson"]
"""How the edit is joined to the photo."""
Behind: TypeAlias = Literal["photo", "edit"]
"""What is seen where hair was: the photo, continued under it, or the generator's picture."""
Strands: TypeAlias = Literal["photo", "edit"]
"""Whose hair takes a new color where the hairstyle stays."""
InversionMethod: TypeAlias = Literal["encoder", "optimize", "pivotal"]
"""How the codes of a picture are found."""
Precision: TypeAlias = Literal["float32", "bfloat16", "float16"]
"""The type of number in which networks multiply."""
