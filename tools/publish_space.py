"""Create or update a Hugging Face Space and the model repository that it is pinned to.

Usage: python -m tools.publish_space OWNER/SPACE [--model OWNER/MODEL --checkpoint FILE] [--dry-run]

Sends exactly what git tracks of what the page needs and its README links to, listed with sizes before anything is
sent; what the Space holds beside that is removed. With --dry-run it asks nobody and sends nothing. The token is
huggingface_hub's own (`hf auth login`).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from spineseg.film import BadInput
from spineseg.model.hub import prepare_upload, push

ROOT = Path(__file__).resolve().parents[1]
PAGES = (
    "README.md",
    "README.ko.md",
    "LICENSE",
    "CITATION.cff",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "LOG.md",
)
NEEDED = (*PAGES, "requirements.txt", "app.py")
FOLDERS = ("spineseg/", "checkpoints/", "examples/", "docs/", "runs/", "experiments/")
LARGE_BYTES = 10 * 2**20
"""A file above this must go through Git LFS or Xet, which huggingface_hub does by itself."""
MOST_BYTES = 1 * 2**30
"""A Space's repository may hold this much."""
FRONT_MATTER = (
    "sdk: gradio",
    "sdk_version:",
    'python_version: "3.12"',
    "app_file: app.py",
    "license:",
    "short_description:",
)


@dataclass(frozen=True)
class File:
    """One file to send: where it lies here, and under which name it goes."""

    path: Path
    name: str

    @property
    def size(self) -> int:
        """In bytes."""
        return self.path.stat().st_size


def space_files(tracked: Sequence[str], root: Path = ROOT) -> list[File]:
    """What the page needs, and its README links to, of the files that git tracks."""
    chosen = [name for name in tracked if name in NEEDED or name.startswith(FOLDERS)]
    return [File(root / name, name) for name in sorted(chosen) if (root / name).is_file()]


def complaints(files: Sequence[File], readme: str | None = None) -> list[str]:
    """Why these files cannot be sent, as sentences; empty where they can."""
    said: list[str] = []
    total = sum(file.size for file in files)
    if total > MOST_BYTES:
        said.append(f"expected at most {megabytes(MOST_BYTES)} in all, got {megabytes(total)}; leave something out")
    if readme is not None:
        head = readme.split("---")[1] if readme.startswith("---") else ""
        said += [
            f"expected `{line}` in README.md's front matter, found none; add it"
            for line in FRONT_MATTER
            if line not in head
        ]
    return said


def listing(repository: str, sizes: Mapping[str, int]) -> str:
    """A line for each file with its bytes, marked where it goes through LFS or Xet, and the sum."""
    lines = [f"{size:>10,}  {'LFS' if size > LARGE_BYTES else '   '}  {name}" for name, size in sizes.items()]
    return "\n".join([f"{repository}:", *lines, f"{sum(sizes.values()):>10,}       in {len(sizes)} files"])


def megabytes(size: int) -> str:
    """With one digit."""
    return f"{size / 2**20:.1f} MB"


def git_tracked() -> list[str]:
    """Names of the files that git tracks, from the root."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    return [name for name in done.stdout.split("\0") if name]


def send(space: str, files: Sequence[File], *, private: bool) -> str:
    """One commit that makes the Space hold these files and no others; returns the commit's hash."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api = HfApi()
    api.create_repo(space, repo_type="space", space_sdk="gradio", private=private, exist_ok=True)
    names = {file.name for file in files} | {".gitattributes"}
    there = api.list_repo_files(space, repo_type="space")
    gone = [CommitOperationDelete(name) for name in there if name not in names]
    added = [CommitOperationAdd(file.name, file.path) for file in files]
    return api.create_commit(space, [*added, *gone], commit_message="Update", repo_type="space").oid


def main(arguments: Sequence[str] | None = None, tracked: Sequence[str] | None = None) -> int:
    """List, check, and unless it is a dry run, send. 1 where something cannot be sent."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("space", metavar="OWNER/SPACE")
    parser.add_argument("--model", metavar="OWNER/MODEL", help="also put a checkpoint into this model repository")
    parser.add_argument("--checkpoint", type=Path, default=ROOT / "checkpoints" / "spineseg.safetensors")
    parser.add_argument("--private", action="store_true", help="for a repository that is newly made")
    parser.add_argument("--dry-run", action="store_true")
    chosen = parser.parse_args(arguments)
    files = space_files(git_tracked() if tracked is None else tracked)
    said = complaints(files, (ROOT / "README.md").read_text(encoding="utf-8"))
    try:
        model = prepare_upload(chosen.checkpoint, chosen.model, licence="apache-2.0") if chosen.model else None
    except BadInput as error:
        said.append(str(error))
    if said:
        print("\n".join(said), file=sys.stderr)
        return 1
    print(listing(f"space {chosen.space}", {file.name: file.size for file in files}))
    if model:
        print(listing(f"model {chosen.model}", model.sizes()))
    if chosen.dry_run:
        print("dry run: nothing was sent")
        return 0
    if model:
        revision = push(model, private=chosen.private)
        print(f"{revision}  (give this to SPINESEG_CHECKPOINT in the Space's settings)")
    print(f"space {chosen.space} is at commit {send(chosen.space, files, private=chosen.private)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
