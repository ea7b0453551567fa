"""The page's public events as tools of the Model Context Protocol, under the limits of the page.

Gradio turns `/segment` and `/measure` into tools, whose calls join the page's queue. By itself it would also store
a file of any size that comes within the call, and answer a dictionary that is no JSON.

A film comes by its address on this page: the upload has gone through the page's own route, with its limits and without
its name (`uploads`). Gradio's MCP routes know no login, so tools and an account exclude each other.
"""

from __future__ import annotations

import importlib.util
import json
from typing import Any

from gradio import mcp

from spineseg.film import BadInput
from spineseg.ui import texts


class NoMCP(BadInput):
    """The package `mcp` is not installed, or the page asks for a password."""


def require_mcp(account: tuple[str, str] | None) -> None:
    """Raises NoMCP where the tools cannot be offered."""
    if importlib.util.find_spec("mcp") is None:
        raise NoMCP("expected the package mcp for --mcp, found none; pip install 'gradio[mcp]'")
    if account:
        raise NoMCP("expected --mcp without a login, got both; put a server that asks for the password in front")


class UploadsOnly(mcp.GradioMCPServer):
    """Takes a film by the address of an upload to this page; answers a dictionary as JSON."""

    def convert_strings_to_filedata(self, value: Any, filedata_positions: list[list[str | int]]) -> Any:
        """Raises ValueError, whose sentence the caller is told, for any other way to give a file."""
        for position in filedata_positions:
            given = value.get(position[0])
            if not isinstance(given, str) or not given.startswith(("http://", "https://")):
                raise ValueError(texts.MCP_FILE)
        return super().convert_strings_to_filedata(value, filedata_positions)

    def postprocess_output_data(self, data: Any, root_url: str) -> Any:
        """Gradio would write a dictionary as Python does."""
        written = [json.dumps(item) if isinstance(item, dict) and "meta" not in item else item for item in data]
        return super().postprocess_output_data(written, root_url)


def use_uploads_only() -> None:
    """From here on Gradio serves tools with `UploadsOnly`; it offers no setting for it."""
    mcp.GradioMCPServer = UploadsOnly
