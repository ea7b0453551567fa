"""What was answered about each film, kept in the folder of results so that a run that was ended goes on.

Each process appends a line to its own file as soon as a film is answered. A line holds for one film as it is now and
for the same settings alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from zipfile import ZipInfo

from spineseg.io.processes import ALONE, Processes

ERROR = "error"
"""In the answer of a film that could not be used, which a later run tries again."""
_FILES = "answered-{}.jsonl"


class Answers:
    """By key: plain values by name, as JSON has them.

    folder: None keeps them in memory. settings: all that an answer depends on beside the film.
    """

    def __init__(self, folder: Path | None = None, settings: Any = None, processes: Processes = ALONE) -> None:
        self.processes, self._folder, self._settings = processes, folder, settings
        self._known = self._read()
        self._before = {key for key, answer in self._known.items() if ERROR not in answer}

    def key(self, name: str, files: Iterable[Path], member: ZipInfo | None = None) -> str:
        """Of a film by its name, the size and time of its files, and its checksum in an archive."""
        of = [[stat.st_size, stat.st_mtime_ns] for stat in _states(files)]
        inside = [member.filename, member.file_size, member.CRC] if member else []
        text = json.dumps([self._settings, name, of, inside], sort_keys=True, default=str)
        return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()

    def before(self, key: str) -> bool:
        """Whether an earlier run answered it, and this one did not do so again."""
        return key in self._before

    def add(self, key: str, answer: dict[str, Any]) -> None:
        """Keep it from now on, also if this process is ended."""
        self._known[key] = answer
        self._before.discard(key)
        if self._folder is not None:
            with (self._folder / _FILES.format(self.processes.index)).open("a", encoding="utf-8") as stream:
                stream.write("\n" + json.dumps({"key": key, "answer": answer}))  # behind a line that was cut short

    def all(self) -> dict[str, dict[str, Any]]:
        """Those of all processes, when each has come here; of earlier runs too."""
        self.processes.wait()
        return self._known if self.processes.count == 1 else self._read()

    def _read(self) -> dict[str, dict[str, Any]]:
        known: dict[str, dict[str, Any]] = {}
        for path in sorted(self._folder.glob(_FILES.format("*"))) if self._folder else ():
            for line in path.read_text("utf-8").splitlines():
                with suppress(ValueError, KeyError, TypeError):  # the last line of a process that was ended
                    stored = json.loads(line)
                    if ERROR not in stored["answer"] or stored["key"] not in known:
                        known[stored["key"]] = stored["answer"]
        return known


def _states(files: Iterable[Path]) -> Iterator[Any]:
    for path in files:
        with suppress(OSError):  # whoever reads the film says why
            yield path.stat()
