"""Reading a stranger's file in a process of its own, which reads that one file under limits and ends.

A file may make its decoder return another film's pixels, crash, fill the memory or never end. Here it does so to a
process that has seen no other film and that nobody needs. What comes back is checked before it is used.

This protects against accidents and known attacks. It is no sandbox: a reader has this user's rights (`SECURITY.md`).
"""

from __future__ import annotations

import atexit
import math
import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from spineseg.film import ASPECT, SPACING_MM, VERTEBRAE, WINDOW_FUNCTIONS, WINDOW_MOST, Film, Masks, Spacing, Window
from spineseg.io.limits import DEFAULT_LIMITS, Limits
from spineseg.io.reader_pool import BROKEN_OFF, Function, Readers, ReadResult, Unsafe
from spineseg.io.reader_process import serialised_film, serialised_label, serialised_segmentation

if TYPE_CHECKING:
    from spineseg.io.labels import Label


_MOST_REMARKS, _LONGEST_REMARK = 8, 300


def read_film_isolated(path: str | os.PathLike[str], *, invert: bool = False, limits: Limits = DEFAULT_LIMITS) -> Film:
    """`films.read_film` in a process of its own; see there.

    Raises Refused with the reader's sentence, or Unsafe; neither holds the path or a word of the header.
    """
    result = isolated(serialised_film, os.path.abspath(path), invert, limits, limits=limits)
    facts = result.facts
    image, spacing = checked_image(result.array, limits), _spacing(facts.get("spacing"))
    remarks, window = _remarks(facts.get("remarks")), _window(facts.get("window"))
    return Film(image, spacing, _aspect(facts.get("aspect")), remarks, invert, window)


def read_label_isolated(
    path: str | os.PathLike[str], shape: tuple[int, int], *, limits: Limits = DEFAULT_LIMITS
) -> Label:
    """`labels.read_label` in a process of its own, for a film of `shape` (rows, columns); see there.

    Raises Refused with the reader's sentence, or Unsafe; neither holds the path.
    """
    from spineseg.io.labels import Label

    of_labels = replace(limits, memory_bytes=limits.label_memory_bytes)
    result = isolated(serialised_label, os.path.abspath(path), shape, limits, limits=of_labels)
    masks = result.array
    if masks.shape != (len(VERTEBRAE), *shape) or masks.dtype != np.bool_ or masks.view(np.uint8).max() > 1:
        raise Unsafe(BROKEN_OFF)
    match result.facts:
        case {"overlap_px": int(overlap), "background_disagreement_px": int(disagreement)} if (
            0 <= overlap <= masks[0].size and 0 <= disagreement <= masks[0].size
        ):
            return Label(masks, overlap, disagreement)
    raise Unsafe(BROKEN_OFF)


def segmentation_isolated(
    path: str | os.PathLike[str],
    masks: Masks,
    *,
    model: str,
    by_hand: Sequence[str] = (),
    limits: Limits = DEFAULT_LIMITS,
) -> bytes:
    """`dicom_seg.segmentation_bytes` in a process of its own, without any patient field; see there.

    Raises Refused with the writer's sentence, or Unsafe; neither holds the path or a word of the header.
    """
    from spineseg.io.kinds import HEAD_BYTES, kind_of

    of_masks = replace(limits, memory_bytes=limits.label_memory_bytes)
    arguments = (os.path.abspath(path), masks, model, tuple(by_hand))
    content = isolated(serialised_segmentation, *arguments, limits=of_masks).array.tobytes()
    if "segmentation" not in kind_of(content[:HEAD_BYTES]).article:
        raise Unsafe(BROKEN_OFF)
    return content


def isolated(function: Function, *arguments: Any, limits: Limits = DEFAULT_LIMITS) -> ReadResult:
    """The result of `function(*arguments)` in a fresh process, under `limits`.

    The function is found by its name and the arguments are pickled, so both must be this program's own.
    Safe to call from many threads; `limits.at_once` of the shared readers work at the same time.
    Raises Refused where the function raised BadInput, Unsafe where it failed otherwise, NoReader where none starts.
    """
    return _shared().run(function, *arguments, limits=limits)


def start_ahead(count: int = 1) -> None:
    """Keep so many of the shared readers waiting from now on, so that the first file need not wait for one either."""
    _shared().start_ahead(count)


def close_readers() -> None:
    """End those of the shared readers that wait for a file."""
    for readers in _SHARED:
        readers.close()


_SHARED: list[Readers] = []
_SHARED_LOCK = threading.Lock()


def _shared() -> Readers:
    with _SHARED_LOCK:
        if not _SHARED:
            _SHARED.append(Readers())
            atexit.register(close_readers)
        return _SHARED[0]


# Checks of what a reader returned


def checked_image(image: np.ndarray, limits: Limits) -> np.ndarray:
    """The image, if it is what `Film` promises and within the limits. Raises Unsafe."""
    sides = image.shape
    fits = len(sides) == 2 and limits.min_side <= min(sides) and max(sides) <= limits.max_side
    if not fits or image.size > limits.max_pixels or image.dtype != np.float32:
        raise Unsafe(BROKEN_OFF)
    low, high = float(image.min()), float(image.max())
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise Unsafe(BROKEN_OFF)
    return image


def _aspect(stated: Any) -> float:
    if not isinstance(stated, float) or not ASPECT[0] <= stated <= ASPECT[1]:
        raise Unsafe(BROKEN_OFF)
    return stated


def _remarks(stated: Any) -> tuple[str, ...]:
    match stated:
        case [*remarks] if len(remarks) <= _MOST_REMARKS and all(isinstance(each, str) for each in remarks):
            return tuple(remark[:_LONGEST_REMARK] for remark in remarks)
    raise Unsafe(BROKEN_OFF)


def _spacing(stated: Any) -> Spacing | None:
    if stated is None:
        return None
    match stated:
        case [float(row), float(column), "detector" | "patient" as plane] if all(
            SPACING_MM[0] <= mm <= SPACING_MM[1] for mm in (row, column)
        ):
            return Spacing(row, column, plane)
    raise Unsafe(BROKEN_OFF)


def _window(stated: Any) -> Window | None:
    if stated is None:
        return None
    match stated:
        case [float(level), float(width), str(function)] if (
            math.isfinite(level) and 0 < width <= WINDOW_MOST and function in WINDOW_FUNCTIONS
        ):
            return Window(level, width, function)
    raise Unsafe(BROKEN_OFF)
