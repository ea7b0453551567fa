"""Findings are said together: one line for a sentence, or for a kind with its count and some names."""

from __future__ import annotations

from spineseg.data.findings import FaultyFolder, Finding, grouped, listed


def warnings(count: int, kind: str = "no label", number: bool = False) -> list[Finding]:
    return [
        Finding(f"f{k:02}", "warning", kind, f"something of {k} px" if number else "no label; not used")
        for k in range(count)
    ]


ERROR = Finding("z", "error", "empty", "no vertebra; mark them")


def test_a_line_for_each_kind():
    assert list(grouped([*warnings(34), ERROR])) == [
        "error: z: no vertebra; mark them",
        "warning: 34 films (f00, f01, f02, f03, ...): no label; not used",
    ]
    assert list(grouped(warnings(3, "overlap", number=True))) == [
        "warning: 3 films (overlap: f00, f01, f02), such as f00: something of 0 px"
    ]
    assert list(grouped(warnings(1, number=True))) == ["warning: f00: something of 0 px"]
    assert list(grouped([])) == list(listed([])) == []


def test_files_that_are_not_used_are_called_files_and_do_nothing_to_a_terminal():
    unused = [Finding(name, "warning", "left out", "left out: a PDF document") for name in ("img/a\x1b[2J", "img/b")]
    assert list(grouped(unused)) == ["warning: 2 files (img/a?[2J, img/b): left out: a PDF document"]
    lost = Finding("img/c", "error", "left out", "left out: an empty file")
    assert FaultyFolder([lost]).summary.endswith("or move this file out of it")


def test_errors_keep_their_words():
    errors = [Finding(f"f{k}", "error", "unreadable label", f"it has {k} axes; transpose it") for k in range(2)]
    assert list(grouped(errors)) == [f"error: f{k}: it has {k} axes; transpose it" for k in range(2)]


def test_several_findings_of_one_film_and_kind():
    pieces = [Finding("a", "warning", "pieces", f"L{k} in pieces") for k in (1, 2)]
    assert list(grouped(pieces)) == ["warning: a: L1 in pieces; 1 more of pieces"]


def test_a_line_for_each_sentence_with_every_name():
    lines = list(listed([*warnings(34), *warnings(2, "overlap", number=True)]))
    assert lines[0] == f"warning: 34 films ({', '.join(f'f{k:02}' for k in range(34))}): no label; not used"
    assert lines[1:] == ["warning: f00: something of 0 px", "warning: f01: something of 1 px"]


def test_a_faulty_folder_names_its_errors_alone():
    error = FaultyFolder(
        [*warnings(3), ERROR, Finding("z", "error", "size", "too large"), Finding("y", "error", "a", "b")]
    )
    assert len(error.findings) == 3
    assert error.summary == "3 errors in the folder; correct what is wrong, or move these 2 films out of it"
    assert str(error) == f"z: no vertebra; mark them ({error.summary})"
    assert FaultyFolder([ERROR]).summary == "1 error in the folder; correct what is wrong, or move this film out of it"
