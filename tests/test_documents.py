"""What the pages say exists: links, paths, commands with their options, one version number."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import spineseg
from spineseg import cli
from spineseg.ui import launch as app

ROOT = Path(__file__).parents[1]
README, CHANGELOG = ROOT / "README.md", ROOT / "CHANGELOG.md"
PAGES = sorted(
    path
    for folder in (".", "docs", "experiments", ".github")
    for path in (ROOT / folder).glob("*.md" if folder == "." else "**/*.md")
)
HISTORY = ("LOG.md", "CHANGELOG.md")
"""They may name what is no longer there."""
CURRENT = [path for path in PAGES if path.name not in HISTORY]

LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")
FOLDERS = "spineseg|docs|tests|tools|benchmarks|experiments|checkpoints|runs|examples"
PATH = re.compile(rf"`((?:{FOLDERS})/[\w./*-]*)`")
MADE_HERE = re.compile(r'title="([^"]+)"')
"""A file that a worked example writes or changes itself."""
MODULE = re.compile(r"python -m ((?:tools|benchmarks|experiments)[\w.]*)")
COMMAND = re.compile(r"(?:(?:python -m |^|`)spineseg ([a-z-]+)|python (app\.py))([^\n`#]*)", re.MULTILINE)
OPTION = re.compile(r"--[a-z][\w.-]*")


def dead_links(page: Path, text: str) -> list[str]:
    return [target for target in LINK.findall(text) if not (page.parent / target).exists()]


def missing_paths(text: str) -> list[str]:
    made = set(MADE_HERE.findall(text))
    return [name for name in PATH.findall(text) if name not in made and not list(ROOT.glob(name.rstrip("/")))]


def missing_modules(text: str) -> list[str]:
    places = {name: ROOT / name.replace(".", "/") for name in MODULE.findall(text)}
    return [n for n, p in places.items() if not p.with_suffix(".py").is_file() and not (p / "__main__.py").is_file()]


def commands(text: str) -> list[tuple[str, list[str]]]:
    """Each command of spineseg, or app.py, with the options that it is given."""
    found = COMMAND.findall(text.replace("\\\n", " "))
    return [(command or program, OPTION.findall(rest)) for command, program, rest in found]


def identified(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.fixture(scope="module")
def options() -> dict[str, set[str]]:
    """Options of each command, as its help lists them; filled by `known`."""
    return {}


def known(command: str, options: dict[str, set[str]], capsys: pytest.CaptureFixture[str]) -> set[str]:
    if command not in options:
        with pytest.raises(SystemExit) as ended:
            app.main(["--help"]) if command == "app.py" else cli.main([command, "--help"])
        text = capsys.readouterr().out
        assert ended.value.code == 0
        assert command == "app.py" or text.startswith(f"usage: spineseg {command} "), "no such command"
        options[command] = set(OPTION.findall(text))
    return options[command]


@pytest.mark.parametrize("page", PAGES, ids=identified)
def test_links_lead_somewhere(page: Path) -> None:
    assert dead_links(page, page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("page", CURRENT, ids=identified)
def test_paths_and_modules_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert missing_paths(text) + missing_modules(text) == []


@pytest.mark.parametrize("page", CURRENT, ids=identified)
def test_commands_have_the_options_that_they_are_given(
    page: Path, options: dict[str, set[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    text = page.read_text(encoding="utf-8")
    if MADE_HERE.search(text):
        pytest.skip("a worked example, whose commands are run")
    for command, given in commands(text):
        assert set(given) <= known(command, options, capsys), command


def test_what_is_missing_is_found() -> None:
    assert dead_links(README, "[a](docs/README.md) [b](docs/none.md) [c](https://host/none.md)") == ["docs/none.md"]
    assert missing_paths("`docs/` `docs/*.md` `spineseg/none.py`") == ["spineseg/none.py"]
    assert missing_paths('```python title="spineseg/none.py"\n``` `spineseg/none.py`') == []
    assert missing_modules("python -m tools.release and python -m tools.none") == ["tools.none"]
    assert commands("python -m spineseg check A \\\n  --json B  # --c\n") == [("check", ["--json"])]
    assert commands("`spineseg app --port 1`\nspineseg push --b\nof spineseg here") == [
        ("app", ["--port"]),
        ("push", ["--b"]),
    ]


def places() -> list[tuple[str, list[str]]]:
    """File or folder and names of each row of the table in CONTRIBUTING."""
    table = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Where is")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| [^|]+ \| `([^`]+)` \| ([^|]*)\|$", table, re.MULTILINE)
    return [(place, re.findall(r"`(\w+)`", names)) for place, names in rows]


@pytest.mark.parametrize(("place", "names"), places())
def test_contributing_sends_people_to_the_right_file(place: str, names: list[str]) -> None:
    files = [ROOT / place] if place.endswith(".py") else (ROOT / place).rglob("*.py")
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    assert [name for name in names if not re.search(rf"^ *(def |class |){name}\b *[(:=]", text, re.MULTILINE)] == []


def test_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 120


def test_the_korean_readme_states_no_other_figures_and_commands_than_the_english_one() -> None:
    english, korean = (path.read_text(encoding="utf-8") for path in (README, ROOT / "README.ko.md"))
    figures = re.compile(r"\d+\.\d+")
    assert set(figures.findall(korean)) <= set(figures.findall(english))
    assert [shell for shell in commands(korean) if shell not in commands(english)] == []


@pytest.mark.parametrize("command", ["make app", "make test"])
def test_readme_has_the_two_commands(command: str) -> None:
    assert re.search(rf"^{command}\b", README.read_text(encoding="utf-8"), re.MULTILINE)


def test_index_lists_every_page() -> None:
    folder = ROOT / "docs"
    found = [page for kind in ("*.md", "*.ipynb") for page in folder.rglob(kind)]
    pages = {page.relative_to(folder).as_posix() for page in found} - {"README.md", "style.md"}
    assert pages <= set(LINK.findall((folder / "README.md").read_text(encoding="utf-8")))


def test_citation_has_the_version() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8").splitlines()
    assert f"version: {spineseg.__version__}" in citation


def test_newest_release_in_the_changelog_is_the_version() -> None:
    released = re.findall(r"^## (\d+\.\d+\.\d+) \(\d{4}-\d\d-\d\d", CHANGELOG.read_text(encoding="utf-8"), re.MULTILINE)
    assert released[0] == spineseg.__version__
    assert released == sorted(released, key=lambda version: [int(part) for part in version.split(".")], reverse=True)
