"""The films that benchmarks of speed read: an example enlarged to a detector's size, uncompressed and compressed."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import SimpleITK as sitk

from spineseg.film import Film
from spineseg.io.films import read_film

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "2-leaning.dcm"
BITS = 12


def enlarged(rows: int, columns: int, noise: float = 8.0) -> Film:
    """An example that needs no second look at another size, with a detector's noise, which enlarging would smooth."""
    image = cv2.resize(read_film(EXAMPLE).image, (columns, rows), interpolation=cv2.INTER_CUBIC)
    image = image + np.random.default_rng(0).normal(0, noise, image.shape)
    return Film(np.clip(np.rint(image), 0, 2**BITS - 1).astype(np.float32))


def write_jpeg(path: Path, raw: Path) -> None:
    """The same film as JPEG lossless, first-order prediction (1.2.840.10008.1.2.4.70)."""
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.SetFileName(str(path))
    writer.SetUseCompression(True)
    writer.SetCompressor("JPEG")
    writer.KeepOriginalImageUIDOn()
    writer.Execute(sitk.ReadImage(str(raw)))
