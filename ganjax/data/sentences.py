"""What error sentences have in common."""

import difflib
from collections.abc import Iterable


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
    """What another library's error says, on one line of at most 200 characters.

    >>> reason(ValueError("bad\\n  magic"))
    'bad magic'
    >>> reason(EOFError())
    'EOFError'
    """
    return (" ".join(str(error).split()) or type(error).__name__)[:200]
