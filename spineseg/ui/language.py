"""The page's languages: one file each in `languages/`, and which of them a visitor reads.

A file has sections of texts by key, which `texts` and the scripts look up, and `sentences`: what is written in English
below the page (verdicts, refusals, names of measurements), by its English words. A sentence that a language does not
have is shown in English.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from typing import Any

from gradio.context import LocalContext
from starlette.requests import cookie_parser

from spineseg.film import CHANNELS, VERTEBRAE

ENGLISH = "en"
COOKIE = "spineseg-language"
"""Holds the language that a visitor chose with the switch."""
CONSTANTS = {
    "FIRST": VERTEBRAE[0],
    "SECOND": VERTEBRAE[1],
    "LAST": VERTEBRAE[-1],
    "COUNT": str(len(VERTEBRAE)),
    "CHANNELS": str(len(CHANNELS)),
}
"""What any text may name between braces; other words between braces are filled in where the text is used."""
FOLDER = files("spineseg.ui").joinpath("languages")
_current: ContextVar[str] = ContextVar("language", default="")


@dataclass(frozen=True)
class Catalogue:
    """One language. name: as its readers write it. sections: texts by section and key. sentences: by English words."""

    name: str
    sections: Mapping[str, Mapping[str, Any]]
    sentences: Mapping[str, str]

    @cached_property
    def _patterns(self) -> list[tuple[re.Pattern[str], str]]:
        """Sentences with values in them; those that say most come first."""
        templates = sorted((key for key in self.sentences if "{" in key), key=_said, reverse=True)
        return [(_pattern(template), self.sentences[template]) for template in templates]

    def translated(self, sentence: str) -> str:
        """The sentence in this language, the values in it too where they have a translation; else as it is."""
        if sentence in self.sentences:
            return self.sentences[sentence]
        for pattern, translation in self._patterns:
            if found := pattern.fullmatch(sentence):
                return translation.format(*map(self.translated, found.groups()))
        return sentence


def _said(template: str) -> int:
    """Length of what a template says itself."""
    return len(re.sub(r"\{\d\}", "", template))


def _pattern(template: str) -> re.Pattern[str]:
    """What matches any sentence that the template makes; {0}, {1} ... in this order stand for the values."""
    return re.compile("(.+?)".join(map(re.escape, re.split(r"\{\d\}", template))), re.DOTALL)


@cache
def catalogues() -> dict[str, Catalogue]:
    """Each language by its code (BCP 47), English first; a text that a language lacks is the English one."""
    codes = {path.name.removesuffix(".toml") for path in FOLDER.iterdir() if path.name.endswith(".toml")}
    english = _content(ENGLISH)
    return {code: _catalogue(_content(code), english) for code in (ENGLISH, *sorted(codes - {ENGLISH}))}


def _content(code: str) -> dict[str, Any]:
    return _with_constants(tomllib.loads(FOLDER.joinpath(f"{code}.toml").read_text("utf-8")))


def _catalogue(own: Mapping[str, Any], english: Mapping[str, Any]) -> Catalogue:
    sections = {key: {**texts, **own.get(key, {})} for key, texts in english.items() if key != "name"}
    return Catalogue(own["name"], sections, own.get("sentences", {}))


def _with_constants(text: Any) -> Any:
    """The text, or all in a section, with the `CONSTANTS` filled in; English words of sentences too."""
    if isinstance(text, str):
        return re.sub(r"\{(\w+)\}", lambda found: CONSTANTS.get(found[1], found[0]), text)
    if isinstance(text, list):
        return [_with_constants(each) for each in text]
    return {_with_constants(key): _with_constants(value) for key, value in text.items()}


def current() -> str:
    """The language of the texts that are asked for here and now: of the request that Gradio answers, else English."""
    request = LocalContext.request.get(None)
    return _current.get() or (asked_for(request.headers) if request else ENGLISH)


@contextmanager
def speaking(code: str) -> Iterator[None]:
    """Within it texts are in this language."""
    before = _current.set(code)
    try:
        yield
    finally:
        _current.reset(before)


def translated(sentence: str) -> str:
    """A sentence that was written in English below the page, in the current language."""
    return catalogues()[current()].translated(sentence)


def asked_for(headers: Mapping[str, str]) -> str:
    """The language that a request asks for: the one chosen with the switch, else the browser's, else English."""
    chosen = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
    return chosen if chosen in catalogues() else accepted(headers.get("accept-language", ""))


def accepted(header: str) -> str:
    """The first language of ours in an Accept-Language header, by its weights. Source: RFC 9110, 12.5.4."""
    ranges = [part.strip().partition(";") for part in header.split(",")]
    wanted = sorted((-_weight(options), place, name) for place, (name, _, options) in enumerate(ranges))
    codes = (name.strip().lower().partition("-")[0] for weight, _, name in wanted if weight < 0)
    return next((code for code in codes if code in catalogues()), ENGLISH)


def _weight(options: str) -> float:
    found = re.fullmatch(r"\s*q=([01](?:\.\d{0,3})?)\s*", options)
    return float(found[1]) if found else float(not options.strip())


def script_texts(*sections: str) -> dict[str, dict[str, str]]:
    """What a component's scripts say, by language and key."""
    return {code: {k: v for s in sections for k, v in each.sections[s].items()} for code, each in catalogues().items()}
