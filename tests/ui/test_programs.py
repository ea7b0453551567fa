"""What programs may call: `/measure` as the command line measures, its documentation, and both events as MCP tools."""

from __future__ import annotations

import importlib.util
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ui_fakes import FILM, Bands, read_label
from ui_server import DIRECT, ask, call, running, stored, upload

from spineseg.cli import main
from spineseg.film import BadInput
from spineseg.inference.segmenter import Segmenter
from spineseg.io.isolation import read_film_isolated
from spineseg.ui import mcp_tools, texts
from spineseg.ui.page import build_page

ROOT = Path(__file__).parents[2]
CHECKPOINT = ROOT / "checkpoints" / "spineseg.safetensors"
EXAMPLE = min((ROOT / "examples").glob("*.dcm"))
with_mcp = pytest.mark.skipif(importlib.util.find_spec("mcp") is None, reason="needs the extra gradio[mcp]")


@pytest.fixture(scope="module")
def served(uploads: Path) -> Iterator[str]:
    page = build_page({"spineseg": Segmenter.load(CHECKPOINT, "cpu")}, read_film_isolated, read_label)
    with running(page=page) as address:
        yield address


def test_measure_answers_what_the_command_line_writes(served: str, tmp_path: Path) -> None:
    assert main(["predict", str(EXAMPLE), "--out", str(tmp_path), "--measure", "--device", "cpu"]) == 0
    written = json.loads((tmp_path / f"{EXAMPLE.stem}.json").read_text(encoding="utf-8"))
    assert written.pop("film") == EXAMPLE.stem
    ended, (answer,) = call(served, "measure", upload(served, EXAMPLE.read_bytes()), "", False)
    assert (ended, answer) == ("complete", written)
    assert {"value", "unit", "error"} <= next(iter(answer["figures"].values())).keys()


def test_gradios_own_page_of_the_api_says_what_is_taken_and_answered(served: str) -> None:
    events = json.loads(ask(f"{served}/gradio_api/info")[1])["named_endpoints"]
    assert list(events) == ["/segment", "/measure"]
    for event in events.values():
        assert [parameter["parameter_name"] for parameter in event["parameters"]] == ["film", "model", "invert"]
        assert [parameter["parameter_has_default"] for parameter in event["parameters"]] == [False, True, True]
        said = " ".join([event["description"], *(parameter["label"] for parameter in event["parameters"])])
        for word in ("not for diagnosis", "DICOM", "inverted grayscale"):
            assert word in said
    assert ".npy" in events["/segment"]["returns"][0]["label"]
    assert "units and errors" in events["/measure"]["returns"][0]["label"]


# ---- MCP ----


def tell(page: str, method: str, **parameters: Any) -> dict[str, Any]:
    """What an MCP server answers to a request."""
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
    accepted = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    request = urllib.request.Request(f"{page}/gradio_api/mcp/", json.dumps(body).encode(), accepted)
    with DIRECT.open(request, timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    return json.loads(next(line for line in lines if line.startswith("data: ")).removeprefix("data: "))["result"]


@pytest.fixture(scope="module")
def tools(uploads: Path) -> Iterator[str]:
    page = build_page({"bands": Bands()}, lambda path: FILM, read_label)
    with running(page=page, mcp=True) as address:
        yield address


@with_mcp
def test_tools_are_the_public_events_and_answer_as_they_do(tools: str, uploads: Path) -> None:
    names = [tool["name"] for tool in tell(tools, "tools/list")["tools"]]
    assert names == ["segment_file", "measure_file"]
    film = f"{tools}/gradio_api/file={upload(tools, b'film')['path']}"
    measured = tell(tools, "tools/call", name="measure_file", arguments={"film": film})
    assert not measured.get("isError")
    expected = call(tools, "measure", upload(tools, b"film"), "", False)[1][0]
    assert json.loads(measured["content"][0]["text"]) == expected
    film = f"{tools}/gradio_api/file={upload(tools, b'film')['path']}"
    segmented = tell(tools, "tools/call", name="segment_file", arguments={"film": film})["content"][0]["text"]
    assert ask(segmented)[1].startswith(b"\x93NUMPY")
    assert not [path for path in stored(uploads) if path.read_bytes() == b"film"]


@with_mcp
@pytest.mark.parametrize(
    "film",
    ["/etc/passwd", "data:application/dicom;base64,AAAA", "file:///etc/passwd", "http://127.0.0.1:1/film", "{page}/x"],
)
def test_tools_fetch_nothing_and_read_no_other_file(tools: str, uploads: Path, film: str) -> None:
    before = stored(uploads)
    answer = tell(tools, "tools/call", name="segment_file", arguments={"film": film.replace("{page}", tools)})
    assert answer["isError"]
    said = answer["content"][0]["text"]
    assert said in (texts.MCP_FILE, texts.UPLOAD_GONE.format("a film"))
    assert stored(uploads) == before


def test_without_the_option_there_are_no_tools(served: str) -> None:
    assert ask(f"{served}/gradio_api/mcp/", b"{}")[0] == 404


def test_tools_that_cannot_be_offered_are_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"^expected .* found none; pip install"):
        mcp_tools.require_mcp(None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    with pytest.raises(BadInput, match=r"^expected --mcp without a login"):
        mcp_tools.require_mcp(("a", "twelve signs"))
    mcp_tools.require_mcp(None)
