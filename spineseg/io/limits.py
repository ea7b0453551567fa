"""How large a file may be and what reading it may take: every number of it, in one place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """The first four hold wherever a film is read, the others only in an interpreter of its own (see `isolate`).

    Memory, processor time, size of written files and number of open ones are kept by the operating system: all four
    on Linux, some on macOS, none on Windows, where the time on the clock and the sizes remain.
    """

    max_bytes: int = 64 * 2**20
    """Size of a DICOM file."""
    min_side: int = 64
    """Fewest rows and fewest columns."""
    max_side: int = 10_000
    """Most rows and most columns."""
    max_pixels: int = 40_000_000
    """Rows times columns."""
    max_label_bytes: int = 512 * 2**20
    """Size of a .mat or .npy: seven channels of doubles, uncompressed, take as much at 3000 x 3000."""
    memory_bytes: int = 3 * 2**29
    """Address space of the process that reads a film, libraries (0.5 GB) included; 40 million pixels need 1.2 GB."""
    label_memory_bytes: int = 3 * 2**30
    """The same for a label, as SciPy keeps a compressed .mat three times: 3000 x 2500 as doubles need 2.5 GB."""
    cpu_s: int = 20
    """Processor time of the reading process, its start included."""
    start_s: float = 60.0
    """Start of the reading process, before it is given a file: half a second, but many times that on a busy machine."""
    wall_s: float = 30.0
    """From handing the file over to the last byte of the answer."""
    written_bytes: int = 96 * 2**20
    """Largest file that the reading process may write: its copy of the pixel data is one."""
    open_files: int = 64
    """Files, pipes and the like that the reading process may hold open."""
    answer_bytes: int = 256 * 2**20
    """What comes back: four bytes for each pixel of a film, six for each of a label."""
    at_once: int = 2
    """Files being read at the same time; the next one waits."""


DEFAULT_LIMITS = Limits()
