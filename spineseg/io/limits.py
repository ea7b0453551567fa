"""How large a file may be and what reading it may take: every such number."""

from __future__ import annotations

from dataclasses import dataclass

from spineseg.film import VERTEBRAE

_MAX_PIXELS = 40_000_000


@dataclass(frozen=True)
class Limits:
    """The first four hold wherever a film is read; most others only in a process of its own (`isolation`).

    There the first holds for labels too. Those of ZIP archives hold where one is opened (`archives`).
    The operating system enforces memory, processor time, size of written files and number of open ones: all on Linux,
    some on macOS, none on Windows, where wall time and the sizes remain.
    """

    max_bytes: int = 64 * 2**20
    """Size of a file, and of an upload to the page; uncompressed uint8 labels of 3000 x 3000 x 7 take 60 MB."""
    min_side: int = 64
    """Fewest rows and fewest columns."""
    max_side: int = 10_000
    """Most rows and most columns."""
    max_pixels: int = _MAX_PIXELS
    """Rows times columns."""
    memory_bytes: int = 3 * 2**29
    """Address space of the process that reads a film; libraries take 0.5 GB, 40 million pixels 1.2 GB in all."""
    label_memory_bytes: int = 3 * 2**30
    """The same for a label. SciPy keeps a compressed .mat three times: 3000 x 2500 as doubles take 2.5 GB."""
    cpu_s: int = 20
    """Processor time of the reading process, its start included."""
    start_s: float = 60.0
    """Until the process is ready for its file: half a second, many times that on a busy machine."""
    wall_s: float = 30.0
    """From the request to the last byte of the result."""
    written_bytes: int = 96 * 2**20
    """Largest file that the process may write; its copy of the pixel data is one."""
    open_files: int = 64
    """Files and pipes that the process may hold open."""
    result_bytes: int = max(4, len(VERTEBRAE)) * _MAX_PIXELS
    """Size of the result: four bytes for each pixel of a film, one for each pixel and vertebra of a label."""
    max_members: int = 10_000
    """Files in a ZIP archive."""
    max_unpacked_bytes: int = 32 * 2**30
    """Their sizes together; one of them may take `max_bytes`, and only one at a time lies on the disk."""
    max_directory_bytes: int = 8 * 2**20
    """Size of a ZIP archive's list of files, which is read as a whole."""
    max_request_bytes: int = 4 * 2**20
    """Body of a request to the page that is no upload. Masks of a busy film take 1 MB; parsed, fifty times that."""
    at_once: int = 6
    """Files being read at the same time; the next one waits. Five that take all of `wall_s` leave room for others."""


DEFAULT_LIMITS = Limits()
