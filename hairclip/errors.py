"""The one exception for mistakes a user can make."""


class HairclipError(Exception):
    """A user's mistake, told in one sentence: what is wrong, where, and what to do.

    The command line prints the message after ``hairclip: error:`` and exits with code 2. Mistakes of a programmer
    (wrong types, impossible shapes) stay ordinary Python exceptions with a traceback.
    """
