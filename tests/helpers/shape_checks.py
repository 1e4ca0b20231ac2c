"""The type checker behind the import hook of conftest.py: as type checkers do, it takes an int for a float."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
