"""The kinds of error that elman raises on purpose.

Every message names the thing that is wrong (file, row, key, argument or shape), what was expected, what came
and what to do. The command line prints the message alone and leaves with exit status 2; anything that is not
an ElmanError is a defect of elman and keeps its traceback.
"""


class ElmanError(Exception):
    """Something the user can mend; the message says what and how."""


class ConfigError(ElmanError):
    """A setting, option or environment variable with an unknown name or a value out of range."""


class DataError(ElmanError):
    """A file or text given by the user that is missing, damaged or of the wrong kind."""


class RunError(ElmanError):
    """A run folder that is missing, damaged, foreign, in use or cannot be written."""


class ShapeError(ElmanError, ValueError):
    """An array argument of the wrong shape, type, device or range."""


class KernelError(ElmanError):
    """A way of computing that was asked for and is not to be had here."""


class DivergedError(ElmanError):
    """A loss or gradient that is no longer finite; the update that would have used it was not made."""
