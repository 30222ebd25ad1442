"""Plain files and JSON that anyone may have written: read within bounds, checked before they are used.

    open_plain, read_bytes     a plain file of bounded size; a pipe or a folder in its place is refused at once
    parse                      UTF-8 JSON whose text can be shown: no NaN, no lone surrogate, no NUL, no endless nesting
    read_object                a JSON object in such a file

Processes that only wait import this module: it loads neither torch nor numpy nor pydantic.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

__all__ = ["MOST_LISTS", "MOST_TEXT", "check_plain", "open_plain", "parse", "read_bytes", "read_object"]

MiB = 2**20
MOST_TEXT = MiB  # bytes of config.json, control.json, fork.json and note.txt
MOST_LISTS = 2**30  # bytes of what lists every file of a source: the sidecar of an image cache


@contextlib.contextmanager
def open_plain(path: Path, *, most: int) -> Iterator[IO[bytes]]:
    """Open a plain file of at most `most` bytes; a pipe is not waited for.

    Raises:
        OSError: it is not there, or cannot be read now.
        ValueError: it is a folder, a pipe or a device, or is larger.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _check(os.fstat(descriptor), most)
    except ValueError:
        os.close(descriptor)
        raise
    with os.fdopen(descriptor, "rb") as file:
        yield file


def check_plain(path: Path, *, most: int | None = None) -> None:
    """Check a file that another library opens; errors as for `open_plain`."""
    _check(path.stat(), most)


def _check(found: os.stat_result, most: int | None) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("it is a folder" if stat.S_ISDIR(found.st_mode) else "it is no plain file")
    if most is not None and found.st_size > most:
        raise ValueError(f"it has {found.st_size:,} bytes; at most {most:,} are read")


def read_bytes(path: Path, *, most: int) -> bytes:
    """Content of a file; errors as for `open_plain`."""
    with open_plain(path, most=most) as file:
        return file.read(most)


def parse(content: bytes) -> Any:
    """The JSON value in UTF-8 text.

    Raises:
        ValueError: it is no JSON; it is nested too deep; a number is no number or has thousands of digits; a text has
            a lone surrogate or a NUL, which no terminal, page or path can take.
    """
    text = content.decode("utf-8")
    try:
        value = json.loads(text, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError(str(error)) from None
    except ValueError as error:
        if "int_max_str_digits" in str(error):
            raise ValueError("a number in it has thousands of digits") from None
        raise
    if "\\u" in text:
        written = json.dumps(value, ensure_ascii=False)
        try:
            written.encode("utf-8")
        except UnicodeEncodeError:
            raise ValueError("a text in it has a lone surrogate, half of a character") from None
        if "\\u0000" in written:
            raise ValueError("a text in it has a NUL")
    return value


def read_object(path: Path, *, most: int = MOST_TEXT) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        OSError: it is not there, or cannot be read now.
        ValueError: it is no plain file of at most `most` bytes, or holds something else.
    """
    value = parse(read_bytes(path, most=most))
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")
    return value


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")
