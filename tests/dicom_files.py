"""DICOM files for the tests, built without the code under test; those that come with pydicom; how films are refused."""

from __future__ import annotations

import base64
import struct
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import UID

from spineseg.io.dicom_header import UnreadableFilm
from spineseg.io.films import read_film

IMPLICIT, EXPLICIT, BIG, DEFLATED = (f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".2", ".1.99"))
JPEG_BASELINE, JPEG_LOSSLESS, JPEG_LOSSLESS_57 = (f"1.2.840.10008.1.2.4.{end}" for end in (50, 70, 57))
JPEG_LS, JPEG_2000, RLE = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5"
JPEG_EXTENDED, JPEG_LS_NEAR, JPEG_2000_LOSSY = (f"1.2.840.10008.1.2.4.{end}" for end in (51, 81, 91))
HIGH_THROUGHPUT_SYNTAXES = tuple(f"1.2.840.10008.1.2.4.{end}" for end in (201, 202, 203))
HIGH_THROUGHPUT = {
    False: base64.b64decode(
        "/0//UQApQAAAAABHAAAAQgAAAAAAAAAAAAAARwAAAEIAAAAAAAAAAAABDwEB/1AACAACAAAACv9SAAwAAgABAAUEBEAB/1wAEyCI"
        "kJCQkJCQkJCQkJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAN8AAf+TwAAtoP9/AfG//0Hhff8/8Pvw23Bd"
        "+ChLzQgA+bgAoAAJQK1Kd1QAoAAKgLtt4kZJ7LYAwAAV0AAFcAggEIjv4Cf1+v1+S3oA/3//f/6AkZJ79knsugDAABaEAAFrgAAA"
        "/vv/DHT09PT09PTyfQDdtm3btm3b/3lT2Se/ZJ79knv2SeywAaAAF6OAdrvdbrfb7Xa73W632+12u91ut9vtdrvdbrfb7Xa73f7/"
        "f/LAEIG/eEIG/eEIG/eEIG/eEIG/eEIG/eEIG/eEIG/eEIG+twL/2Q=="
    ),
    True: base64.b64decode(
        "/0//UQApQAAAAABHAAAAQgAAAAAAAAAAAAAARwAAAEIAAAAAAAAAAAABjwEB/1AACAACAAAACv9SAAwAAgABAAUEBEAB/1wAEyCI"
        "kJCQkJCQkJCQkJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAANsAAf+TwAAtYJ8PxdfD0PEPmLmp0f0MAAvM"
        "hAF4uQCgAAlArUp3VACgAAqAu23iRknstgDAABXQAAVwCCAQiO/gJ/X6/X5LegD/f/9//oCRknv2Sey6AMAAFoQAAWuAAAD++/8M"
        "dPT09PT09PJ9AN22bdu2bdv/eVPZJ79knv2Se/ZJ7LABoAAXo4B2u91ut9vtdrvdbrfb7Xa73W632+12u91ut9vtdrvd/v9/8sAQ"
        "gb94Qgb94Qgb94Qgb94Qgb94Qgb94Qgb94Qgb94Qgb63Av/Z"
    ),
}
"""High-Throughput JPEG 2000 by OpenJPH, by sign: rows * 60 + columns as uint16; the same less 2000 as int16."""
NAME, BIRTH = "Doe^Jane-Secret", "19610203"


def dataset(
    words: np.ndarray,
    *,
    syntax: str = EXPLICIT,
    bits: int = 12,
    high_bit: int | None = None,
    signed: bool = False,
    stream: bytes | None = None,
    **elements: Any,
) -> Dataset:
    """A film's content with a patient in it.

    words: uint8 or uint16, as they are stored. stream: stored instead of them, compressed as `syntax` has it.
    """
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = UID("1.2.840.10008.5.1.4.1.1.1")
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = UID("2.25.7")
    made.file_meta.TransferSyntaxUID = UID(syntax)
    made.Modality, made.PatientName, made.PatientID, made.PatientBirthDate = "CR", NAME, NAME, BIRTH
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.Rows, made.Columns = words.shape
    made.BitsAllocated, made.BitsStored = words.dtype.itemsize * 8, bits
    made.HighBit = bits - 1 if high_bit is None else high_bit
    made.PixelRepresentation = int(signed)
    content = words.astype(words.dtype.newbyteorder(">" if syntax == BIG else "<")).tobytes()
    if stream is None:
        made.add_new("PixelData", "OB" if words.dtype.itemsize == 1 else "OW", content + b"\0" * (len(content) % 2))
    else:
        made.add_new("PixelData", "OB", encapsulate([stream]))
        made["PixelData"].is_undefined_length = True
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


def run_length(made: Dataset) -> Dataset:
    """The same film compressed."""
    made.compress(RLE, generate_instance_uid=False)
    return made


def content_of(made: Dataset | bytes) -> bytes:
    if isinstance(made, bytes):
        return made
    syntax, stream = str(made.file_meta.TransferSyntaxUID), BytesIO()
    made.save_as(stream, implicit_vr=syntax == IMPLICIT, little_endian=syntax != BIG, enforce_file_format=True)
    return stream.getvalue()


def save(path: Path, made: Dataset | bytes) -> Path:
    path.write_bytes(content_of(made))
    return path


