"""replacing: the file is the old one or the new one, never half of either."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spineseg.io.files import replacing, write_table, write_text


def test_the_content_appears_only_at_the_end(tmp_path: Path):
    path = tmp_path / "a.json"
    path.write_bytes(b"old")
    with replacing(path) as stream:
        stream.write(b"new")
        stream.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_interruption_leaves_what_was_there(tmp_path: Path, error: type[BaseException]):
    (path := tmp_path / "a.json").write_bytes(b"old")
    with pytest.raises(error), replacing(path) as stream:
        stream.write(b"ne")
        raise error
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_file_name_that_is_no_text_is_written_escaped(tmp_path: Path):
    write_text(tmp_path / "a.json", json.dumps({"film": "a\udcff.dcm"}, ensure_ascii=False))
    assert json.loads((tmp_path / "a.json").read_bytes()) == {"film": "a\udcff.dcm"}


def test_a_table_has_its_columns_first_and_quotes_what_needs_it(tmp_path: Path):
    write_table(tmp_path / "a.csv", ("film", "dice"), [("a,b", 0.5), ("c", "")])
    assert (tmp_path / "a.csv").read_bytes() == b'film,dice\n"a,b",0.5\nc,\n'
