"""The one exception for mistakes a user can make."""


class HairclipError(Exception):
    """A user's mistake, told in one sentence: what is wrong, where, and what to do.

    The command line prints the message after ``hairclip: error:`` and exits with code 2. Mistakes of a programmer
    (wrong types, impossible shapes) stay ordinary Python exceptions with a traceback.
    """


def within(option: str, value: int, least: int) -> None:
    """Refuse a number of the command line below `least`, or too large for a seed."""
    if not least <= value < 2**63:
        raise HairclipError(f"{option} {value}: give {f'{least} or more' if value < least else 'a smaller number'}.")
