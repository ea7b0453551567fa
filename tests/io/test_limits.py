"""Limits: what they allow fits together, and the largest film that they allow can be read within them."""

from __future__ import annotations

import sys
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pytest
from dicom_files import dataset, save

from spineseg.io.isolation import read_film_isolated
from spineseg.io.limits import DEFAULT_LIMITS


def test_every_film_and_label_that_may_be_read_may_come_back():
    assert DEFAULT_LIMITS.answer_bytes >= 6 * DEFAULT_LIMITS.max_pixels
    assert DEFAULT_LIMITS.max_pixels <= DEFAULT_LIMITS.max_side**2


def test_a_copy_of_every_film_may_be_written():
    assert DEFAULT_LIMITS.written_bytes > DEFAULT_LIMITS.max_bytes + 2**20


def test_nobody_changes_them_on_the_way():
    with pytest.raises(FrozenInstanceError):
        DEFAULT_LIMITS.max_bytes = 1  # type: ignore[misc]


@pytest.mark.skipif(sys.platform != "linux", reason="memory limits hold on Linux only")
def test_the_largest_film_needs_no_more_memory_than_it_may(tmp_path: Path):
    """16 bits, signed, turned over and rescaled: the most that reading ever does to a pixel."""
    side = 5790
    words = np.arange(side * side, dtype=np.uint32).astype(np.uint16).reshape(side, side)
    made = dataset(
        words, bits=16, signed=True, PhotometricInterpretation="MONOCHROME1", RescaleSlope=0.5, RescaleIntercept=3
    )
    path = save(tmp_path / "large.dcm", made)
    assert 0 <= DEFAULT_LIMITS.max_bytes - path.stat().st_size < 2**17
    film = read_film_isolated(path, limits=replace(DEFAULT_LIMITS, wall_s=300.0))
    expected = (-1 - words[::997, ::991].astype(np.int16).astype(np.int32)) * 0.5 + 3
    np.testing.assert_array_equal(film.image[::997, ::991], expected.astype(np.float32))
