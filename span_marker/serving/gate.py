"""Middleware of all requests: checks the key, adds headers and counts."""

from __future__ import annotations

import hmac
import time
from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from span_marker.serving.metrics import Metrics

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Headers added to every response that lacks them."""

_RAW_HEADERS = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]

OPEN_PATHS = {"/health", "/ready"}
"""Paths that need no key, like the files of the page, which are not confidential: its requests send the key."""


class Gate:
    """Passes requests with the right key on, adds headers to responses, and counts both.

    Args:
        app: The wrapped application.
        api_key: The key; None to accept all requests.
        metrics: Counts requests.
        open_paths: Paths that need no key.
    """

    def __init__(self, app: ASGIApp, api_key: str | None, metrics: Metrics, open_paths: set[str]) -> None:
        self._app = app
        self._key = None if api_key is None else api_key.encode()
        self._metrics = metrics
        self._open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500  # if it fails

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                names = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(pair for pair in _RAW_HEADERS if pair[0] not in names)]
            await send(message)

        app = self._app if self._may_pass(scope) else _unauthorized
        try:
            await app(scope, receive, send_with_headers)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.answered(route, status, time.perf_counter() - started)

    def _may_pass(self, scope: MutableMapping[str, Any]) -> bool:
        is_open = scope["method"] in ("GET", "HEAD") and scope["path"] in self._open_paths
        if self._key is None or is_open or scope["method"] == "OPTIONS":
            return True
        headers = Headers(scope=scope)
        kind, _, token = headers.get("authorization", "").partition(" ")
        sent = [headers.get("x-api-key", ""), token.strip() if kind.lower() == "bearer" else ""]
        # Both are compared, each in a time that does not tell where it differs.
        is_right = [hmac.compare_digest(value.encode("latin-1"), self._key) for value in sent]
        return any(is_right)


_unauthorized = JSONResponse(
    {"error": "the API key is missing or wrong: send it as Authorization: Bearer KEY, or as X-API-Key: KEY"},
    401,
    {"WWW-Authenticate": "Bearer"},
)
