"""ZIP archives: listed and unpacked one file at a time, within limits.

A name in an archive never becomes a path: a file is unpacked under a name of our own, into a folder that goes again.
Links are not followed. Sizes are those that the archive states; the unpacker stops there and compares the checksum.
"""

from __future__ import annotations

import io
import re
import shutil
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from spineseg.film import BadInput
from spineseg.io.kinds import HEAD_BYTES
from spineseg.io.limits import DEFAULT_LIMITS, Limits

_ENCRYPTED = 1
"""Bit of the flags (APPNOTE.TXT 4.4.4)."""
_OUTWARD = re.compile(r"/|[A-Za-z]:|(.*/)?\.\.(/.*)?$", re.DOTALL)
"""Names that begin with a root or a drive, or climb."""
_DAMAGE = (
    *(BadZipFile, OSError, ValueError, EOFError, LookupError, RuntimeError, struct.error, zlib.error, OverflowError),
)
"""What the standard library raises for damaged archives; its words may hold a name."""


class UnreadableArchive(BadInput):
    """The archive, or one file in it, cannot be unpacked safely."""


@dataclass(frozen=True)
class Member:
    """One file in an archive.

    name: with "/" between folders. head: the first `HEAD_BYTES` bytes. refused: what the file is that is not unpacked,
    with its article, "an encrypted file"; empty for others.
    """

    name: str
    info: ZipInfo
    head: bytes = b""
    refused: str = ""


def members(path: Path, limits: Limits = DEFAULT_LIMITS) -> list[Member]:
    """The files in an archive, by name; folders are left out.

    Raises UnreadableArchive if it is damaged or beyond the limits; its sentence holds no name.
    """
    with _opened(path, limits) as archive:
        files = [info for info in archive.infolist() if not _name(info).endswith("/")]
        if len(files) > limits.max_members:
            raise UnreadableArchive(f"it holds more than {limits.max_members:,} files; unpack it and name the folder")
        if sum(info.file_size for info in files) > limits.max_unpacked_bytes:
            most = limits.max_unpacked_bytes / 2**30
            raise UnreadableArchive(f"it unpacks to more than {most:g} GB; unpack it and name the folder")
        return [_member(archive, info, limits) for info in sorted(files, key=_name)]


@contextmanager
def unpacked(path: Path, info: ZipInfo, limits: Limits = DEFAULT_LIMITS) -> Iterator[Path]:
    """One file of an archive, under a name of our own, until the context ends. Raises UnreadableArchive."""
    with TemporaryDirectory(prefix="spineseg-") as folder:
        target = Path(folder, "film")
        with _opened(path, limits) as archive, archive.open(info) as member, target.open("xb") as stream:
            shutil.copyfileobj(member, stream, 2**20)
        yield target


def _name(info: ZipInfo) -> str:
    """Some programs write the separator of Windows (APPNOTE.TXT 4.4.17 has "/")."""
    return info.filename.replace("\\", "/")


def _member(archive: ZipFile, info: ZipInfo, limits: Limits) -> Member:
    name, refused = str(PurePosixPath(_name(info))), _refused(info, limits)  # without "//" and "/./"
    if refused:
        return Member(name, info, refused=refused)
    try:
        with archive.open(info) as stream:
            return Member(name, info, stream.read(HEAD_BYTES))
    except _DAMAGE:
        return Member(name, info, refused="a damaged file")


def _refused(info: ZipInfo, limits: Limits) -> str:
    """What the file is that is not unpacked; empty for others."""
    mode = info.external_attr >> 16
    if _OUTWARD.match(_name(info)):
        return "a file whose path leads out of the archive"
    if not PurePosixPath(_name(info)).name:
        return "a file without a name"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return "a link or a device"
    if info.flag_bits & _ENCRYPTED:
        return "an encrypted file"
    if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        return "a file in another compression than Deflate"
    if info.file_size > limits.max_bytes:
        return f"a file of more than {limits.max_bytes / 2**20:.0f} MB"
    return ""


class _Bounded(io.BufferedReader):
    """A file that gives no more at once than the list of a sensible archive takes; ZipFile reads the list in one go."""

    def __init__(self, path: Path, most: int) -> None:
        super().__init__(io.FileIO(path))
        self._most = most

    def read(self, size: int | None = -1, /) -> bytes:
        """Raises UnreadableArchive for more."""
        if size is not None and size > self._most:
            raise UnreadableArchive("its list of files is too long; unpack it and name the folder")
        return super().read(size)


@contextmanager
def _opened(path: Path, limits: Limits) -> Iterator[ZipFile]:
    """The archive; what it raises while it is open becomes one sentence."""
    try:
        with _Bounded(path, limits.max_directory_bytes) as stream, ZipFile(stream) as archive:
            yield archive
    except UnreadableArchive:
        raise
    except _DAMAGE:
        raise UnreadableArchive("it is damaged, or in part encrypted; pack it again") from None
