"""Limits: they fit together, and the largest film that they allow can be read within them."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dicom_files import dataset, save

from spineseg.film import VERTEBRAE
from spineseg.io.isolation import read_film_isolated
from spineseg.io.limits import DEFAULT_LIMITS


def test_they_fit_together():
    limits = DEFAULT_LIMITS
    assert limits.result_bytes >= max(4, len(VERTEBRAE)) * limits.max_pixels
    assert limits.max_pixels <= limits.max_side**2
    assert limits.written_bytes > limits.max_bytes + 2**20, "a copy of the film may be written"


@pytest.mark.skipif(sys.platform != "linux", reason="memory limits hold on Linux only")
def test_the_largest_film_needs_no_more_memory_than_it_may(tmp_path: Path):
    """16 bits, signed, inverted and rescaled: the most that reading ever does to a pixel."""
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
