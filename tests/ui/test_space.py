"""What is sent to a Space: exactly what the page needs, of what git tracks, within the limits."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

import pytest

from tools import publish_space as space

ROOT = Path(__file__).parents[2]


def tracked() -> list[str]:
    return [
        str(path.relative_to(ROOT).as_posix())
        for folder in ("spineseg", "checkpoints", "examples", "docs", "experiments", "tests", "benchmarks")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ] + [path.name for path in ROOT.iterdir() if path.is_file()]


def test_dry_run_lists_what_the_page_needs_and_asks_nobody(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(space, "send", lambda *args, **kwargs: pytest.fail("a dry run sends nothing"))
    assert space.main(["ann/spine", "--model", "ann/weights", "--dry-run"], tracked()) == 0
    said = capsys.readouterr().out
    for name in (
        "app.py",
        "spineseg/ui/static/viewer-2-draw.js",
        "checkpoints/spineseg.safetensors",
        "examples/",
        "README.md",
    ):
        assert name in said
    model = said.partition("model ann/weights:")[2]
    assert all(name in model for name in ("model.safetensors", "model.json", "README.md"))
    assert "nothing was sent" in said
    for name in ("tests/", "benchmarks/", "Makefile", "__pycache__"):
        assert name not in said


def test_sizes_and_front_matter_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "big.bin"
    path.write_bytes(bytes(100))
    file = space.File(path, "big.bin")
    assert space.complaints([file]) == []
    monkeypatch.setattr(space, "MOST_BYTES", 50)
    assert "expected at most" in space.complaints([file])[0]
    monkeypatch.setattr(space, "LARGE_BYTES", 50)
    assert "LFS" in space.listing("space a/b", {"big.bin": 100})
    assert len(space.complaints([], "# no front matter")) == len(space.FRONT_MATTER)


def test_what_the_readme_links_to_is_sent() -> None:
    links = re.findall(r"\]\(([^)#:]+)[^):]*\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(links) > 10
    assert set(links) <= {file.name for file in space.space_files(tracked())}


def test_readme_has_the_front_matter_of_a_space() -> None:
    assert space.complaints([], (ROOT / "README.md").read_text(encoding="utf-8")) == []


def test_sdk_version_is_the_one_that_is_installed() -> None:
    readme, pins = (ROOT / "README.md").read_text(), (ROOT / "requirements.txt").read_text()
    version = next(line.split(":")[1].strip() for line in readme.splitlines() if line.startswith("sdk_version"))
    assert f"gradio=={version}" in pins


def test_a_missing_model_ends_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gone = str(tmp_path / "gone.safetensors")
    assert space.main(["ann/spine", "--model", "ann/weights", "--checkpoint", gone, "--dry-run"], tracked()) == 1
    said = capsys.readouterr()
    assert "gone.safetensors are missing" in said.err
    assert not said.out, "nothing is listed as if it would be sent"


def test_dockerfile_sends_only_what_runs() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "*", "all is left out but what is named"
    docker = (ROOT / "Dockerfile").read_text()
    for source in ("requirements.txt", "app.py", "spineseg", "checkpoints", "examples"):
        assert f"!{source}" in ignored
        assert source in docker
    assert "USER spineseg" in docker, "not as root"


@pytest.fixture
def spaces_log(tmp_path: Path) -> str:
    """What the program says on a Space without a GPU, from its start until it has answered and was stopped."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    kept = {name: value for name, value in os.environ.items() if name not in ("GRADIO_TEMP_DIR", "SPACES_ZERO_GPU")}
    on_space = {"SYSTEM": "spaces", "SPACE_ID": "ann/spine", "TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    # What the garbage collector finds left open is said, on every version of Python.
    command = [sys.executable, "-W", "always::ResourceWarning", "app.py", f"--port={port}"]
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env={**kept, **on_space}, **options) as program:
        assert program.stdout
        said = ""
        while f":{port}/" not in said and (line := program.stdout.readline()):
            said += line
        build_opener(ProxyHandler({})).open(f"http://127.0.0.1:{port}/", timeout=60).close()
        program.terminate()
        return said + program.communicate(timeout=60)[0]


def test_a_space_s_log_has_one_line(spaces_log: str) -> None:
    assert re.fullmatch(r"spineseg is at http://127\.0\.0\.1:\d+/ \(Ctrl\+C stops it\)\n", spaces_log)
