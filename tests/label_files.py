"""Label files of every format, made without the reader under test: by NumPy, SciPy, OpenCV, Pillow and pydicom."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import scipy.io
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels.utils import pack_bits
from pydicom.uid import UID, ExplicitVRLittleEndian

from spineseg.film import ANATOMY, CHANNELS, VERTEBRAE, Masks

BINARY, LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"


def channels_of(masks: Masks) -> np.ndarray:
    """Rows x columns x 7, uint8."""
    return np.dstack([*masks, ~masks.any(axis=0)]).astype(np.uint8)


def map_of(masks: Masks) -> np.ndarray:
    """0 for background, 1 to 6 for the vertebrae; of two on a pixel the more caudal."""
    return np.maximum.reduce([number * mask.astype(np.uint8) for number, mask in enumerate(masks, 1)])


def every_label(folder: Path, masks: Masks) -> dict[str, Path]:
    """One file for each format, by what it is; masks that do not overlap give the same in all of them."""
    array, numbers = channels_of(masks), map_of(masks)
    paths = {name: folder / f"label{k}-{name}" for k, name in enumerate(_NAMES)}
    np.save(paths["map.npy"], numbers)
    np.save(paths["six.npy"], array[..., :6].astype(bool))
    np.savez_compressed(paths["page.npz"], masks=array, channels=np.array(CHANNELS), corrected=np.array(False))
    np.savez(paths["key.npz"], label_separated=array)
    scipy.io.savemat(paths["map.mat"], {"label_separated": numbers})
    cv2.imwrite(str(paths["grey.png"]), numbers)
    cv2.imwrite(str(paths["deep.png"]), numbers.astype(np.uint16))
    picture = Image.fromarray(numbers)
    for name, compression in (("plain.tif", None), ("lzw.tiff", "tiff_lzw"), ("deflated.tif", "tiff_adobe_deflate")):
        picture.save(paths[name], "TIFF", compression=compression)
    coloured = Image.fromarray(numbers)
    coloured.putpalette([90, 90, 90, *range(18)])
    coloured.save(paths["palette.png"], "PNG")
    coloured.save(paths["palette.tif"], "TIFF")
    save_nifti(paths["map.nii"], numbers)
    save_nifti(paths["map.nii.gz"], numbers.astype(np.float32))
    save_segmentation(paths["binary.seg.dcm"], masks)
    save_segmentation(paths["fractional.seg.dcm"], masks, fraction=200)
    save_segmentation(paths["map.seg.dcm"], masks, label_map=True)
    return paths


_NAMES = (
    *("map.npy", "six.npy", "page.npz", "key.npz", "map.mat", "grey.png", "deep.png", "palette.png"),
    *("plain.tif", "lzw.tiff", "deflated.tif", "palette.tif", "map.nii", "map.nii.gz"),
    *("binary.seg.dcm", "fractional.seg.dcm", "map.seg.dcm"),
)


def save_nifti(path: Path, numbers: np.ndarray) -> Path:
    """NIfTI-1 as ITK writes a picture: columns run to the left, rows to the back."""
    head = bytearray(352)
    struct.pack_into("<i8h", head, 0, 348, *(0,) * 8)
    struct.pack_into("<8h", head, 40, 3, *numbers.shape[::-1], 1, 1, 1, 1, 1)
    struct.pack_into("<hh", head, 70, {"uint8": 2, "float32": 16}[str(numbers.dtype)], 8 * numbers.dtype.itemsize)
    struct.pack_into("<4f", head, 76, 1, 0.5, 0.5, 1)
    struct.pack_into("<ff", head, 108, 352, 1)
    struct.pack_into("<h", head, 254, 1)
    struct.pack_into("<12f", head, 280, -0.5, 0, 0, 0, 0, -0.5, 0, 0, 0, 0, 1, 0)
    head[344:348] = b"n+1\0"
    content = bytes(head) + numbers.tobytes()
    path.write_bytes(gzip.compress(content, mtime=0) if path.name.endswith(".gz") else content)
    return path


def save_segmentation(
    path: Path,
    masks: Masks,
    *,
    labels: Sequence[str] = VERTEBRAE,
    codes: Sequence[str] | None = None,
    fraction: int = 0,
    label_map: bool = False,
) -> Path:
    """A DICOM segmentation of one frame for each mask, or a label map. Source: DICOM PS3.3 A.51, C.8.20.

    labels, codes: of each segment's property type. fraction: the value of inside; without it one bit for each pixel.
    """
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = UID(LABEL_MAP if label_map else BINARY)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = UID("2.25.1")
    dataset.Modality, dataset.PatientName = "SEG", "Doe^Jane"
    dataset.Rows, dataset.Columns = masks.shape[1:]
    dataset.NumberOfFrames = 1 if label_map else len(masks)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = 1, "MONOCHROME2", 0
    dataset.SegmentationType = "LABELMAP" if label_map else "FRACTIONAL" if fraction else "BINARY"
    bits = 8 if fraction or label_map else 1
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    if fraction:
        dataset.MaximumFractionalValue = fraction
    dataset.SegmentSequence, dataset.PerFrameFunctionalGroupsSequence = [], []
    for number in range(1, len(masks) + 1):
        code, segment, group, reference = Dataset(), Dataset(), Dataset(), Dataset()
        code.CodingSchemeDesignator, code.CodeMeaning = "SCT", "a bone"
        code.CodeValue = codes[number - 1] if codes else ANATOMY[number - 1].snomed[0] if labels is VERTEBRAE else "1"
        segment.SegmentNumber, segment.SegmentLabel = number, labels[number - 1]
        segment.SegmentedPropertyTypeCodeSequence = [code]
        dataset.SegmentSequence.append(segment)
        reference.ReferencedSegmentNumber = number
        group.SegmentIdentificationSequence = [reference]
        dataset.PerFrameFunctionalGroupsSequence.append(group)
    if label_map:
        del dataset.PerFrameFunctionalGroupsSequence
        content = map_of(masks).tobytes()
    else:
        content = (masks * np.uint8(fraction)).tobytes() if fraction else pack_bits(masks.astype(np.uint8))
    dataset.PixelData = content + b"\0" * (len(content) % 2)
    dataset.save_as(path, enforce_file_format=True)
    return path
