"""A release in a repository of its own: what it changes, and what stops it."""

from __future__ import annotations

import shutil
import subprocess
from datetime import date
from pathlib import Path

import pytest

from tools.release import NotReleased, release

TODAY = date(2027, 1, 31)
CHANGES = "# Changes\n\n## Unreleased\n\n- A new thing.\n\n## 0.3.0 (2026-11-27)\n\n- An old thing.\n"
PASS, FAIL = ("true",), ("false",)


def git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A committed tree of the three files that a release writes."""
    if not shutil.which("git"):
        pytest.skip("needs git")
    (tmp_path / "spineseg").mkdir()
    (tmp_path / "spineseg" / "__init__.py").write_text('"""Doc."""\n\n__version__ = "0.3.0"\n')
    (tmp_path / "CITATION.cff").write_text("cff-version: 1.2.0\nversion: 0.3.0\nlicense: Apache-2.0\n")
    (tmp_path / "CHANGELOG.md").write_text(CHANGES)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "config", "user.name", "A tester")
    git(tmp_path, "config", "user.email", "tester@example.org")
    commit(tmp_path)
    return tmp_path


def commit(root: Path) -> None:
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--allow-empty", "--message", "A commit")


def test_release_writes_the_version_once_for_all_and_tags_it(root: Path) -> None:
    assert release(root, "0.4.0", TODAY, PASS) == "v0.4.0"
    assert (root / "spineseg" / "__init__.py").read_text() == '"""Doc."""\n\n__version__ = "0.4.0"\n'
    assert (root / "CITATION.cff").read_text() == "cff-version: 1.2.0\nversion: 0.4.0\nlicense: Apache-2.0\n"
    assert (root / "CHANGELOG.md").read_text() == CHANGES.replace(
        "## Unreleased\n", "## Unreleased\n\n## 0.4.0 (2027-01-31)\n"
    )
    assert git(root, "status", "--porcelain") == ""
    assert git(root, "rev-parse", "v0.4.0^{commit}") == git(root, "rev-parse", "HEAD")
    assert git(root, "log", "-1", "--format=%s") == "Release 0.4.0"


def test_a_second_release_needs_an_entry_of_its_own(root: Path) -> None:
    release(root, "0.4.0", TODAY, PASS)
    with pytest.raises(NotReleased, match="nothing under Unreleased"):
        release(root, "0.4.1", TODAY, PASS)


@pytest.mark.parametrize(
    ("version", "reason"),
    [("0.4", "no version"), ("v0.4.0", "no version"), ("0.3.0", "not above"), ("0.2.9", "not above")],
)
def test_a_version_that_is_none_is_refused(root: Path, version: str, reason: str) -> None:
    with pytest.raises(NotReleased, match=reason):
        release(root, version, TODAY, PASS)
    assert git(root, "tag") == ""


def test_a_tag_that_exists_and_uncommitted_changes_are_refused(root: Path) -> None:
    git(root, "tag", "v0.4.0")
    with pytest.raises(NotReleased, match="exists"):
        release(root, "0.4.0", TODAY, PASS)
    (root / "new.txt").write_text("not committed")
    with pytest.raises(NotReleased, match="changes"):
        release(root, "0.4.1", TODAY, PASS)


def test_failing_tests_leave_everything_as_it_was(root: Path) -> None:
    head = git(root, "rev-parse", "HEAD")
    with pytest.raises(NotReleased, match="tests fail"):
        release(root, "0.4.0", TODAY, FAIL)
    assert git(root, "status", "--porcelain") == ""
    assert git(root, "rev-parse", "HEAD") == head
