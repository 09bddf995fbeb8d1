"""Writing files: whole or not at all, and with the name of the file in every error."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ganjax.errors import ConfigError


def cache_folder(name: str) -> Path:
    """The directory of what can be made again: `$XDG_CACHE_HOME/ganjax/<name>`, by default in `~/.cache`.

    Raises:
        ConfigError: the user has no home directory and no `XDG_CACHE_HOME`.
    """
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ganjax" / name
    except RuntimeError as error:
        raise ConfigError(
            "this user has no home directory to keep programs and classifiers in; set XDG_CACHE_HOME to a folder"
        ) from error


def write_atomically(path: str | os.PathLike[str], content: bytes | str) -> None:
    """Write `content` beside `path`, then move it there: a reader sees the old file or the whole new one.

    The folder is made; text is UTF-8.

    Raises:
        OSError: the folder cannot be written; `path` is then as it was and nothing is left beside it.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
    try:
        with naming(target), os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        os.chmod(temporary, 0o644)  # mkstemp makes private files; a figure is for everybody
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """The system names the file where it cannot be opened, but not where the disk is full: so name it.

    >>> try:
    ...     with naming("metrics.jsonl"):
    ...         raise OSError(28, "No space left on device")
    ... except OSError as error:
    ...     print(error)
    [Errno 28] No space left on device: 'metrics.jsonl'
    """
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = os.fspath(path)
        raise
