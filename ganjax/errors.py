"""The failures a user can meet, one class per exit code, and what their sentences share. Free of JAX."""

import difflib
from collections.abc import Iterable


def printable(text: str) -> str:
    r"""The text with everything invisible spelled out, line breaks, text direction and halves of characters included.

    >>> printable("a\x1b[31m\nb")
    'a\\x1b[31m\\nb'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class GanjaxError(Exception):
    """A failure with a cause the user can act on; `exit_code` is what a command ends with.

    Its sentence is one line, whatever is in the name of a file.
    """

    exit_code = 1

    def __str__(self) -> str:
        return printable(super().__str__())


class ConfigError(GanjaxError):
    """Unknown, wrong or conflicting configuration (exit code 2)."""

    exit_code = 2


class DivergedError(GanjaxError):
    """Training produced non-finite values several steps in a row (exit code 3)."""

    exit_code = 3


class OutOfMemoryError(GanjaxError):
    """The device or the host has no memory for a step (exit code 4)."""

    exit_code = 4


class DataError(GanjaxError, ValueError):
    """A data set that cannot be read, or does not fit the model or the batch (exit code 5)."""

    exit_code = 5


class CheckpointError(GanjaxError):
    """A checkpoint that cannot be written, read or continued (exit code 6)."""

    exit_code = 6


class PeerError(GanjaxError):
    """Another process of the same run has ended or cannot be reached (exit code 1)."""


class InUseError(GanjaxError):
    """Another process writes the run directory (exit code 7)."""

    exit_code = 7


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The nearest known name as a clause, or nothing where none is near.

    >>> did_you_mean("fashon_mnist", ["digits", "fashion_mnist"])
    ': did you mean "fashion_mnist"?'
    >>> did_you_mean("fjord", ["digits", "fashion_mnist"])
    ''
    """
    near = difflib.get_close_matches(name, list(known), n=1)
    return f': did you mean "{near[0]}"?' if near else ""


def reason(error: Exception) -> str:
    """What another library's error says, on one line of at most 200 characters, the middle left out if need be.

    >>> reason(ValueError("bad\\n  magic"))
    'bad magic'
    >>> reason(EOFError())
    'EOFError'
    """
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:97]} ... {text[-98:]}"
