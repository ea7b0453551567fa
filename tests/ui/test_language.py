from __future__ import annotations

import ast
import re
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ui_fakes import FILM, Bands, read_label

import spineseg
from spineseg.inference.verdict import VERDICTS
from spineseg.io.label_formats import formats
from spineseg.measure.figures import DEFINITIONS
from spineseg.ui import language, texts
from spineseg.ui.language import CONSTANTS, accepted, asked_for, catalogues, current, speaking, translated
from spineseg.ui.page import build_page
from spineseg.ui.viewer import SCRIPTS, asset

PACKAGE = Path(spineseg.__file__).parent
UI = PACKAGE / "ui"
OTHERS = [code for code in catalogues() if code != "en"]
ENGLISH = catalogues()["en"].sections
BRACES = re.compile(r"\{[^{}]*\}")
TAGS = re.compile(r"</?\w+>")

# ---- the files ----


def flat(section: dict[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    for key, text in section.items():
        each = {str(n): each for n, each in enumerate(text)} if isinstance(text, list) else text
        yield from flat(each, f"{path}{key}.") if isinstance(each, dict) else [(f"{path}{key}", each)]


def content(code: str) -> dict[str, Any]:
    """A file's texts by section."""
    read = tomllib.loads((UI / "languages" / f"{code}.toml").read_text("utf-8"))
    return {section: texts for section, texts in read.items() if section not in ("name", "sentences")}


@pytest.mark.parametrize("code", OTHERS)
def test_a_language_has_every_text_with_the_same_values_and_markup(code: str) -> None:
    own, english = (dict(flat(content(each))) for each in (code, "en"))
    assert own.keys() == english.keys()
    for key, text in english.items():
        assert text and own[key], key
        assert sorted(BRACES.findall(own[key])) == sorted(BRACES.findall(text)), key
        assert sorted(TAGS.findall(own[key])) == sorted(TAGS.findall(text)), key


@pytest.mark.parametrize("code", OTHERS)
def test_a_translated_sentence_keeps_its_values(code: str) -> None:
    for sentence, translation in catalogues()[code].sentences.items():
        assert translation and set(BRACES.findall(translation)) == set(BRACES.findall(sentence)), sentence


def test_english_needs_no_translation_of_its_own_sentences() -> None:
    assert catalogues()["en"].sentences == {} and next(iter(catalogues())) == "en"


def test_a_third_language_is_one_file_and_what_it_lacks_is_english(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for code in catalogues():
        shutil.copy(UI / "languages" / f"{code}.toml", tmp_path)
    (tmp_path / "de.toml").write_text('name = "Deutsch"\n[page]\nNO_FILM = "Noch kein Film."\n', "utf-8")
    monkeypatch.setattr(language, "FOLDER", tmp_path)
    catalogues.cache_clear()
    try:
        page = build_page({"bands": Bands()}, lambda path: FILM, read_label)
        (header,) = (block for block in page.blocks.values() if getattr(block, "elem_id", "") == "header")
        assert header.props["languages"] == {"en": "English", "de": "Deutsch", "ko": "한국어"}  # pyright: ignore
        with speaking(accepted("de-CH")):
            assert (texts.NO_FILM, texts.MODEL) == ("Noch kein Film.", "Model")
            assert translated("numbering reliable") == "numbering reliable"
    finally:
        catalogues.cache_clear()


# ---- what asks for a text ----


def parsed(folder: Path) -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(folder.glob("*.py")):
        yield path, ast.parse(path.read_text("utf-8"))


def asked_of_texts(tree: ast.AST) -> set[str]:
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)]
    keys = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return {node.attr for node in found if getattr(node.value, "id", "") == "texts"} | (keys & ENGLISH["page"].keys())


def at_import(tree: ast.Module) -> Iterator[ast.AST]:
    """What runs when the module is imported: all outside of functions."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += getattr(node, "decorator_list", [])
            waiting += [*node.args.defaults, *filter(None, node.args.kw_defaults)]
        else:
            yield node
            waiting += ast.iter_child_nodes(node)


def test_python_asks_for_texts_that_there_are_and_for_all_of_them() -> None:
    asked = set().union(*(asked_of_texts(tree) for _, tree in parsed(UI)))
    own = set(re.findall(r"\b[A-Z_]{3,}\b", (UI / "texts.py").read_text("utf-8")))
    page = ENGLISH["page"].keys()
    assert {name for name in asked if name not in vars(texts)} <= page
    assert page - asked - {key for key in page if key in own or re.fullmatch("(LOWER|HIGHER)_(ONE|MANY)", key)} == set()


def test_no_text_is_asked_for_while_a_module_is_imported() -> None:
    for path, tree in parsed(UI):
        asked = [node for node in at_import(tree) if isinstance(node, ast.Attribute)]
        assert [ast.unparse(node) for node in asked if ast.unparse(node).startswith("texts.")] == [], path.name


SECTIONS = {
    "header": [("header",)],
    "about": [("about",)],
    "upload": [("upload", "film"), ("upload", "reference", "reference-1"), ("upload", "reference", "reference-2")],
    "batch": [("batch",)],
    "viewer": [("viewer",)],
}
"""What each component's HTML and scripts may say; an upload field is used twice."""
PLACES = re.compile(r'data-(?:text|html|title|label)="(\w+)"')


def component(name: str) -> str:
    """A component's HTML and scripts, `language.js` left out."""
    page = f"{name}.html" if (UI / "static" / f"{name}.html").exists() else None
    return "\n".join(asset(part) for part in [*filter(None, [page]), *SCRIPTS[name]] if part != "language.js")


@pytest.mark.parametrize("name", SECTIONS)
def test_scripts_ask_for_texts_that_there_are_and_for_all_of_them(name: str) -> None:
    source = component(name)
    for sections in SECTIONS[name]:
        known = {key for section in sections for key in ENGLISH[section]}
        asked = set(PLACES.findall(source)) | set(re.findall(r"\bsay\('(\w+)'", source))
        assert asked - known == set()
        assert known - asked - {*re.findall(r"\w+", source), *VERDICTS} == set()


# ---- texts outside of the catalogue ----

WORDS = re.compile(r"[A-Za-z’']{2,},? [a-z’']{2,}")
FOR_OPERATORS = {"access.py", "launch.py", "texts.py"}
"""They speak to who starts the page, on the terminal, or who writes it."""
PROTOCOL = {
    "mcp_tools.py": "expected the package mcp|expected --mcp without",
    "examples.py": "published weights|an example is shown|OpenCV encodes",
    "viewer.py": "OpenCV encodes",
    "zero_gpu.py": "the borrowed GPU failed",
    "uploads.py": "maximum allowed size|Expected (only files|one Content-Type|a last boundary|a multipart)",
    "compare.py": "mean dice|same names|names lower|of another film",
    "correction.py": "the session, the viewer|by hand|in words|model's name|names moved|left out",
    "downloads.py": "inverted by hand|in words|expected plain values",
    "panels.py": "mean dice|⟨0⟩ by more|right but|wrong and",
    "server.py": "gradio failed",
    "page.py": "file|model: name|invert: true|masks: .npy|figures with",
}
"""Errors and labels for programs that call the page, keys of files, and the log."""


def literals(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Strings and f-strings with what stands in braces as ⟨0⟩, ⟨1⟩ ...; no docstrings, no annotations."""
    skipped: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            skipped.add(id(node.value))
        if isinstance(node, ast.Subscript) and SHAPED.fullmatch(ast.unparse(node.value).rpartition(".")[2]):
            skipped |= {id(part) for part in ast.walk(node.slice)}
        if isinstance(node, ast.JoinedStr):
            skipped |= {id(part) for part in ast.walk(node) if part is not node}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value, node.value
        elif isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else None for part in node.values]
            numbers = iter(range(len(parts)))
            yield "".join(f"⟨{next(numbers)}⟩" if part is None else str(part) for part in parts), ast.unparse(node)


SHAPED = re.compile(r"Bool|U?Int\d*|Integer|Float\d*|Shaped|Literal")


def test_python_of_the_page_holds_no_words_for_visitors() -> None:
    for path, tree in parsed(UI):
        if path.name in FOR_OPERATORS:
            continue
        known = re.compile(PROTOCOL.get(path.name, "(?!)"))
        found = [text for text, _ in literals(tree) if WORDS.search(re.sub(r"<[^>]*>|⟨\d⟩", " ", text))]
        assert [text for text in found if not known.match(text)] == [], path.name


def without_comments(script: str) -> str:
    return re.sub(r"(?m)(^|\s)//.*$|/\*.*?\*/", "", script)


STRINGS = re.compile(r"'((?:[^'\\\n]|\\.)*)'|`((?:[^`\\]|\\.)*)`")
SHOWN = re.compile(r"\b(?:textContent|innerText|innerHTML|title|ariaLabel|placeholder|alt) = ['`]((?!\$)[^'`]*)")
NO_TEXT = re.compile(
    r"^[.#\[]|[=;{}]|: \d|px |, sans-serif|[a-z-]+\(|data:|^\(.*\)$|source-over|destination|^nothing shown$"
)
"""Selectors, styles, headers of files, names of symbols."""


@pytest.mark.parametrize("path", sorted((UI / "static").glob("*.js")), ids=lambda path: path.name)
def test_scripts_hold_no_words_for_visitors(path: Path) -> None:
    script = without_comments(path.read_text("utf-8"))
    found = [re.sub(r"\$\{[^}]*\}", " ", "".join(groups)) for groups in STRINGS.findall(script)]
    assert [text for text in found if WORDS.search(text) and not NO_TEXT.search(text)] == []
    assert [text for text in SHOWN.findall(script) if re.search("[A-Za-z]{3}", re.sub(r"\$\{.*?\}", "", text))] == []


NAMES_OF_FILES = {".npy", ".npz", ".mat", "spineseg"}


@pytest.mark.parametrize("path", sorted((UI / "static").glob("*.html")), ids=lambda path: path.name)
def test_html_holds_no_words_for_visitors(path: Path) -> None:
    html = re.sub(r"<kbd>.*?</kbd>|<svg.*?</svg>|&#?\w+;", "", path.read_text("utf-8"), flags=re.DOTALL)
    shown = [text.strip() for text in re.findall(r">([^<]*)<", html)]
    assert {text for text in shown if re.search("[A-Za-z]{2}", text)} <= NAMES_OF_FILES
    assert re.findall(r'\s(?:title|aria-label|placeholder|alt)="[^"]*[A-Za-z]{2}[^"]*"', html) == []


# ---- what is written in English below the page ----

REACH_THE_PAGE = (
    *(f"io/{name}.py" for name in ("films", "kinds", "dicom_classes", "dicom_header", "dicom_pixels")),
    *(f"io/{name}.py" for name in ("picture_films", "picture_decoder", "labels", "label_formats", "label_readers")),
    *(f"io/{name}.py" for name in ("label_maps", "dicom_seg", "dicom_seg_read", "nifti")),
    *(f"inference/{name}.py" for name in ("corners", "levels", "numbering", "prediction", "verdict")),
    *(f"measure/{name}.py" for name in ("measurements", "spine")),
    "data/check_masks.py",
)
"""Whose words a visitor may be shown: refusals, verdicts with their reasons, remarks, names of measurements."""
NOT_SHOWN = re.compile(
    r"Media Storage Directory|Key Object Selection|Presentation State|Encapsulated PDF|Image Storage"
    r"|JPEG XL (Loss|JPEG)|import json|rows columns|upside down|same bone|half the width"
    r"|above 0 anterolisthesis|expected boolean masks|expected highdicom|spineseg ⟨"
    r"|Vertebral bodies|Artificial Intel|Anatomical Str|DICOM segmentation$"
    r"|(upper|lower) endplate$|(anterior|posterior) wall$|⟨0⟩: ⟨1⟩$"
    r"|expected ⟨0⟩ as large as the other bodies, got ⟨1⟩ times their median$|⟨0⟩, got|⟨0⟩; look at it"
    r"|expected ⟨0⟩ in one piece|, unless it is a fracture"
    r"|⟨0⟩ further vertebra-like|⟨0⟩ of ⟨1⟩: values"
    r"|; if it is NIfTI| \(spineseg convert|⟨0⟩ px and ⟨1⟩ more of at most ⟨2⟩ px$"
    r"|expected ⟨0⟩ to ⟨1⟩ down the film$|⟨0⟩ times"
)
"""Parts of DICOM's names, kinds of findings, and pieces of sentences that are tried as a whole below."""
WHOLE = (
    "expected L1 to S1 down the film, got L2 L1 L3; put the channels in order",
    "expected L1 to S1 down the film, got L1 and L2 exchanged; exchange their channels",
    "expected L1 to S1 down the film, got them going up; turn film and label, or reverse the channels",
    "expected L1 to S1 down the film, got them across it; transpose the label, or turn the film",
    "expected L3 as large as the other bodies, got 3.1 times their median; look at it",
    "expected L3 in one piece, got 40 px and 2 more of at most 7 px; remove what is not the body",
    "expected L3 in one piece, got 40 px and 2 more of at most 7 px; remove what is not the body, unless it is a"
    " fracture, or a body at the border",
    "S1 or L5: the lowest vertebra may be either, as the film ends there",
    "the film has 70 x 40 rows x columns, the label 40 x 70; its axes are exchanged, so transpose it to rows x columns",
    "the label file has image, but no label_separated; save the masks as label_separated",
    "1 further vertebra-like shape without a level",
    "2 further vertebra-like shapes without a level",
    "a PNG picture of 8 bits: values are as shown, not as measured",
    "the label map has the values 0, 7; give the vertebrae the numbers 1 (L1) to 6 (S1), the background 0"
    " (spineseg convert ... --values L1=7, if these are they)",
    "the label file is damaged; save it again; if it is NIfTI, see --orientation of the command convert",
    f"this is a PDF document, not a label; save the label as {formats()}",
)


def from_below() -> Iterator[str]:
    for name in REACH_THE_PAGE:
        for text, _ in literals(ast.parse((PACKAGE / name).read_text("utf-8"))):
            if WORDS.search(text) and not NOT_SHOWN.match(text):
                yield text


@pytest.mark.parametrize("code", OTHERS)
@pytest.mark.parametrize("sentence", sorted({*from_below(), *WHOLE}))
def test_a_sentence_from_below_is_translated_with_its_values(sentence: str, code: str) -> None:
    translation = catalogues()[code].translated(sentence)
    assert translation != sentence
    assert set(re.findall(r"⟨\d⟩", sentence)) == set(re.findall(r"⟨\d⟩", translation))


@pytest.mark.parametrize("code", OTHERS)
def test_every_measurement_has_a_name(code: str) -> None:
    names = {definition.name for definition in DEFINITIONS}
    assert [name for name in names if catalogues()[code].translated(name) == name] == []


def test_values_of_a_sentence_are_translated_and_an_unknown_sentence_stays_english() -> None:
    with speaking("ko"):
        refused = "This is a MATLAB file, not a film; it may hold a label; choose the radiograph itself"
        assert "MATLAB 파일입니다" in translated(refused) and "film" not in translated(refused)
        assert translated("not found: L1, L2") == "찾지 못함: L1, L2"
        assert translated("a new sentence of L3") == "a new sentence of L3"
    assert translated("not found: L1") == "not found: L1"


# ---- which language ----


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("ko-KR,ko;q=0.9,en-US;q=0.8,en;q=0.7", "ko"),
        ("en-US,en;q=0.9,ko;q=0.8", "en"),
        ("de-DE,de;q=0.9,ko;q=0.5,en;q=0.4", "ko"),
        ("en;q=0.2, KO;q=0.3", "ko"),
        ("ko;q=0, de", "en"),
        ("ko;q=x", "en"),
        ("*", "en"),
        ("", "en"),
    ],
)
def test_the_browser_says_which_language(header: str, code: str) -> None:
    assert accepted(header) == code
    assert asked_for({"accept-language": header}) == code


def test_the_switch_wins_over_the_browser_and_an_unknown_choice_does_not() -> None:
    assert asked_for({"cookie": "other=1; spineseg-language=ko", "accept-language": "en"}) == "ko"
    assert asked_for({"cookie": "spineseg-language=../../x", "accept-language": "ko"}) == "ko"
    assert asked_for({}) == "en"


def test_texts_come_in_the_language_that_is_spoken_and_name_the_vertebrae() -> None:
    assert texts.NO_FILM == "No film yet." and current() == "en"
    with speaking("ko"):
        assert texts.NO_FILM == "아직 영상이 없습니다." and texts.MOVE_TITLE["lower"].startswith("L1")
        with speaking("en"):
            assert texts.names_moved(-2) == "every name 2 levels higher"
        assert texts.names_moved(1) == "모든 라벨을 꼬리쪽으로 한 단계 옮김"
    assert f"1 to {CONSTANTS['COUNT']}" in texts.LOOK_AT_MAPS
    with pytest.raises(AttributeError, match="NO_SUCH_TEXT"):
        _ = texts.NO_SUCH_TEXT
