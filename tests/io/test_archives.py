"""archives: what is listed, what is not unpacked and why, and that nothing stays or leaves its folder."""

from __future__ import annotations

import stat
import struct
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from spineseg.io.archives import UnreadableArchive, members, unpacked
from spineseg.io.limits import DEFAULT_LIMITS

BODY = bytes(range(256)) * 40


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that temporary files go to."""
    (folder := tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def packed(path: Path, *names: str, body: bytes = BODY, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name in names:
            archive.writestr(name, body)
    return path


def test_members_come_by_name_with_their_heads(tmp_path: Path):
    found = members(packed(tmp_path / "a.zip", "b/2", "a", "b/1", "b/"))
    assert [(each.name, each.head, each.refused) for each in found] == [
        (n, BODY[:520], "") for n in ("a", "b/1", "b/2")
    ]


def test_one_is_unpacked_at_a_time_and_goes_again(tmp_path: Path, scratch: Path):
    path = packed(tmp_path / "a.zip", "Doe^Jane/film.dcm")
    with unpacked(path, members(path)[0].info) as unpacked_to:
        assert unpacked_to.read_bytes() == BODY and unpacked_to.is_relative_to(scratch)
        assert "Doe" not in str(unpacked_to)
    with pytest.raises(KeyError), unpacked(path, members(path)[0].info):
        raise KeyError
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["../a", "a/../../b", "/etc/a", "C:/a", "..\\a", "a\\..\\b", "..", "a/..", "\\\\host\\a", "c:a"]
)
def test_a_path_that_leads_out_is_not_followed(tmp_path: Path, name: str):
    (found,) = members(packed(tmp_path / "a.zip", name))
    assert found.refused == "a file whose path leads out of the archive"


def test_dots_in_a_name_lead_nowhere(tmp_path: Path):
    names = ["..a", "a..", "a/..b/c", "a.../b"]
    assert [each.refused for each in members(packed(tmp_path / "a.zip", *names))] == [""] * 4


@pytest.mark.parametrize(("kind", "refused"), [(stat.S_IFLNK, True), (stat.S_IFCHR, True), (stat.S_IFREG, False)])
def test_links_and_devices(tmp_path: Path, kind: int, refused: bool):
    info = zipfile.ZipInfo("a")
    info.external_attr = (kind | 0o644) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    (found,) = members(tmp_path / "a.zip")
    assert found.refused == ("a link or a device" if refused else "")


def test_encrypted_and_oddly_compressed(tmp_path: Path):
    content = bytearray(packed(tmp_path / "a.zip", "a").read_bytes())
    for start, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(start) + flags] |= 1
    (tmp_path / "b.zip").write_bytes(content)
    assert members(tmp_path / "b.zip")[0].refused == "an encrypted file"
    packed(tmp_path / "c.zip", "a", method=zipfile.ZIP_LZMA)
    assert members(tmp_path / "c.zip")[0].refused == "a file in another compression than Deflate"


def test_bombs(tmp_path: Path):
    """By the size of one file, of all files, by their number, and by a list that claims to be long."""
    path = packed(tmp_path / "a.zip", "a", "b", body=bytes(2**20))
    assert path.stat().st_size < 5000
    limits = replace(DEFAULT_LIMITS, max_bytes=2**20 - 1)
    assert [each.refused for each in members(path, limits)] == ["a file of more than 1 MB"] * 2
    for changed, words in (
        ({"max_unpacked_bytes": 2**21 - 1}, "unpacks to more than"),
        ({"max_members": 1}, "more than 1 files"),
        ({"max_directory_bytes": 64}, "list of files is too long"),
    ):
        with pytest.raises(UnreadableArchive, match=words):
            members(path, replace(DEFAULT_LIMITS, **changed))
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, content.rindex(b"PK\5\6") + 12, 2**31)
    path.write_bytes(content)
    with pytest.raises(UnreadableArchive):
        members(path)


def test_a_size_that_lies_gives_no_more_than_it_says(tmp_path: Path, scratch: Path):
    content = bytearray(packed(tmp_path / "a.zip", "a").read_bytes())
    for start, at in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        struct.pack_into("<I", content, content.index(start) + at, 100)
    (tmp_path / "b.zip").write_bytes(content)
    (found,) = members(tmp_path / "b.zip")
    assert (found.head, found.refused) == (b"", "a damaged file")
    with pytest.raises(UnreadableArchive, match="damaged"), unpacked(tmp_path / "b.zip", found.info):
        pytest.fail("unpacked")
    assert list(scratch.iterdir()) == []


def test_damaged_archives_cost_one_sentence(tmp_path: Path, scratch: Path):
    """Every byte of a small archive changed in turn, and every cut."""
    whole = packed(tmp_path / "a.zip", "a/Doe", "b", body=b"x" * 50).read_bytes()
    damaged = [whole[:k] + bytes([whole[k] ^ 0x55]) + whole[k + 1 :] for k in range(len(whole))]
    for content in [*damaged, *(whole[:k] for k in range(0, len(whole), 3))]:
        (path := tmp_path / "b.zip").write_bytes(content)
        try:
            for each in members(path):
                if not each.refused:
                    with unpacked(path, each.info) as file:
                        assert file.stat().st_size == 50
        except UnreadableArchive as error:
            assert str(error).startswith("it") and "Doe" not in str(error)
    assert list(scratch.iterdir()) == []
