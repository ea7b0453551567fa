"""Options that several commands share, and how they show progress and names."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from spineseg.film import CHANNELS, BadInput
from spineseg.io.files import DEFAULT_CHECKPOINT
from spineseg.io.processes import available_cores
from spineseg.model.card import UNET, card_path

if TYPE_CHECKING:
    from spineseg.inference.segmenter import Segmenter


JsonPath = Annotated[Path | None, tyro.conf.arg(name="json")]


Flat = tyro.conf.arg(name="")  # flags without a prefix


Repeatable = tyro.conf.UseAppendAction[tuple[str, ...]]


@dataclass(frozen=True)
class Model:
    """Which weights segment, and how they are run."""

    checkpoint: Path = DEFAULT_CHECKPOINT
    """*.safetensors with its card, or hf://owner/name@revision."""
    architecture: str = UNET
    """Network that the weights belong to: unet, or module:factory of your own (docs/how-to/add-a-network.ipynb)."""
    device: str = "auto"
    """auto (cuda where there is one, else cpu), cpu, cuda or mps."""
    one_view: bool = False
    """Look at each film once, not also turned and mirrored: faster, contours less steady, other pictures told less."""

    def load(self) -> Segmenter:
        """Raises BadInput if it cannot be used."""
        from spineseg.inference.segmenter import Segmenter
        from spineseg.inference.views import ONE_VIEW

        views = ONE_VIEW if self.one_view else None
        return Segmenter.load(self.checkpoint, self.device, views, architecture=self.architecture)

    def identity(self) -> str:
        """A digest of this program's version, the weights and their card."""
        from spineseg import __version__
        from spineseg.model.hub import resolve

        weights = resolve(self.checkpoint)
        content = b"".join(path.read_bytes() for path in (weights, card_path(weights)))
        return hashlib.sha256(__version__.encode() + content).hexdigest()


PUBLISHED = Model()


_MOST_READERS = 64


def readers(wanted: int | None, processes: int = 1) -> int:
    """Films that this process reads at the same time. Raises BadInput for fewer than one, or far too many."""
    if wanted is None:
        return max(1, min(8, available_cores()) // processes)
    if not 1 <= wanted <= _MOST_READERS:
        advice = "leave --workers out for as many as there are cores"
        raise BadInput(f"expected 1 to {_MOST_READERS} workers, got {wanted}; {advice}")
    return wanted


def progress(what: str) -> Callable[[Iterable[Any]], Iterable[Any]]:
    """A bar that counts films."""
    from tqdm import tqdm

    return partial(tqdm, desc=what, unit="film")


@contextmanager
def listing_faults() -> Iterator[None]:
    """Print what stands against a folder, a line for each kind, before the error that says so."""
    from spineseg.data.findings import FaultyFolder, grouped

    try:
        yield
    except FaultyFolder as error:
        print(*grouped(error.findings), sep="\n", file=sys.stderr)
        raise BadInput(error.summary) from None


def cell(name: str) -> str:
    """A stranger's file name as a cell of a table, which no spreadsheet takes for a formula."""
    plain = printable(name)
    return f"'{plain}" if plain.startswith(("=", "+", "-", "@")) else plain


def is_result(path: Path) -> bool:
    """Whether `predict` may replace what is there: nothing, or a regular file that begins as its own results do."""
    from spineseg.io.discovery import read_head
    from spineseg.io.kinds import OVERLAY, kind_of

    try:
        head = read_head(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    match path.suffix:
        case ".npy":
            return head.startswith(b"\x93NUMPY") and f", {len(CHANNELS)})".encode() in head[:128]
        case ".json":
            return head.startswith(b'{\n "film":')
        case ".csv":
            return head.startswith(b"film,")
        case ".png":
            return kind_of(head) is OVERLAY
    return "segmentation" in kind_of(head).article


def printable(name: str) -> str:
    """A stranger's file name as one line that the terminal can write and that does nothing to it."""
    encoding = sys.stdout.encoding or "ascii"
    plain = "".join(letter if letter.isprintable() else "?" for letter in name)
    return plain.encode(encoding, "replace").decode(encoding)
