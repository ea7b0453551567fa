"""Files on their way in: read once and gone, and never under the name that they had on the visitor's machine."""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from gradio.route_utils import parse_options_header  # pyright: ignore[reportPrivateImportUsage]
from gradio.utils import get_upload_folder

from spineseg.ui.correction import NothingChosen

_Read = TypeVar("_Read")
_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_App = Callable[[_Message, _Receive, Callable[[_Message], Awaitable[None]]], Awaitable[None]]


def uploaded(upload: Mapping[str, Any] | None, what: str = "a film") -> Path:
    """Where Gradio put an upload: inside its own folder, whatever a client claims.

    Raises NothingChosen where there is no such file.
    """
    if not upload or not isinstance(upload.get("path"), str):
        raise NothingChosen(f"Expected {what}, got nothing; choose a file")
    path = Path(upload["path"]).resolve()
    if not path.is_relative_to(Path(get_upload_folder()).resolve()) or not path.is_file():
        raise NothingChosen(f"Expected {what}, but it is no longer here; choose it again")
    return path


def take(path: Path, read: Callable[[Path], _Read]) -> _Read:
    """Read a file and remove it with the folder that Gradio made for it, whatever the outcome."""
    try:
        return read(path)
    finally:
        path.unlink(missing_ok=True)
        if path.parent != Path(get_upload_folder()).resolve():
            with suppress(OSError):  # holds the same film of another visitor, or went with it at this moment
                path.parent.rmdir()


class Nameless:
    """Gives each uploaded file a random name before Gradio sees it (ASGI middleware).

    Gradio stores an upload under the name that the client sent. The page sends none, but other clients do, and a film's
    file name is often a patient's. A random name also keeps two visitors with the same file apart.
    """

    def __init__(self, app: _App) -> None:
        self._app = app

    async def __call__(self, scope: _Message, receive: _Receive, send: Any) -> None:
        """Pass the request on, an upload with other names."""
        boundary = _boundary(scope)
        await self._app(scope, receive if boundary is None else _renaming(receive, Renamer(boundary)), send)


class Renamer:
    """A multipart body, piece by piece, with another file name in the head of each part. Source: RFC 7578.

    One that ends too early, as its sender has gone, ends in a head that is none: Gradio removes what it has stored of a
    body with a mistake, but would keep the files of one that merely stops.
    """

    _NAME = re.compile(rb'filename\*?\s*=\s*("(?:[^"\\]|\\.)*"|[^;\r\n]*)', re.IGNORECASE)
    _MOST_HEAD = 16 * 1024

    def __init__(self, boundary: bytes) -> None:
        self._line = b"\r\n--" + boundary
        self._rest = b"\r\n"  # so that the first boundary looks like the others
        self._in_head = False
        self._begun = False
        self.ended = False

    def feed(self, piece: bytes, last: bool) -> bytes:
        """What can be passed on so far; all of it with the last piece."""
        self._rest += piece
        self.ended = last
        out = []
        while True:
            mark = b"\r\n\r\n" if self._in_head else self._line
            at = self._rest.find(mark)
            if at < 0:
                break
            passed, self._rest = self._rest[: at + len(mark)], self._rest[at + len(mark) :]
            out.append(self._renamed(passed) if self._in_head else passed)
            self._in_head = not self._in_head
        most = self._MOST_HEAD if self._in_head else len(self._line) - 1  # a mark may end in the next piece
        whole = self._in_head and self._rest.startswith(b"--")
        keep = 0 if last or (self._in_head and len(self._rest) > most) else min(len(self._rest), most)
        out.append(self._rest[: len(self._rest) - keep])
        self._rest = self._rest[len(self._rest) - keep :]
        if last and not whole:
            out.append(self._line + b"\r\n \r\n")
        passed = b"".join(out)
        if not self._begun and passed:
            self._begun, passed = True, passed.removeprefix(b"\r\n")
        return passed

    def _renamed(self, head: bytes) -> bytes:
        return self._NAME.sub(lambda _: b'filename="' + secrets.token_hex(12).encode() + b'"', head, count=0)


def _boundary(scope: _Message) -> bytes | None:
    """Of a multipart upload; None for any other request."""
    if scope["type"] != "http" or not scope["path"].rstrip("/").endswith("/upload"):
        return None
    _, said = parse_options_header(dict(scope["headers"]).get(b"content-type", b""))  # as Gradio does it
    return said.get(b"boundary")


def _renaming(receive: _Receive, renamer: Renamer) -> _Receive:
    async def received() -> _Message:
        message = await receive()
        if message["type"] == "http.disconnect" and not renamer.ended:
            message = {**message, "type": "http.request"}
        if message["type"] != "http.request":
            return message
        return {**message, "body": renamer.feed(message.get("body", b""), not message.get("more_body", False))}

    return received
