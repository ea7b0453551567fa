"""Files in and out of the page: names that are never stored, uploads that go, bytes that are taken home."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
import zlib
from dataclasses import replace
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser
from ui_fakes import FILM, Bands, bands

from spineseg.film import CHANNELS, BadInput
from spineseg.io.labels import to_array
from spineseg.measure.errors import BoneMap
from spineseg.render import overlay
from spineseg.ui import takeaway
from spineseg.ui.correction import Correction, pack, unpack
from spineseg.ui.session import Answer, Desk
from spineseg.ui.uploads import Nameless, Renamer

BOUNDARY = b"xYzZY"


def multipart(*files: tuple[str, bytes]) -> bytes:
    parts = [
        b'--xYzZY\r\nContent-Disposition: form-data; name="files"; filename="' + name.encode() + b'"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n" + content + b"\r\n"
        for name, content in files
    ]
    return b"".join(parts) + b"--xYzZY--\r\n"


def parts(body: bytes) -> list[tuple[str, str, bytes]]:
    """Field, file name and content of each part, by the standard library's reader."""
    head = b'Content-Type: multipart/form-data; boundary="xYzZY"\r\n\r\n'
    read = BytesParser(policy=HTTP).parsebytes(head + body)
    return [
        (
            str(part.get_param("name", header="content-disposition")),
            str(part.get_filename()),
            bytes(part.get_payload(decode=True) or b""),  # type: ignore[arg-type]
        )
        for part in read.iter_parts()
    ]


@pytest.mark.parametrize("size", [1, 2, 7, 64, 100_000])
@pytest.mark.parametrize(
    "name", ["Jane Doe.dcm", 'a\\"b Doe.dcm', "filename=Doe; x.dcm", "Dö Doe.dcm", "C:\\films\\Doe.dcm"]
)
def test_every_name_is_replaced_however_the_upload_is_cut(size: int, name: str) -> None:
    films = [b"DICM one " * 50, b'\r\n--xYz\r\n\r\nfilename="Doe-in-the-film" \r\n', b""]
    body = multipart(*((name, film) for film in films))
    renamer = Renamer(BOUNDARY)
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    passed = b"".join(renamer.feed(piece, last=n == len(pieces) - 1) for n, piece in enumerate(pieces))
    read = parts(passed)
    assert [field for field, _, _ in read] == ["files"] * 3
    assert [content for _, _, content in read] == films
    names = [stored for _, stored, _ in read]
    assert all(re.fullmatch(r"[0-9a-f]{24}", stored) for stored in names)
    assert len(set(names)) == 3


def test_the_other_way_to_write_a_name_is_replaced_too() -> None:
    body = multipart(("x", b"film")).replace(b'filename="x"', b"filename=\"x\"; filename*=UTF-8''Jane%20Doe.dcm")
    passed = Renamer(BOUNDARY).feed(body, last=True)
    assert b"Jane" not in passed
    assert len(passed) > 100


@pytest.mark.parametrize("sign", [b" =", b"= ", b"\t = "])
def test_a_name_with_room_around_its_sign_is_replaced_too(sign: bytes) -> None:
    body = multipart(("Jane Doe.dcm", b"film")).replace(b"filename=", b"filename" + sign)
    assert b"Jane" not in Renamer(BOUNDARY).feed(body, last=True)


@pytest.mark.parametrize("kept", [30, 90, 150, -30, -8])
def test_a_body_that_stops_too_early_ends_in_a_mistake(kept: int) -> None:
    body = multipart(("Jane Doe.dcm", b"film" * 30))
    passed = Renamer(BOUNDARY).feed(body[:kept], last=True)
    with pytest.raises(MultipartParseError):
        MultipartParser(BOUNDARY).write(passed)
    MultipartParser(BOUNDARY).write(Renamer(BOUNDARY).feed(body, last=True))


def through(scope: dict, body: bytes) -> bytes:
    """What the application behind `Nameless` receives."""
    got: list[bytes] = []

    async def app(_scope: object, receive: object, _send: object) -> None:
        more = True
        while more:
            message = await receive()  # type: ignore[operator]
            got.append(message["body"])
            more = message["more_body"]

    messages = [{"type": "http.request", "body": body[:40], "more_body": True}]
    messages.append({"type": "http.request", "body": body[40:], "more_body": False})

    async def receive() -> dict:
        return messages.pop(0)

    asyncio.run(Nameless(app)(scope, receive, None))  # type: ignore[arg-type]
    return b"".join(got)


def test_only_uploads_are_touched() -> None:
    body = multipart(("Jane Doe.dcm", b"film"))
    headers = [(b"content-type", b"multipart/form-data; boundary=xYzZY")]
    upload = {"type": "http", "path": "/gradio_api/upload", "headers": headers}
    assert b"Jane" not in through(upload, body)
    assert through({**upload, "path": "/gradio_api/queue/join"}, body) == body
    assert through({**upload, "headers": []}, body) == body


