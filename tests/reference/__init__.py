"""What the official networks compute, as numbers: see fill.py.

from reference import agrees, official, tensor
"""

from reference.fill import agrees, golden, official, relative_error, tensor

__all__ = ["agrees", "golden", "official", "relative_error", "tensor"]
