"""The pages of docs/how-to work: the blocks of each are carried out, in order, on a copy of the package."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    page for page in sorted((ROOT / "docs" / "how-to").glob("*.md")) if "title=" in page.read_text(encoding="utf-8")
]
BLOCK = re.compile(r'^```(\w*)(?: title="([^"\n]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
COPIED = ("spineseg", "checkpoints", "examples", "app.py", "pyproject.toml", "requirements.txt", "README.md")
TIMEOUT_S = 300


def apply_page(page: str, folder: Path) -> None:
    """Carry out every fenced block in this folder. Raises AssertionError with the text of a block that fails."""
    blocks = BLOCK.findall(page)
    assert blocks and 2 * len(blocks) == len(re.findall("^```", page, re.MULTILINE)), "a fence is open or malformed"
    for language, title, text in blocks:
        apply_block(language, title, text, folder)


def apply_block(language: str, title: str, text: str, folder: Path) -> None:
    """With a title, `python` writes a file and `diff` edits it; without, `sh` and `python` run. `text` does nothing."""
    path = folder / title
    if language == "python" and title:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    elif language == "diff" and title:
        path.write_text(patched(path.read_text(encoding="utf-8"), text), encoding="utf-8")
    elif language == "sh":
        run(["bash", "-euc", f'python() {{ {shlex.quote(sys.executable)} "$@"; }}\n{text}'], folder)
    elif language == "python":
        run([sys.executable, "-c", text], folder)
    else:
        assert language == "text", f"no such block: {language} {title}\n{text}"


def patched(source: str, block: str) -> str:
    """The source with the `-` lines of a block replaced by its `+` lines. The block must match exactly once."""
    lines = block.splitlines()
    assert all(line[:1] in ("", " ", "-", "+") for line in lines), f"lines begin with a space, - or +:\n{block}"
    old, new = ("".join(line[1:] + "\n" for line in lines if line[:1] != sign) for sign in "+-")
    matches = [match.start() for match in re.finditer(f"^(?={re.escape(old)})", source, re.MULTILINE)]
    assert old and len(matches) == 1, f"{len(matches)} matches, expected 1:\n{block}"
    return source[: matches[0]] + new + source[matches[0] + len(old) :]


def run(command: list[str], folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page(page: Path, tmp_path: Path) -> None:
    for source in (ROOT / name for name in COPIED):
        if source.is_dir():
            shutil.copytree(source, tmp_path / source.name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tmp_path)
    apply_page(page.read_text(encoding="utf-8"), tmp_path)


FILE = '```python title="a/one.py"\nx = 1\nx = 1\n\ny = 1\n```\n'


@pytest.mark.parametrize(
    ("page", "message"),
    [
        (FILE + '```diff title="a/one.py"\n-x = 1\n+x = 2\n```\n', "2 matches, expected 1"),
        (FILE + '```diff title="a/one.py"\n+x = 2\n```\n', "expected 1"),
        (FILE + "```python\nfrom a.one import x\nassert x == 2\n```\n", "assert x == 2"),
        ("```pyhton\nassert True\n```\n", "no such block: pyhton"),
        ("```sh\ntrue\n", "a fence is open or malformed"),
    ],
)
def test_page_that_does_not_work_fails(page: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=message):
        apply_page(page, tmp_path)