def lossless_jpeg(image: np.ndarray, bits: int) -> bytes:
    """ITU T.81 annex H with predictor 1 and one flat Huffman table: 17 categories of 5 bits each."""
    left = np.roll(image, 1, axis=1)
    left[1:, 0], left[0, 0] = image[:-1, 0], 1 << (bits - 1)
    code = []
    for step in ((image - left + 32768) % 65536 - 32768).ravel().tolist():
        category = abs(step).bit_length()
        code.append(f"{category:05b}")
        if 0 < category < 16:
            code.append(f"{step if step > 0 else step + (1 << category) - 1:0{category}b}")
    text = "".join(code)
    text += "1" * (-len(text) % 8)
    entropy = int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\0")
    segments = (
        (0xC3, struct.pack(">BHHB", bits, *image.shape, 1) + b"\1\x11\0"),
        (0xC4, bytes([0, 0, 0, 0, 0, 17, *[0] * 11, *range(17)])),
        (0xDA, b"\1\1\0\1\0\0"),
    )
    head = b"".join(bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body for marker, body in segments)
    return b"\xff\xd8" + head + entropy + b"\xff\xd9"


def jpeg_2000(image: np.ndarray) -> bytes:
    """A codestream by GDCM: 8 or 16 bits, signed as the array is."""
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.UseCompressionOn()
    writer.SetCompressor("JPEG2000")
    with TemporaryDirectory() as folder:
        writer.SetFileName(path := f"{folder}/encoded.dcm")
        writer.Execute(sitk.GetImageFromArray(image[None]))
        return next(generate_frames(pydicom.dcmread(path).PixelData, number_of_frames=1))


def wheel_file(name: str) -> Path:
    found = get_testdata_file(name, download=False)
    assert isinstance(found, str), f"{name} should come with pydicom"
    return Path(found)


def by_simpleitk(path: Path) -> np.ndarray:
    """The image as SimpleITK reads it from the file itself."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO("GDCMImageIO")
    return sitk.GetArrayFromImage(reader.Execute())[0]


def is_anonymous_sentence(sentence: str, *secrets: str) -> bool:
    """One sentence for a person, with nothing of the file, its name or its folder."""
    whole = (sentence.startswith("expected ") and ", got " in sentence) or sentence.startswith("This ")
    whole = whole and "; " in sentence and sentence.isprintable()
    return whole and not any(secret in sentence for secret in ("Doe", "Jane", "Secret", "SECRET", BIRTH, *secrets))


def refusal(path: Path, **options: Any) -> str:
    """The sentence that refuses a film, without a cause that would show more."""
    with pytest.raises(UnreadableFilm) as caught:
        read_film(path, **options)
    sentence = str(caught.value)
    assert is_anonymous_sentence(sentence, str(path), path.parent.name), sentence
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return sentence


def baseline_jpeg(image: np.ndarray) -> bytes:
    """8 bits, by OpenCV."""
    done, encoded = cv2.imencode(".jpg", image.astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 95])
    assert done
    return encoded.tobytes()


def of_every_syntax(folder: Path) -> dict[str, Path]:
    """One readable film for each transfer syntax, at least 8 x 8: our own where they can be written here."""
    rows, columns = np.mgrid[:66, :71]
    values = (2000 + 1000 * np.sin(rows / 20) + 800 * np.cos(columns / 15) + rows * columns % 17).astype(np.uint16)
    eight = (values >> 4).astype(np.uint8)
    made = {
        IMPLICIT: dataset(values, syntax=IMPLICIT),
        EXPLICIT: dataset(values),
        BIG: dataset(values, syntax=BIG),
        RLE: run_length(dataset(values)),
        JPEG_BASELINE: dataset(eight, bits=8, stream=baseline_jpeg(eight), syntax=JPEG_BASELINE),
        JPEG_LOSSLESS: dataset(values, stream=lossless_jpeg(values.astype(int), 12), syntax=JPEG_LOSSLESS),
        JPEG_LOSSLESS_57: dataset(values, stream=lossless_jpeg(values.astype(int), 12), syntax=JPEG_LOSSLESS_57),
        JPEG_2000: dataset(values, bits=16, stream=jpeg_2000(values), syntax=JPEG_2000),
    }
    for syntax in HIGH_THROUGHPUT_SYNTAXES:
        made[syntax] = dataset(values, bits=16, stream=HIGH_THROUGHPUT[False], syntax=syntax)
    return {syntax: save(folder / f"{syntax}.dcm", each) for syntax, each in made.items()} | {
        JPEG_EXTENDED: wheel_file("JPGExtended.dcm"),
        JPEG_LS: wheel_file("MR_small_jpeg_ls_lossless.dcm"),
        JPEG_LS_NEAR: wheel_file("JPEGLSNearLossless_16.dcm"),
        JPEG_2000_LOSSY: wheel_file("JPEG2000.dcm"),
    }


def write_index(path: Path) -> None:
    """A DICOMDIR without records: all that tells one by its beginning."""
    save_object(path, "1.2.840.10008.1.3.10")


def save_object(path: Path, sop_class: str) -> None:
    """A file of a class whose objects hold no image."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    made.file_meta.MediaStorageSOPInstanceUID = UID("2.25.9")
    made.file_meta.TransferSyntaxUID = UID(EXPLICIT)
    made.PatientName = NAME
    made.save_as(path, enforce_file_format=True)
