"""Uploaded files: stored under a random name, read once, and removed."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

import gradio as gr
from gradio import processing_utils, route_utils
from gradio.route_utils import API_PREFIX, GradioMultiPartParser
from gradio.utils import get_upload_folder
from python_multipart.exceptions import FormParserError
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect

from spineseg.ui import texts
from spineseg.ui.correction import BadRequest

_Read = TypeVar("_Read")


def uploaded(upload: Mapping[str, Any] | None, what: str | None = None) -> Path:
    """Where Gradio put an upload: inside its own folder, whatever a client claims.

    A client may name it by its address on this page, as tools do. Nothing is ever fetched.
    what: it should be, in the page's words; a film if not given. Raises BadRequest where there is no such file.
    """
    what = what or texts.SUBJECT_FILM
    if not upload or not isinstance(upload.get("path"), str):
        raise BadRequest(texts.NO_UPLOAD.format(what))
    path = Path(unquote(upload["path"].rpartition(f"{API_PREFIX}/file=")[2])).resolve()
    if not path.is_relative_to(Path(get_upload_folder()).resolve()) or not path.is_file():
        raise BadRequest(texts.UPLOAD_GONE.format(what))
    return path


def read_and_delete(path: Path, read: Callable[[Path], _Read]) -> _Read:
    """Read an upload, then delete it and the folder that Gradio made for it, also where reading fails."""
    try:
        return read(path)
    finally:
        path.unlink(missing_ok=True)
        if path.parent != Path(get_upload_folder()).resolve():
            with suppress(OSError):  # the folder holds another visitor's upload of the same bytes, or has just gone
                path.parent.rmdir()


def discard(upload: Any) -> None:
    """Delete an upload that nobody will read; anything else is no upload."""
    with suppress(BadRequest):
        if isinstance(upload, Mapping):
            read_and_delete(uploaded(upload), lambda path: None)


class RandomNameParser(GradioMultiPartParser):
    """Gradio's parser of uploads, with a random name for each file and nothing left of a request that is refused.

    Gradio stores an upload under the name that the client sent, and a film's file name is often a patient's. A random
    name also keeps two visitors' uploads of the same bytes apart. Source: RFC 7578.
    """

    _complete = False

    def on_headers_finished(self) -> None:
        """Names the file before Gradio stores or reports it. Fields would be kept in memory whatever their size."""
        super().on_headers_finished()
        part = self._current_part
        if part.file is None or part.field_name != "files":
            raise MultiPartException("Expected only files, in parts named files")
        part.file.filename = secrets.token_hex(12)

    def on_end(self) -> None:
        """The last boundary was read."""
        self._complete = True

    async def parse(self) -> FormData:
        """Raises MultiPartException, which Gradio answers with 400 or 413; its own parser keeps a cut file."""
        if len(self.headers.getlist("content-type")) != 1:
            raise MultiPartException("Expected one Content-Type header, got several")
        try:
            form = await super().parse()
            if not self._complete:
                raise MultiPartException("Expected a last boundary, got the end of the upload")
            return form
        except BaseException as error:
            for file in self._files_to_close_on_error:
                file.close()
                Path(file.name).unlink(missing_ok=True)
            if isinstance(error, MultiPartException) and "maximum allowed size" in error.message:
                raise MultiPartException(texts.TOO_LARGE.format(self.max_file_size / 2**20)) from None
            if isinstance(error, ClientDisconnect | FormParserError):
                raise MultiPartException("Expected a multipart upload, got another or a cut one") from None
            raise


def strip_file_names() -> None:
    """From here on Gradio parses every upload with `RandomNameParser`; it offers no setting for it."""
    route_utils.GradioMultiPartParser = RandomNameParser


async def _own_upload(url: str, cache_dir: str) -> str:
    """The path of a file that is named by its address on this page; called where Gradio would fetch an address."""
    try:
        return str(uploaded({"path": url}))
    except BadRequest as error:
        raise gr.Error(str(error), print_exception=False) from None


def fetch_nothing() -> None:
    """From here on Gradio fetches no address that a caller gives instead of a file; it offers no setting for it."""
    processing_utils.async_ssrf_protected_download = _own_upload
