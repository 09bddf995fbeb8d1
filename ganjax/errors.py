"""The failures a user can meet, one class per exit code. Imports nothing, so that a wrong option fails fast."""


class GanjaxError(Exception):
    """A failure with a cause the user can act on; `exit_code` is what a command ends with."""

    exit_code = 1


class ConfigError(GanjaxError):
    """Unknown, wrong or conflicting configuration (exit code 2)."""

    exit_code = 2


class DivergedError(GanjaxError):
    """Training produced non-finite values several steps in a row (exit code 3)."""

    exit_code = 3


class DataError(GanjaxError, ValueError):
    """A data set that cannot be read, or does not fit the model or the batch (exit code 5)."""

    exit_code = 5


class CheckpointError(GanjaxError):
    """A checkpoint that cannot be written, read or continued (exit code 6)."""

    exit_code = 6
