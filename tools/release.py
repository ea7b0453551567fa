"""Release what is committed: one version number, a dated entry in the CHANGELOG, a commit and a tag. Nothing is pushed.

Usage: python -m tools.release 0.4.0
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
INIT, CITATION, CHANGES = "spineseg/__init__.py", "CITATION.cff", "CHANGELOG.md"
TESTS = ("make", "test")
_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
_UNRELEASED = re.compile(r"^## Unreleased\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)


class NotReleased(ValueError):
    """One sentence: what is in the way, and what to do."""


def release(root: Path, version: str, today: date, tests: Sequence[str] = TESTS) -> str:
    """The tag that was made. Raises NotReleased, and then leaves the files as they were."""
    if _git(root, "status", "--porcelain"):
        raise NotReleased("the tree has changes; commit or discard them")
    before = {name: (root / name).read_text(encoding="utf-8") for name in (INIT, CITATION, CHANGES)}
    tag = f"v{version}"
    if _git(root, "tag", "--list", tag):
        raise NotReleased(f"the tag {tag} exists; choose another version")
    _write(root, released(before, version, today))
    if subprocess.run(tests, cwd=root, check=False).returncode:
        _write(root, before)
        raise NotReleased("the tests fail; mend them")
    _git(root, "commit", "--quiet", "--all", "--message", f"Release {version}")
    _git(root, "tag", "--annotate", tag, "--message", f"spineseg {version}")
    return tag


def released(files: Mapping[str, str], version: str, today: date) -> dict[str, str]:
    """The three files with the new version. Raises NotReleased for a version or CHANGELOG that is none."""
    if not _VERSION.fullmatch(version):
        raise NotReleased(f"{version} is no version; write it as 0.4.0")
    stated = re.search(r'^__version__ = "(.*)"$', files[INIT], re.MULTILINE)
    if stated is None or _numbers(version) <= _numbers(stated[1]):
        raise NotReleased(f"{version} is not above the present version; choose a higher one")
    entry = _UNRELEASED.search(files[CHANGES])
    if entry is None or not entry[1].strip():
        raise NotReleased("the CHANGELOG has nothing under Unreleased; write what users notice")
    heading = f"## Unreleased\n\n## {version} ({today.isoformat()})\n{entry[1]}"
    return {
        INIT: files[INIT].replace(stated[0], f'__version__ = "{version}"'),
        CITATION: re.sub(r"^version: .*$", f"version: {version}", files[CITATION], flags=re.MULTILINE),
        CHANGES: files[CHANGES].replace(entry[0], heading, 1),
    }


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _write(root: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (root / name).write_text(text, encoding="utf-8", newline="\n")


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True).stdout.strip()


def main(arguments: Sequence[str] | None = None) -> int:
    """Release, and say how to publish it; 1 where something is in the way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version", help="such as 0.4.0")
    try:
        tag = release(ROOT, parser.parse_args(arguments).version, datetime.now(UTC).date())
    except NotReleased as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    print(f"tagged {tag}; publish it with: git push --follow-tags")
    return 0


if __name__ == "__main__":
    sys.exit(main())
