"""Requests to stop: the signals of a batch system, and of a person. Free of JAX."""

import signal
from types import FrameType


class Interruption:
    """Takes SIGTERM and SIGINT while it is entered, and is true from the first one on.

    A second SIGINT ends the process at once, as it would without ganjax.

    >>> import os
    >>> with Interruption() as stop:
    ...     os.kill(os.getpid(), signal.SIGTERM)
    ...     bool(stop), stop.exit_code
    (True, 143)
    """

    def __init__(self) -> None:
        self._signal = 0

    def __enter__(self) -> "Interruption":
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __bool__(self) -> bool:
        return self._signal != 0

    @property
    def exit_code(self) -> int:
        """What a shell calls the end by this signal: 143 or 130."""
        return 128 + self._signal

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        self._signal = number
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # at once, even where Python waits for a compiled program
