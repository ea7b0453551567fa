"""Which files of some paths are films: the one place that decides it.

A film is told by its content, never by its name. Folders and ZIP archives are searched to their bottom. Whatever is no
film is named with what it is, but for what systems put beside every file.
"""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path, PurePosixPath
from zipfile import ZipInfo

from spineseg.io.archives import Member, UnreadableArchive, members, unpacked
from spineseg.io.files import PART
from spineseg.io.films import FILM_KINDS
from spineseg.io.kinds import EMPTY, HEAD_BYTES, OTHER, ZIP, Kind, kind_of
from spineseg.io.limits import DEFAULT_LIMITS, Limits

FILM_ENDINGS = (
    *(".dcm", ".dicom", ".dic", ".dc3", ".dcm30", ".ima", ".img"),
    *(".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"),
)
"""Endings that are no part of a film's name, in either case. Any other, as in `film A.B` or 1.2.840.10008.5, is."""
_DICOMDIR = "a DICOMDIR index"
_QUIET = ("thumbs.db", "desktop.ini", ".ds_store", "__macosx")
"""What systems put beside files, in lower case."""
_HEAD_NOUN = re.compile(r"^(?:an? )?(.+?)(?= (?:of|in|that|whose|without|or)\b|$)")


@dataclass(frozen=True)
class FoundFilm:
    """A file that may be a film by its content.

    name: below the path that was searched, with "/" between folders; an archive inside of it counts as a folder. stem:
    the name without its ending, unlike that of any other film found, also where case does not count. meets: the other
    film whose name without its ending is the same, for which reason `stem` has more; empty for most. path: of the
    file, or of the archive that holds `member`.
    """

    name: str
    stem: str
    meets: str
    path: Path
    member: ZipInfo | None = None

    @contextmanager
    def on_disk(self) -> Iterator[Path]:
        """Where it can be read until the context ends. Raises UnreadableArchive."""
        if self.member is None:
            yield self.path
        else:
            with unpacked(self.path, self.member) as path:
                yield path


@dataclass(frozen=True)
class LeftOut:
    """A file or folder that is not searched, or holds no film.

    what: it is, with its article: "a PDF document". lost: a film may be in it. advice: what to do, if anything.
    """

    name: str
    what: str
    lost: bool = False
    advice: str = ""

    def __str__(self) -> str:
        """One line, without control characters that a name may hold."""
        return "".join(letter if letter.isprintable() else "?" for letter in f"{self.name}: left out: {self.reason}")

    @property
    def reason(self) -> str:
        """What it is and what to do."""
        return f"{self.what}; {self.advice}" if self.advice else self.what


Found = FoundFilm | LeftOut


def stem_of(name: str) -> str:
    """A film's name without its ending: 121 for 121, 121.dcm and 121.DCM."""
    ending = next((ending for ending in FILM_ENDINGS if name.lower().endswith(ending)), "")
    stem = name[: len(name) - len(ending)]
    return stem if PurePosixPath(name).name != ending and stem and not stem.endswith("/") else name


def composed(name: str) -> str:
    """The name as most systems write it; macOS stores accents and parts of Korean syllables as letters of their own."""
    return unicodedata.normalize("NFC", name)


