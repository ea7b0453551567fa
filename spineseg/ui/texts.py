"""The page's texts, by key: `texts.NO_FILM` is the text of that key in the current language (`language`).

They stand in `languages/`, under `page`; asked for when a module is imported they would stay in one language.
"""

from __future__ import annotations

from typing import Any

from spineseg.ui.language import catalogues, current


def __getattr__(key: str) -> Any:
    """The text, or the texts by key where there are several. Raises AttributeError for an unknown key."""
    page = catalogues()[current()].sections["page"]
    if key not in page:
        raise AttributeError(f"no text {key} in languages/{current()}.toml")
    return page[key]


def names_moved(levels: int) -> str:
    """levels: caudally; negative: cranially."""
    way, many = ("LOWER" if levels > 0 else "HIGHER"), ("ONE" if abs(levels) == 1 else "MANY")
    return __getattr__(f"{way}_{many}").format(levels=abs(levels))
