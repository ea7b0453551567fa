"""What was answered about each film, kept in the folder of results so that a run that was ended goes on.

Each process appends a line to its own file as soon as a film is answered. A line holds for one film as it is now and
for the same settings alone, and until results of another film or of other settings are written in the same place.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from zipfile import ZipInfo

from spineseg.film import BadInput
from spineseg.io.files import locked
from spineseg.io.processes import ALONE, Processes

ERROR = "error"
"""In the answer of a film that could not be used, which a later run tries again."""
UNANSWERED = "its file changed while the films were worked on; run the command again"
"""For a film that one process knows and another did not find as it was."""
_FILES = "answered-{}.jsonl"


@contextmanager
def only_run(folder: Path, processes: Processes) -> Iterator[None]:
    """Work in a folder of results in which no other run does. Raises BadInput where one does."""
    with ExitStack() as stack:
        if processes.index == 0:
            try:
                stack.enter_context(locked(folder, wait=False))
            except BlockingIOError:
                raise BadInput(
                    "Another run is writing into this folder of results; wait until it has ended, or name another --out"
                ) from None
        yield


class Answers:
    """By key: plain values by name, as JSON has them.

    folder: None keeps them in memory. settings: all that an answer depends on beside the film.
    """

    def __init__(self, folder: Path | None = None, settings: Any = None, processes: Processes = ALONE) -> None:
        self.processes, self._folder, self._settings = processes, folder, settings
        self._read()
        self._before = {key for key, answer in self._known.items() if ERROR not in answer}

    def key(self, name: str, files: Iterable[Path], member: ZipInfo | None = None) -> str:
        """Of a film by its name, the size and time of its files, and its checksum in an archive."""
        of = [[stat.st_size, stat.st_mtime_ns] for stat in _states(files)]
        inside = [member.filename, member.file_size, member.CRC] if member else []
        return _digest([self._settings, name, of, inside])

    def before(self, key: str) -> bool:
        """Whether an earlier run answered it, and this one did not do so again."""
        return key in self._before

    def begin(self, key: str, place: str) -> None:
        """Results are about to be written in a place; what another key answered there holds no more."""
        if self._key_at.get(place, key) != key:
            self._keep(key, None, place)

    def add(self, key: str, answer: dict[str, Any], place: str = "") -> None:
        """Keep it from now on, also if this process is ended. place: of the results that it is about, if any."""
        self._keep(key, answer, place)
        self._before.discard(key)

    def all(self) -> dict[str, dict[str, Any]]:
        """Those of all processes, when each has come here; of earlier runs too."""
        self.processes.wait()
        if self.processes.count > 1:
            self._read()
        return self._known

    def _keep(self, key: str, answer: dict[str, Any] | None, place: str) -> None:
        self._take(key, answer, place)
        if self._folder is not None:
            line = [time.time_ns(), key, answer, place]
            with (self._folder / _FILES.format(self.processes.index)).open("a", encoding="utf-8") as stream:
                stream.write(
                    "\n" + json.dumps({"digest": _digest(line), "line": line})
                )  # behind one that was cut short

    def _take(self, key: str, answer: dict[str, Any] | None, place: str) -> None:
        """None: the answer is still to come."""
        if place:
            self._known.pop(self._key_at.get(place, ""), None)
            self._key_at[place] = key
        if answer is not None:
            self._known[key] = answer

    def _read(self) -> None:
        """The lines of all processes, oldest first; the last one counts."""
        self._known: dict[str, dict[str, Any]] = {}
        self._key_at: dict[str, str] = {}
        lines = [line for path in self._files() for line in path.read_bytes().split(b"\n")]
        for _, key, answer, place in sorted(filter(None, map(_whole, lines)), key=lambda line: line[0]):
            self._take(key, answer, place)

    def _files(self) -> list[Path]:
        found = self._folder.glob(_FILES.format("*")) if self._folder else ()
        return [path for path in sorted(found) if path.is_file()]


def _whole(line: bytes) -> list[Any] | None:
    """What a line holds; None for one that was cut short or damaged."""
    with suppress(ValueError, RecursionError):
        match json.loads(line):
            case {"digest": digest, "line": [int(), str(), dict() | None, str()] as stored}:
                return list(stored) if digest == _digest(stored) else None
    return None


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def _states(files: Iterable[Path]) -> Iterator[Any]:
    for path in files:
        with suppress(OSError):  # whoever reads the film says why
            yield path.stat()
