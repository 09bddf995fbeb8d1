"""Markup that cannot be broken by what is in it: text is escaped wherever it enters, pictures are inside the page."""

from __future__ import annotations

import base64
import html
import io
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

from ganjax.errors import DataError, printable, reason

VOID = {"img", "meta"}  # elements without an end
LARGEST = 50_000_000  # pixels of a picture that is read
LONGEST = 4_000_000  # bytes of a recording


class Html(str):
    """Markup, as opposed to text."""


def tag(name: str, /, *inside: object, **attributes: object) -> Html:
    """An element; whatever in it is not `Html` becomes text.

    >>> tag("p", "1 < 2, ", tag("b", "yes"), class_="note")
    '<p class="note">1 &lt; 2, <b>yes</b></p>'
    """
    named = "".join(f' {key.rstrip("_").replace("_", "-")}="{_text(value)}"' for key, value in attributes.items())
    return Html(f"<{name}{named}>" + ("" if name in VOID else f"{join(inside)}</{name}>"))


def join(parts: Iterable[object], between: str = "") -> Html:
    """Markup and text after each other."""
    return Html(between.join(part if isinstance(part, Html) else _text(part) for part in parts))


def _text(value: object) -> str:
    return html.escape(printable(str(value)))


def table(head: Sequence[object], rows: Iterable[Sequence[object]], **attributes: object) -> Html:
    """A table; the first cell of a row names it."""
    body = (tag("tr", tag("th", first, scope="row"), *(tag("td", cell) for cell in rest)) for first, *rest in rows)
    header = [tag("thead", tag("tr", *(tag("th", cell, scope="col") for cell in head)))] if head else []
    return tag("table", *header, tag("tbody", *body), **attributes)


def details(summary: str, *inside: object) -> Html:
    """Something to unfold."""
    return tag("details", tag("summary", summary), *inside)


def png(content: bytes, alt: str, *, longest: int | None = None) -> Html:
    """An <img> that holds a picture.

    Args:
      content: a PNG file's bytes.
      alt: what it shows, for those who don't see it.
      longest: pixels; a picture with a longer side is made smaller.

    Raises:
      DataError: it is no readable PNG, or has more than LARGEST pixels.
    """
    try:
        content, (width, height) = _checked(content, longest)
    except Exception as error:  # Pillow's decoder raises a dozen kinds on damaged bytes
        raise DataError(f"not a readable PNG: {reason(error)}") from error
    source = "data:image/png;base64," + base64.b64encode(content).decode()
    return tag("img", src=source, alt=alt, width=width, height=height)


def player(content: bytes, label: str) -> Html:
    """An <audio> that holds a WAV file.

    Raises:
      DataError: it is no WAV file, or has more than LONGEST bytes.
    """
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        raise DataError("not a WAV file")
    if len(content) > LONGEST:
        raise DataError(f"a WAV file of {len(content):,} bytes, more than {LONGEST:,}")
    source = "data:audio/wav;base64," + base64.b64encode(content).decode()
    return tag("audio", controls="", src=source, title=label)


def gif(content: bytes, alt: str) -> Html:
    """An <img> that holds an animation.

    Args:
      content: a GIF file's bytes.
      alt: what it shows, for those who don't see it.

    Raises:
      DataError: it is no readable GIF, or its frames have more than LARGEST pixels together.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=("GIF",)) as picture:
            width, height = picture.size
            if width * height * picture.n_frames > LARGEST:  # type: ignore[attr-defined]
                raise ValueError(f"frames of {width}x{height} pixels, more than {LARGEST:,} together")
    except Exception as error:  # Pillow's decoder raises a dozen kinds on damaged bytes
        raise DataError(f"not a readable GIF: {reason(error)}") from error
    source = "data:image/gif;base64," + base64.b64encode(content).decode()
    return tag("img", src=source, alt=alt, width=width, height=height)


def _checked(content: bytes, longest: int | None) -> tuple[bytes, tuple[int, int]]:
    """The bytes and the size of a PNG that a browser can show."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(io.BytesIO(content), formats=("PNG",)) as picture:
            if picture.width * picture.height > LARGEST:
                raise ValueError(f"{picture.width}x{picture.height} pixels, more than {LARGEST:,}")
            picture.load()
            if longest is None or max(picture.size) <= longest:
                return content, picture.size
            smaller: Any = picture.convert("RGB")
    smaller.thumbnail((longest, longest))
    buffer = io.BytesIO()
    smaller.save(buffer, format="PNG")
    return buffer.getvalue(), smaller.size