@pytest.mark.parametrize("kind", ["xboundary=a; boundary=xYzZY", 'x="boundary=a"; boundary="xYzZY"'])
def test_the_boundary_is_the_one_that_gradio_reads(kind: str) -> None:
    headers = [(b"content-type", f"multipart/form-data; {kind}".encode())]
    upload = {"type": "http", "path": "/gradio_api/upload", "headers": headers}
    assert b"Jane" not in through(upload, multipart(("Jane Doe.dcm", b"film")))


def desk() -> Desk:
    result = Bands()(FILM)
    found = Answer(
        "bands",
        pack(result.masks),
        result.levels,
        1.25,
        "cpu",
        {"name": "bands"},
        np.rint(result.probabilities * 255).astype(np.uint8),
        BoneMap(np.minimum(result.probabilities.sum(0), 1).astype(np.float32), result.fit),
    )
    return Desk(FILM, "token", found=found)


def test_every_array_is_the_one_of_the_command_line() -> None:
    expected = to_array(bands())
    assert np.array_equal(np.load(io.BytesIO(takeaway.npy(desk()))), expected)
    packed = np.load(io.BytesIO(takeaway.npz(desk())))
    assert np.array_equal(packed["masks"], expected)
    assert tuple(packed["channels"]) == CHANNELS
    assert not packed["corrected"]
    stored = scipy.io.loadmat(io.BytesIO(takeaway.mat(desk())))["label_separated"]
    assert np.array_equal(stored, expected)


def test_pictures_are_the_overlay_and_the_labels() -> None:
    drawn = cv2.imdecode(np.frombuffer(takeaway.picture(desk()), np.uint8), cv2.IMREAD_COLOR_RGB)
    assert drawn is not None
    assert np.array_equal(drawn, overlay(FILM, bands()))
    labels = cv2.imdecode(np.frombuffer(takeaway.labels(desk()), np.uint8), cv2.IMREAD_UNCHANGED)
    assert labels is not None
    assert np.array_equal(labels == 3, bands()[2])


def test_report_says_all_and_names_nobody() -> None:
    report = json.loads(takeaway.report(desk()))
    assert report["film"]["rows"] == 70
    assert report["film"]["spacing"]["plane"] == "detector"
    assert report["levels"]["verdict"] == "sure"
    assert report["corrected"] is None
    assert report["vertebrae"]["L1"] == {
        "pixels": 128,
        "centre_row_column": [5.5, 12.5],
        "box_rows": [2, 10],
        "box_columns": [5, 21],
    }
    assert set(report["measurements"]["left_out"]) == {"L1", "L2", "L3", "L4", "L5", "S1"}, "bars are no bodies"
    assert report["model"] == {"name": "bands"}
    assert "not for diagnosis" in report["use"]
    assert "token" not in json.dumps(report)


@pytest.mark.parametrize("kind", takeaway.KINDS)
def test_corrected_exports_carry_it_and_say_so(kind: str) -> None:
    plain, corrected = desk(), replace(desk(), correction=Correction(1, frozenset({2})))
    assert "corrected" not in takeaway.file(plain, kind)["ending"]
    file = takeaway.file(corrected, kind)
    assert file["ending"].startswith("-corrected")
    assert base64.b64decode(file["content"]) != takeaway.KINDS[kind][0](plain)


def test_corrected_array_and_report() -> None:
    corrected = replace(desk(), correction=Correction(1, frozenset({2})))
    array = np.load(io.BytesIO(takeaway.npy(corrected)))
    assert np.array_equal(array, to_array(unpack(Correction(1, frozenset({2})).applied(pack(bands())))))
    assert np.load(io.BytesIO(takeaway.npz(corrected)))["corrected"]
    said = json.loads(takeaway.report(corrected))["corrected"]
    assert said["names moved down the spine by"] == 1
    assert said["left out (the model's names)"] == ["L3"]


def test_a_zip_s_entry_inflates_to_the_file() -> None:
    entry = takeaway.zip_entry(desk(), "npy")
    content = zlib.decompress(base64.b64decode(entry["content"]), -zlib.MAX_WBITS)
    assert content == takeaway.npy(desk())
    assert (entry["size"], entry["crc"], entry["ending"]) == (len(content), zlib.crc32(content), ".npy")


def test_nothing_to_take_is_said() -> None:
    with pytest.raises(BadInput, match="press Segment first"):
        takeaway.file(Desk(FILM, "token"), "npz")
    with pytest.raises(BadInput, match="Expected one of npy"):
        takeaway.file(desk(), "../../secret")


def test_mat_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    takeaway.mat(desk())
    assert list(tmp_path.iterdir()) == []
