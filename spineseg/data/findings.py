"""What a check found: one sentence for each thing, and how several are said together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from spineseg.io.discovery import LeftOut
from spineseg.io.folder import BadDataset

Severity = Literal["error", "warning"]
_MOST_NAMES = 4
"""Films that a line names, where there are more of a kind."""
_OF_FILES = ("left out", "no film")
"""Kinds of findings about files that are not used."""


@dataclass(frozen=True)
class Finding:
    """One thing about one film (or one file), in one sentence.

    error: training on it would teach something wrong, or cannot start. warning: worth a look; training goes on.
    """

    film: str
    severity: Severity
    kind: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.film}: {self.sentence}"


def counted(number: int, noun: str) -> str:
    """As in 1 error, 2 errors."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


class FindingCounts:
    """A report on a folder, with its findings, errors first."""

    findings: tuple[Finding, ...]

    @property
    def errors(self) -> int:
        """How many findings are errors."""
        return sum(finding.severity == "error" for finding in self.findings)

    @property
    def counts(self) -> str:
        """Both numbers in words."""
        return f"{counted(self.errors, 'error')}, {counted(self.warnings, 'warning')}"

    @property
    def warnings(self) -> int:
        """How many findings are warnings."""
        return len(self.findings) - self.errors


class FaultyFolder(BadDataset):
    """A folder that `check` finds errors in. findings: the errors alone. summary: how many, and what to do.

    names_only: whether they were found before any film was read.
    """

    def __init__(self, findings: Iterable[Finding], *, names_only: bool = False) -> None:
        self.findings = tuple(finding for finding in findings if finding.severity == "error")
        films = len({finding.film for finding in self.findings})
        noun = "file" if any(finding.kind in _OF_FILES for finding in self.findings) else "film"
        first, errors = self.findings[0], counted(len(self.findings), "error")
        which = f"this {noun}" if films == 1 else f"these {films} {noun}s"
        self.summary = f"{errors} in the folder; correct what is wrong, or move {which} out of it"
        if names_only:
            self.summary += "; the films themselves were not read yet, the command check does that too"
        super().__init__(f"{first.film}: {first.sentence} ({self.summary})")


def not_used(each: LeftOut) -> Finding:
    """Of a file that is not used: an error where a film or a label may be lost."""
    return Finding(each.name, "error" if each.lost else "warning", "left out", f"left out: {each.reason}")


def without_errors(findings: Iterable[Finding], *, names_only: bool = False) -> tuple[Finding, ...]:
    """The findings, if all are warnings. Raises FaultyFolder. names_only: whether no film was read for them."""
    findings = tuple(findings)
    if any(finding.severity == "error" for finding in findings):
        raise FaultyFolder(findings, names_only=names_only)
    return findings


def sorted_findings(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Errors first, then by film."""
    return tuple(sorted(findings, key=lambda finding: (finding.severity != "error", finding.film)))


def listed(findings: Iterable[Finding]) -> Iterator[str]:
    """A line for each sentence, errors first, with all the films that it is said of."""
    same: dict[tuple[str, str], list[Finding]] = {}
    for finding in sorted_findings(findings):
        same.setdefault((finding.severity, finding.sentence), []).append(finding)
    for group in same.values():
        yield _line(group, len(group))


def grouped(findings: Iterable[Finding]) -> Iterator[str]:
    """A line for each sentence of an error, then one for each kind of warning, with a few of the films' names."""
    kinds: dict[tuple[str, str], list[Finding]] = {}
    for finding in sorted_findings(findings):
        same = finding.sentence if finding.severity == "error" else finding.kind
        kinds.setdefault((finding.severity, same), []).append(finding)
    for group in kinds.values():
        yield _line(group, _MOST_NAMES)


def _line(group: Sequence[Finding], most: int) -> str:
    """Findings as one line with at most so many names; where their sentences differ, the first one's.

    Without control characters that a name may hold.
    """
    return "".join(letter if letter.isprintable() else "?" for letter in _together(group, most))


def _together(group: Sequence[Finding], most: int) -> str:
    first, films = group[0], list(dict.fromkeys(finding.film for finding in group))
    if len(group) == 1:
        return str(first)
    if len(films) == 1:
        return f"{first}; {len(group) - 1} more of {first.kind}"
    count = f"{len(films)} {'files' if first.kind in _OF_FILES else 'films'}"
    names = ", ".join(films[:most]) + (", ..." if len(films) > most else "")
    if len({finding.sentence for finding in group}) == 1:
        return f"{first.severity}: {count} ({names}): {first.sentence}"
    return f"{first.severity}: {count} ({first.kind}: {names}), such as {first.film}: {first.sentence}"
