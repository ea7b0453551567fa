"""What a newcomer, a Space and CI rely on: pins, versions, the built package, a tidy tree, `make` saying what lacks."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement

from spineseg import cli

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
    required |= {requirement.name for extra in extras().values() for requirement in extra}
    assert {name for name in outside if INSTALLED_AS.get(name, name).lower() not in required} == set()


def requirements(texts: Iterable[str]) -> list[Requirement]:
    return [Requirement(text) for text in texts if not text.startswith("-r")]


def extras() -> dict[str, list[Requirement]]:
    return {name: requirements(texts) for name, texts in pyproject()["project"]["optional-dependencies"].items()}


def test_ranges_and_pins_are_of_the_same_packages() -> None:
    ranges = requirements(pyproject()["project"]["dependencies"])
    assert [one.name for one in ranges] == [pin.name for pin in requirements(lines("requirements.txt"))]


def test_pins_lie_in_their_ranges() -> None:
    known = {one.name: one.specifier for one in requirements(pyproject()["project"]["dependencies"])}
    pins = {pin.name: str(pin.specifier).removeprefix("==") for pin in requirements(lines("requirements.txt"))}
    assert [pin for pin, version in pins.items() if version not in known[pin]] == []


def test_a_range_has_both_ends() -> None:
    every = [requirements(pyproject()["project"]["dependencies"]), *extras().values()]
    assert [str(one) for some in every for one in some if {s.operator for s in one.specifier} != {">=", "<"}] == []


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A wheel built from this tree, and one from the source distribution that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build"]
    subprocess.run([*build, "--directory", str(folder)], cwd=ROOT, check=True, capture_output=True)
    (wheel,), (source,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    subprocess.run([sys.executable, "-m", "tarfile", "--extract", str(source), str(folder / "source")], check=True)
    (unpacked,) = (folder / "source").iterdir()
    again = folder / "again"
    subprocess.run([*build, "--target", "wheel", "--directory", str(again)], cwd=unpacked, check=True)
    return wheel, again / wheel.name


def test_both_builds_hold_the_same(built: tuple[Path, Path]) -> None:
    """And all that lies in the package, the weights and the examples."""
    one, other = ({item.filename: item.CRC for item in ZipFile(path).infolist()} for path in built)
    assert one == other
    shipped = {f"spineseg/{path.relative_to(ROOT)}" for name in ("checkpoints", "examples") for path in files(name)}
    assert {name for name in one if ".dist-info/" not in name} == shipped | {
        str(path.relative_to(ROOT)) for path in files("spineseg")
    }


def files(folder: str) -> list[Path]:
    return [path for path in tracked() if (ROOT / folder) in path.parents]


def test_the_installed_package_works_from_any_folder(built: tuple[Path, Path], tmp_path: Path) -> None:
    home, out = tmp_path / "home", tmp_path / "out"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(home)]
    subprocess.run([*pip, str(built[0])], check=True, capture_output=True)
    environment = {**os.environ, "PYTHONPATH": str(home)}

    def spineseg(*arguments: str) -> str:
        command = [home / "bin" / "spineseg", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
        return done.stdout

    assert spineseg("--help").startswith("usage: spineseg ")
    film = ROOT / "examples" / "2-leaning.dcm"
    spineseg("predict", str(film), "--one-view", "--out", str(out))
    assert cli.main(["predict", str(film), "--one-view", "--out", str(tmp_path)]) == 0
    assert (out / "2-leaning.npy").read_bytes() == (tmp_path / "2-leaning.npy").read_bytes()
    where = "from spineseg.io.files import shipped; print(shipped('checkpoints'), shipped('examples'))"
    done = subprocess.run([sys.executable, "-c", where], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout.split() == [str(home / "spineseg" / name) for name in ("checkpoints", "examples")], "not ours"


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
    done = make("app", tmp_path, PYTHONS="./python3.99", UV="")
    assert done.returncode != 0
    assert "sudo apt-get install -y python3.99-venv" in done.stdout


def test_make_installs_with_uv_where_there_is_one(tmp_path: Path) -> None:
    uv, said = tmp_path / "uv", tmp_path / "said"
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    for program, text in ((uv, f'echo "$*" >> {said}; chmod +x {python}'), (python, f'exec {sys.executable} "$@"')):
        program.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    uv.chmod(0o755)
    shutil.copy(ROOT / "requirements.txt", tmp_path)
    for _ in range(2):
        make("app", tmp_path, UV=str(uv), PYTHONS=sys.executable)
    assert said.read_text(encoding="utf-8").splitlines() == [
        f"venv --quiet --seed --python {sys.executable} --clear .venv",
        "pip install --python .venv/bin/python --requirement requirements.txt",
    ]


@pytest.mark.parametrize(("ci", "status", "outcome"), [("", 0, "2 skipped"), ("true", 1, "2 errors")])
def test_without_a_browser_its_tests_are_skipped_but_in_ci(tmp_path: Path, ci: str, status: int, outcome: str) -> None:
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    (tmp_path / "test_page.py").write_text("def test_a(chromium): ...\ndef test_b(chromium): ...\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(tmp_path)]
    environment = {**os.environ, "PATH": "", "CI": ci, "PYTEST_ADDOPTS": ""}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == status and outcome in done.stdout.splitlines()[-1]
    assert len(re.findall(r"sudo apt-get install -y chromium(?:-browser)?$", done.stdout, re.MULTILINE)) == (not ci)
