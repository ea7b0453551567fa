"""Answers about films outlive their process, hold for the same film and settings alone, and survive a cut line."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from spineseg.film import BadInput
from spineseg.io.answers import ERROR, Answers, only_run
from spineseg.io.processes import ALONE, Processes


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "a.dcm"
    path.write_bytes(b"film")
    return path


def test_a_later_run_knows_what_was_answered(film: Path, tmp_path: Path):
    run = Answers(tmp_path, {"views": 6})
    key = run.key("a", [film])
    run.add(key, {"dice": 0.5})
    assert run.all() == {key: {"dice": 0.5}} and not run.before(key)
    again = Answers(tmp_path, {"views": 6})
    assert again.before(again.key("a", [film])) and again.all() == {key: {"dice": 0.5}}
    assert again.key("b", [film]) != key != Answers(tmp_path, {"views": 1}).key("a", [film])
    film.write_bytes(b"another film")
    assert not again.before(again.key("a", [film]))
    film.write_bytes(b"film")
    os.utime(film, ns=(0, 0))
    assert not again.before(again.key("a", [film])), "as long, but changed since"


def test_a_line_that_was_cut_short_costs_its_own_film_alone(film: Path, tmp_path: Path):
    run = Answers(tmp_path)
    keys = [run.key(name, [film]) for name in "abc"]
    for key in keys[:2]:
        run.add(key, {"dice": 0.5})
    (written,) = tmp_path.glob("*.jsonl")
    written.write_bytes(written.read_bytes()[:-5])
    run.add(keys[2], {"dice": 0.7})
    assert list(Answers(tmp_path).all()) == [keys[0], keys[2]]


@pytest.mark.parametrize(
    "damage",
    [
        lambda line: line.replace(b"0.5", b"0.6"),
        lambda line: line.replace(b'"dice"', b"\xff\xfe"),
        lambda line: b"[" * 100_000,
        lambda line: b"\0" * len(line),
        lambda line: b'{"key": "a", "answer": {"dice": 0.5}}',
        lambda line: b'{"digest": "a", "line": 5}',
    ],
    ids=["a figure", "no UTF-8", "nested", "zeros", "another version", "no line"],
)
def test_a_damaged_line_costs_its_own_film_alone(film: Path, tmp_path: Path, damage: Callable[[bytes], bytes]):
    run = Answers(tmp_path)
    keys = [run.key(name, [film]) for name in "abc"]
    for key in keys:
        run.add(key, {"dice": 0.5})
    (written,) = tmp_path.glob("*.jsonl")
    lines = written.read_bytes().split(b"\n")
    lines[2] = damage(lines[2])
    written.write_bytes(b"\n".join(lines))
    (tmp_path / "answered-1.jsonl").mkdir()
    assert Answers(tmp_path).all() == {keys[0]: {"dice": 0.5}, keys[2]: {"dice": 0.5}}


def test_the_last_answer_counts_whichever_process_gave_it(film: Path, tmp_path: Path):
    run, other = Answers(tmp_path, processes=Processes(1, 1)), Answers(tmp_path)
    key = run.key("a", [film])
    run.add(key, {ERROR: "too large"})
    assert not Answers(tmp_path).before(key)
    other.add(key, {"dice": 0.5})
    assert Answers(tmp_path).before(key) and Answers(tmp_path).all() == {key: {"dice": 0.5}}
    run.add(key, {ERROR: "too large"})
    assert not Answers(tmp_path).before(key) and Answers(tmp_path).all() == {key: {ERROR: "too large"}}


def test_results_of_others_in_the_same_place_end_an_answer(film: Path, tmp_path: Path):
    """Also where the run that was to write them was ended before it had answered."""
    old, new = Answers(tmp_path, "old"), Answers(tmp_path, "new")
    before, after, elsewhere = old.key("a", [film]), new.key("a", [film]), old.key("b", [film])
    old.add(before, {"rows": 1}, "a")
    old.add(elsewhere, {"rows": 2}, "b")
    Answers(tmp_path, "old").begin(before, "a")
    assert Answers(tmp_path).all() == {before: {"rows": 1}, elsewhere: {"rows": 2}}
    Answers(tmp_path, "new").begin(after, "a")
    assert Answers(tmp_path).all() == {elsewhere: {"rows": 2}}
    new.add(after, {"rows": 3}, "a")
    assert Answers(tmp_path).all() == {elsewhere: {"rows": 2}, after: {"rows": 3}}


def test_one_run_at_a_time_works_in_a_folder(tmp_path: Path):
    with only_run(tmp_path, ALONE):
        with pytest.raises(BadInput, match="Another run is writing"), only_run(tmp_path, ALONE):
            pass
        with only_run(tmp_path, Processes(1, 2)):
            pass
    with only_run(tmp_path, Processes(0, 2)):
        pass


def test_nothing_is_written_without_a_folder(film: Path, tmp_path: Path):
    run = Answers()
    run.add(run.key("a", [film]), {"dice": 0.5})
    assert list(run.all().values()) == [{"dice": 0.5}] and list(tmp_path.iterdir()) == [film]
