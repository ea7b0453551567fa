"""Who may use the page, and which of Gradio's routes nobody may use here."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies

from spineseg.film import BadInput
from spineseg.io.limits import DEFAULT_LIMITS

USER, PASSWORD = "SPINESEG_USER", "SPINESEG_PASSWORD"
MIN_PASSWORD = 12
"""In characters. Gradio does not slow down guessing."""

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_App = Callable[[_Message, _Receive, _Send], Awaitable[None]]

CLOSED = (
    "/api/",
    "/component_server",
    "/proxy=",
    "/monitoring",
    "/profiling",
    "/process_recording",
    "/run-history",
    "/runs",
    "/dev/",
    "/vibe-",
    "/undo-vibe-",
    "/custom_component/",
    "/stream/",
    "/deep_link",
)
"""Routes that Gradio opens for features that the page does not use."""


class BadAccount(BadInput):
    """The environment names half an account, or a short password."""


def account(environment: Mapping[str, str] = os.environ) -> tuple[str, str] | None:
    """The name and password that the page asks for, or None where it is open to all.

    Raises BadAccount where only one of SPINESEG_USER and SPINESEG_PASSWORD is set, or the password is short: a page
    that was meant to be closed must not come up open.
    """
    user, password = environment.get(USER, "").strip(), environment.get(PASSWORD, "")
    if not user and not password and USER not in environment and PASSWORD not in environment:
        return None
    if not user or not password:
        raise BadAccount(f"expected both {USER} and {PASSWORD}, got one or an empty one; set both, or neither")
    if len(password) < MIN_PASSWORD:
        raise BadAccount(
            f"expected a password of at least {MIN_PASSWORD} characters, got a shorter one; choose another"
        )
    return user, password


def reachable_by_others(host: str | None, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the page is made for visitors on other machines: on a Space, beyond the loopback, or behind a server.

    host: as `serve` takes it.
    """
    name = (host or environment.get("GRADIO_SERVER_NAME") or "127.0.0.1").strip("[]")
    try:
        alone = name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        alone = False
    return not alone or any(environment.get(key) for key in ("SPACE_ID", "GRADIO_ROOT_PATH"))


def from_this_machine(headers: Mapping[str, str]) -> bool:
    """Whether a request was sent to this machine under a name of its own, by one of its own pages or by a program.

    A page may be meant for one machine and yet be opened from others: through a server or a tunnel in front of it,
    which says so, or by a site whose name leads here (DNS rebinding).
    """
    forwarded = any(
        name in headers for name in ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
    )
    named = [f"//{headers.get('host', '')}", *([headers["origin"]] if "origin" in headers else [])]
    return not forwarded and all(map(_names_this_machine, named))


def _names_this_machine(address: str) -> bool:
    try:
        name = urlsplit(address).hostname or ""
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


def bypass_proxy(host: str | None) -> None:
    """From here on no request of this process to the page's own address goes through a proxy; all others still do.

    Gradio asks its own address when it starts, and a proxy refuses that or cannot reach it. host: as `serve` takes it.
    """
    proxies = getproxies()  # on Windows and macOS also the system's, which NO_PROXY alone would hide
    if proxies:
        host = (host or os.environ.get("GRADIO_SERVER_NAME", "")).strip("[]")
        direct = dict.fromkeys([*proxies.get("no", "").split(","), "127.0.0.1", "localhost", "::1", "::", host])
        os.environ.update({f"{kind}_proxy": address for kind, address in proxies.items()})
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = ",".join(name for name in direct if name)


class CloseRoutes:
    """ASGI middleware that answers 404 for the routes in `CLOSED`, files of another host and private events by name.

    A body beyond `Limits.max_request_bytes` that is no upload is answered with 413, or cut where no length was stated.
    """

    def __init__(self, app: _App, public: Collection[str]) -> None:
        """public: names of the events that programs may call."""
        self._app, self._public = app, public

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Pass the request on, or answer it here."""
        if scope["type"] == "http" and refused(scope["path"], self._public):
            return await _answer(send, 404, b"Not found")
        upload = scope["type"] != "http" or scope["path"].rstrip("/").endswith("/gradio_api/upload")
        if not upload and _stated_length(scope) > DEFAULT_LIMITS.max_request_bytes:
            while (await receive()).get("more_body"):
                pass  # a client that is still sending would not see the answer
            return await _answer(send, 413, b"Too large")
        await self._app(scope, receive if upload else _limited(receive), send)


async def _answer(send: _Send, status: int, text: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": text})


def _stated_length(scope: _Message) -> int:
    stated = [value for name, value in scope["headers"] if name.lower() == b"content-length"]
    return max((int(value) for value in stated if value.isdigit()), default=0)


def _limited(receive: _Receive) -> _Receive:
    """The same until the body is too long, and then as if the client had gone."""
    received = 0

    async def limited() -> _Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        return message if received <= DEFAULT_LIMITS.max_request_bytes else {"type": "http.disconnect"}

    return limited


def refused(path: str, public: Collection[str] = ()) -> bool:
    """Whether a request's path, decoded once or more often, leads to what is closed.

    That is a route in `CLOSED`, another host's file, or a call of an event that is not in `public`.
    """
    while (decoded := unquote(path)) != path:
        path = decoded
    path = path[path.find("/gradio_api/") + len("/gradio_api") :] if "/gradio_api/" in path else path
    name = path.partition("=")[2] if path.startswith("/file=") else path.removeprefix("/file/")
    elsewhere = path.startswith("/file") and ":" in name.split("/")[0]  # http:, ftp:, data:
    called = path.removeprefix("/call/").removeprefix("v2/").partition("/")[0] if path.startswith("/call/") else None
    return path.startswith(CLOSED) or elsewhere or (called is not None and called not in public)