def search(
    paths: Iterable[Path],
    *,
    archives: bool = True,
    apart_from: Path | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Iterator[Found]:
    """The films in the paths, and what is left out, each as soon as it is met; the order is always the same.

    paths: folders, ZIP archives, a DICOMDIR, which stands for its folder, and other files, which are taken for films
    whatever they are. archives: those in folders are opened too. apart_from: a folder that is not searched.
    """
    paths = list(paths)
    run = _Search(limits, [os.path.realpath(path) for path in paths], archives)
    if apart_from is not None and not any(os.path.realpath(apart_from) == root for root in run.above):
        run.apart = os.path.realpath(apart_from)
    for path in paths:
        yield from run.given(path)


def files_in(folder: Path) -> Iterator[tuple[Path, str] | LeftOut]:
    """Each file at any depth of a folder with its name below it, as `search` walks; and what is not entered."""
    return _Search(DEFAULT_LIMITS, [os.path.realpath(folder)]).walk(folder)


def not_a_film(kind: Kind, name: str) -> LeftOut:
    """A file of that kind, in which a film is lost if it is empty, damaged from its start on or still packed."""
    if kind is ZIP:
        return LeftOut(name, kind.article, lost=True, advice="unpack it")
    if kind is OTHER:
        return LeftOut(name, "a file of another kind", lost=stem_of(name) != name)
    return LeftOut(name, kind.article, lost=kind is EMPTY)


def no_film(where: str, left_out: Sequence[LeftOut]) -> str:
    """The sentence for a place without a film. where: it, at the start of a sentence."""
    looked = f"{len(left_out)} files were looked at" if len(left_out) != 1 else "1 file was looked at"
    seen = f"{looked} ({tally(left_out)})" if left_out else "nothing is in it"
    return f"{where} holds no film: {seen}; name a folder with DICOM files or pictures"


def tally(left_out: Iterable[LeftOut]) -> str:
    """How many of each kind: "5 PDF documents, 1 NumPy array"."""
    counts = Counter(each.what for each in left_out).most_common()
    return ", ".join(f"{n} {_noun(what, plural=n != 1)}" for what, n in counts)


def _noun(what: str, *, plural: bool) -> str:
    """Without its article: "ZIP archives without a film" for "a ZIP archive without a film"."""
    bare = re.sub(r"^an? ", "", what)
    return _HEAD_NOUN.sub(r"\1s", bare, count=1) if plural else bare


def is_quiet(name: str) -> bool:
    """Whether systems put a file or folder of that name beside every other, or a killed process left it unfinished."""
    return name.startswith("._") or name.lower() in _QUIET or bool(PART.fullmatch(name))


@dataclass
class _Search:
    """One search: what was found so far, so that nothing comes twice.

    above: real paths of all that was given and of links that were followed. archives: they are opened. apart: real path
    of a folder to leave out.
    """

    limits: Limits
    above: list[str]
    archives: bool = True
    apart: str | None = None
    folders: set[tuple[int, int]] = field(default_factory=set)
    files: set[str] = field(default_factory=set)
    stems: dict[str, str] = field(default_factory=dict)
    copies: Counter[str] = field(default_factory=Counter)

    def given(self, path: Path) -> Iterator[Found]:
        """What one of the given paths holds."""
        if path.is_dir():
            yield from self._tree(path)
            return
        head = b""
        with suppress(OSError):  # whoever reads the film says why
            head = read_head(path)
        kind = kind_of(head)
        if kind is ZIP:
            yield from self._archive(path, composed(path.name), "")
        elif kind.article == _DICOMDIR:
            yield from self._tree(path.parent)
        elif os.path.abspath(path) in self.files:
            yield LeftOut(path.name, "a file that was named already")
        else:
            self.files.add(os.path.abspath(path))
            yield self._film(composed(path.name), path)

    def _tree(self, root: Path) -> Iterator[Found]:
        for each in self.walk(root):
            if isinstance(each, LeftOut):
                yield each
            else:
                yield from self._file(*each)

    def walk(self, root: Path) -> Iterator[tuple[Path, str] | LeftOut]:
        """Each file with its name below `root`: files before folders, and links to folders last.

        So a file bears the name of its real folder.
        """
        folders, links = [(root, "")], list[tuple[Path, str]]()
        while folders or links:
            folder, name = folders.pop() if folders else links.pop(0)
            entries = self._entries(folder, name)
            if isinstance(entries, LeftOut):
                yield entries
                continue
            inside = list[tuple[Path, str]]()
            for path in entries:
                below = composed(f"{name}/{path.name}" if name else path.name)
                if _is_folder(path):
                    (links if path.is_symlink() else inside).append((path, below))
                else:
                    yield path, below
            folders += reversed(inside)

    def _entries(self, folder: Path, name: str) -> list[Path] | LeftOut:
        """What a folder holds, by name; or why it is not entered."""
        if name and folder.name.startswith("."):
            return LeftOut(name, "a hidden folder", advice="name it to search it")
        real = os.path.realpath(folder)
        if real == self.apart:
            return LeftOut(name, "a folder of results")
        if name and folder.is_symlink():
            if any(Path(root).is_relative_to(real) for root in self.above):
                return LeftOut(name, "a link to a folder above it")
            self.above.append(real)
        try:
            state = folder.stat()
            if (identity := (state.st_dev, state.st_ino)) in self.folders:
                return LeftOut(name or folder.name, "a folder that was searched already")
            self.folders.add(identity)
            return [folder / each for each in sorted(os.listdir(folder)) if not is_quiet(each)]
        except OSError:
            what, advice = "a folder that cannot be opened", "allow reading it"
            return LeftOut(name or folder.name, what, lost=True, advice=advice)

    def _file(self, path: Path, name: str) -> Iterator[Found]:
        """A file in a folder that is searched: a film, the films of an archive, or what it is."""
        if (absolute := os.path.abspath(path)) in self.files:
            yield LeftOut(name, "a file that was named already")
            return
        self.files.add(absolute)
        try:
            kind = kind_of(read_head(path))
        except OSError as error:
            yield _unopened(path, name, error)
            return
        if kind is ZIP and self.archives:
            yield from self._archive(path, name, f"{name}/")
        else:
            yield self._told(kind, name, path)

    def _archive(self, path: Path, name: str, prefix: str) -> Iterator[Found]:
        """The films in an archive and what it holds beside them; one line where it holds neither film nor doubt."""
        try:
            inside = [each for each in members(path, self.limits) if not _is_quiet_path(each.name)]
        except UnreadableArchive as error:
            yield LeftOut(name, "a ZIP archive", lost=True, advice=str(error))
            return
        found = [self._member(path, each, prefix) for each in inside]
        if any(isinstance(each, FoundFilm) or each.lost for each in found):
            yield from found
        else:
            held = tally(each for each in found if isinstance(each, LeftOut)) or "nothing is in it"
            yield LeftOut(name, "a ZIP archive without a film", advice=held)

    def _member(self, path: Path, member: Member, prefix: str) -> Found:
        name = prefix + composed(member.name)
        if member.refused:
            return LeftOut(name, member.refused, lost=True, advice="unpack the archive and name the folder")
        kind = kind_of(member.head)
        if kind is ZIP:
            return LeftOut(name, "a ZIP archive in another", lost=True, advice="unpack it and name it")
        return self._told(kind, name, path, member.info)

    def _told(self, kind: Kind, name: str, path: Path, member: ZipInfo | None = None) -> Found:
        """By its kind."""
        if kind in FILM_KINDS:
            return self._film(name, path, member)
        return not_a_film(kind, name)

    def _film(self, name: str, path: Path, member: ZipInfo | None = None) -> FoundFilm:
        """Under the first stem that no other film has: without its ending, with it, or with a number."""
        plain = stem_of(name)
        copies = self.copies[name.casefold()] = self.copies[name.casefold()] + 1
        numbered = (f"{name}-{n}" for n in count(max(copies - 1, 2)))
        stem = next(stem for stem in chain((plain, name), numbered) if stem.casefold() not in self.stems)
        meets = "" if stem == plain else self.stems[plain.casefold()]
        self.stems[stem.casefold()] = name
        return FoundFilm(name, stem, meets, path, member)


class _NoFile(OSError):
    """A pipe, a socket or a device."""


def read_head(path: Path) -> bytes:
    """The first `HEAD_BYTES` bytes of a regular file; never waits for a pipe. Raises OSError."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise _NoFile
    with path.open("rb", buffering=0) as stream:
        return stream.read(HEAD_BYTES) or b""


def _unopened(path: Path, name: str, error: OSError) -> LeftOut:
    if isinstance(error, _NoFile):
        return LeftOut(name, "a pipe, a socket or a device")
    if path.is_symlink() and not path.exists():
        return LeftOut(name, "a broken link", lost=True, advice="mend or remove it")
    return LeftOut(name, "a file that cannot be opened", lost=True, advice="allow reading it")


def _is_folder(path: Path) -> bool:
    """Not for a link that leads nowhere or to itself."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _is_quiet_path(name: str) -> bool:
    return any(map(is_quiet, PurePosixPath(name).parts))
