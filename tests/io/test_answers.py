"""Answers about films outlive their process, hold for the same film and settings alone, and survive a cut line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from spineseg.io.answers import ERROR, Answers
from spineseg.io.processes import Processes


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


def test_a_film_that_failed_is_tried_again_and_a_success_stays(film: Path, tmp_path: Path):
    run, other = Answers(tmp_path), Answers(tmp_path, processes=Processes(1, 1))
    key = run.key("a", [film])
    run.add(key, {ERROR: "too large"})
    assert not Answers(tmp_path).before(key)
    run.add(key, {"dice": 0.5})
    other.add(key, {ERROR: "too large"})
    assert Answers(tmp_path).before(key) and Answers(tmp_path).all() == {key: {"dice": 0.5}}


def test_nothing_is_written_without_a_folder(film: Path, tmp_path: Path):
    run = Answers()
    run.add(run.key("a", [film]), {"dice": 0.5})
    assert list(run.all().values()) == [{"dice": 0.5}] and list(tmp_path.iterdir()) == [film]
