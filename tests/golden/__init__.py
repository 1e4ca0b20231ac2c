"""What the official networks compute, as numbers: see fill.py.

from tests.golden import agrees, official, tensor
"""

from tests.golden.fill import agrees, golden, official, relative_error, tensor

__all__ = ["agrees", "golden", "official", "relative_error", "tensor"]
