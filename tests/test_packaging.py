"""What a newcomer, a Space and CI rely on: pins, versions, a light import, a tidy tree, `make` saying what lacks."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
REQUIREMENTS = ("requirements.txt", "requirements-test.txt")
PIN = re.compile(r"(?P<name>[A-Za-z0-9_-]+)(\[[a-z,]+\])?==[0-9][0-9.]*")

# Where the name that is imported is not the name that is installed.
INSTALLED_AS = {"cv2": "opencv-python-headless", "PIL": "pillow", "python_multipart": "python-multipart"}

# A folder that exists on one person's machine only.
PRIVATE_PATH = re.compile(rb"(?<![\w.:/-])(/(?:work|root|home/\w+|Users/\w+)/|[A-Z]:\\+Users\\)")


def lines(name: str) -> list[str]:
    text = (ROOT / name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def pyproject() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def tracked() -> list[Path]:
    """Files that git keeps or would add; skips where the code came without its history."""
    if not (shutil.which("git") and (ROOT / ".git").exists()):
        pytest.skip("needs a git checkout")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [path for name in listing.split("\0") if name and (path := ROOT / name).is_file()]


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_every_requirement_is_one_exact_version(name: str) -> None:
    assert [line for line in lines(name) if not PIN.fullmatch(line) and line != "-r requirements.txt"] == []


def test_torch_is_the_agreed_version() -> None:
    assert "torch==2.13.0" in lines("requirements.txt")


def test_test_requirements_build_on_the_program_s() -> None:
    assert lines("requirements-test.txt")[0] == "-r requirements.txt"
    names = [[match["name"].lower() for line in lines(n) if (match := PIN.fullmatch(line))] for n in REQUIREMENTS]
    assert not set(names[0]) & set(names[1])


def test_all_that_the_program_imports_is_required() -> None:
    nodes = [
        node
        for path in [*(ROOT / "spineseg").rglob("*.py"), *ROOT.glob("app.py")]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    ]
    imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    outside = {name.split(".")[0] for name in imported} - sys.stdlib_module_names - {"spineseg"}
    required = {match["name"].lower() for line in lines("requirements.txt") if (match := PIN.fullmatch(line))}
    extras = pyproject()["project"]["optional-dependencies"].values()
    required |= {line.partition("==")[0] for extra in extras for line in extra}
    assert {name for name in outside if INSTALLED_AS.get(name, name).lower() not in required} == set()


def test_metadata_has_each_fact_in_one_place() -> None:
    dynamic = pyproject()["tool"]["setuptools"]["dynamic"]
    assert dynamic["version"] == {"attr": "spineseg.__version__"}
    assert dynamic["dependencies"] == {"file": ["requirements.txt"]}


def test_python_versions_agree() -> None:
    assert pyproject()["project"]["requires-python"] == ">=3.11,<3.14"
    assert "(3, 11) <= sys.version_info[:2] <= (3, 13)" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_import_is_light() -> None:
    loaded = run_python("import spineseg, sys; print(*sorted(name.split('.')[0] for name in sys.modules))").split()
    assert not {"torch", "SimpleITK", "pydicom", "scipy", "cv2", "gradio"} & set(loaded)


def test_film_is_light_too() -> None:
    loaded = run_python("from spineseg import Film, VERTEBRAE; import sys; print(*sys.modules)").split()
    assert not {"torch", "SimpleITK", "gradio"} & set(loaded)


def test_five_names_and_no_more() -> None:
    import spineseg

    assert sorted(spineseg.__all__) == ["Film", "Segmenter", "VERTEBRAE", "read_film", "to_array"]
    assert all(hasattr(spineseg, name) for name in spineseg.__all__)
    assert set(spineseg.__all__) <= set(dir(spineseg))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = spineseg.no_such_name


@pytest.mark.parametrize(
    "name",
    [
        *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LOG.md", "LICENSE", "CITATION.cff", "Makefile", ".ci/run"),
        *("app.py", "spineseg/ui", "checkpoints", "runs"),
    ],
)
def test_tree_has(name: str) -> None:
    assert (ROOT / name).exists()


def test_no_path_of_one_person_s_machine() -> None:
    assert [str(path) for path in tracked() if PRIVATE_PATH.search(path.read_bytes())] == []


@pytest.mark.parametrize(
    ("text", "found"),
    [("see {}home/ann/x.dcm", True), ("{}root/x", True), ("https://host{}work/x", False), ("films{}root/x", False)],
)
def test_private_path_is_recognised(text: str, found: bool) -> None:
    assert bool(PRIVATE_PATH.search(text.format("/").encode())) is found


def make(target: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs a copy of the Makefile in an empty folder."""
    if sys.platform != "linux" or not shutil.which("make"):
        pytest.skip("needs make on Linux")
    shutil.copy(ROOT / "Makefile", folder)
    command = ["make", target, *(f"{name}={value}" for name, value in variables.items())]
    # Without the variables by which the make that runs these tests speaks to its children.
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "SPINESEG_"))}
    return subprocess.run(command, cwd=folder, env=environment, check=False, capture_output=True, text=True)


def test_make_names_the_package_where_no_python_fits(tmp_path: Path) -> None:
    done = make("app", tmp_path, PYTHONS="no-such-python")
    assert done.returncode != 0
    assert re.search(r"sudo apt-get install -y python3[.\d]*-venv$", done.stdout, re.MULTILINE)
    assert not (tmp_path / ".venv").exists()


def test_make_names_the_package_where_venv_is_missing(tmp_path: Path) -> None:
    bare = tmp_path / "python3.99"
    bare.write_text('#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\n', encoding="utf-8")
    bare.chmod(0o755)
    done = make("app", tmp_path, PYTHONS="./python3.99")
    assert done.returncode != 0
    assert "sudo apt-get install -y python3.99-venv" in done.stdout


def test_make_names_the_package_where_the_browser_is_missing(tmp_path: Path) -> None:
    done = make("test", tmp_path, BROWSERS="no-such-browser")
    assert done.returncode != 0
    assert re.search(r"sudo apt-get install -y chromium(-browser)?$", done.stdout, re.MULTILINE)
