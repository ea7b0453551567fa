"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


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
