"""Files that are written whole or not at all, and errors that name their file."""

from __future__ import annotations

import csv
import errno
import io
import math
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from spineseg.film import BadInput

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


def shipped(folder: str) -> Path:
    """Where `checkpoints` or `examples` are: in the package where it was installed, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / folder
    return inside if inside.is_dir() else package.parent / folder


PART = re.compile(r"\.[0-9a-f]{16}\.part")
"""Names of the files that `replacing` has not finished; one stays where the process was killed."""
DEFAULT_CHECKPOINT = shipped("checkpoints") / "spineseg.safetensors"


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A stream whose content becomes the file in one step at the end; on failure the old file stays, nothing else.

    The content waits beside its place under a hidden name.
    Raises OSError if the folder is missing or cannot be written.
    """
    final = Path(path)
    part = final.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with open(part, "xb") as stream:
            yield stream
        os.replace(part, final)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path, *, wait: bool) -> Iterator[None]:
    """While this is entered, nobody else enters it for the folder, in this process or another.

    The system unlocks it where the process is ended. Where there are no locks of files, nothing is locked.
    Raises BlockingIOError where another has it locked and `wait` is false, and OSError if there is no such folder.
    """
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL):  # the file system has no locks
                raise
        yield
    finally:
        os.close(descriptor)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write the text in UTF-8, as `replacing` does; bytes of a file name that are no UTF-8 are escaped."""
    with replacing(path) as stream:
        stream.write(text.encode(errors="backslashreplace"))


def write_table(path: str | os.PathLike[str], columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV table with a line for its columns and one for each row, as `replacing` does."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    write_text(path, text.getvalue())


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Start the sentence of any BadInput with the name of the file that it is about."""
    try:
        yield
    except BadInput as error:
        raise type(error)(f"{name}: {error}") from None


def nullified(value: Any) -> Any:
    """The same with None for every number that is not finite, which JSON cannot hold."""
    if isinstance(value, Mapping):
        return {key: nullified(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [nullified(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
