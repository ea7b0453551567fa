"""What is sent to a Space: exactly what the page needs, of what git tracks, within the limits."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import publish_space as space

ROOT = Path(__file__).parents[2]


def tracked() -> list[str]:
    return [
        str(path.relative_to(ROOT).as_posix())
        for folder in ("spineseg", "checkpoints", "examples", "tests", "benchmarks")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ] + ["README.md", "app.py", "requirements.txt", "Makefile", "LICENSE"]


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
    assert said.err.startswith("expected ") and "found none" in said.err
    assert not said.out, "nothing is listed as if it would be sent"


def test_dockerfile_sends_only_what_runs() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "*", "all is left out but what is named"
    docker = (ROOT / "Dockerfile").read_text()
    for source in ("requirements.txt", "app.py", "spineseg", "checkpoints", "examples"):
        assert f"!{source}" in ignored
        assert source in docker
    assert "USER spineseg" in docker, "not as root"
