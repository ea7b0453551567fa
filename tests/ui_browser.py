"""What the tests in a browser do with a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page


def opened(browser: Browser, address: str, **options: Any) -> Page:
    """The page of a new visitor, once the models are loaded. options: of the browser's context."""
    page = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **options}).new_page()
    page.goto(address)
    page.wait_for_selector("#status .ready")
    return page


def open_film(page: Page, film: Path) -> None:
    """Until its masks are there: the token of the film shown tells it from the example that the page opens with."""
    before = page.get_attribute(".viewer", "data-film")
    page.set_input_files("#film input", film)
    page.wait_for_function("(before) => document.querySelector('.viewer').dataset.film !== before", arg=before)
    page.wait_for_selector('.viewer[data-masks="yes"]')


def download(page: Page, kind: str) -> tuple[str, bytes]:
    """Name and content of the file that a button saves."""
    with page.expect_download() as saved:
        page.click(f'[data-download="{kind}"]')
    return saved.value.suggested_filename, Path(saved.value.path()).read_bytes()


def close(page: Page, requests: Sequence[str], errors: Sequence[str]) -> None:
    """Checks that no other host was asked for anything and no script failed."""
    own = "/".join(page.url.split("/")[:3])
    assert [url for url in requests if not url.startswith((own, "blob:", "data:"))] == []
    assert errors == []
    page.context.close()
