"""Limits of the server, and how it refuses requests beyond them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import NoReturn

from starlette.exceptions import HTTPException
from starlette.requests import Request

from span_marker.core.words import unicode_words

STATUSES = {
    400: "The body is not JSON.",
    401: "The API key is missing or wrong.",
    404: "There is no such model.",
    408: "The body did not arrive in time.",
    413: "The body is too large, or has too many words.",
    415: "The body was not sent as JSON.",
    422: "A value is invalid.",
    429: "Too many requests at once; try again after `Retry-After` seconds.",
    500: "The model failed on this request.",
    503: "The model did not start on this request in time; try again after `Retry-After` seconds.",
    504: "The model did not finish this request in time.",
}
"""The errors of the server. Each has a body with one sentence: ``{"error": "..."}``."""

RETRY = {"Retry-After": "1"}

LINGER_SECONDS = 1.0
"""Seconds during which the rest of a too large body is discarded, so that the client can read the response."""


@dataclass(frozen=True)
class Limits:
    """How much a server takes in.

    Attributes:
        max_requests: Maximum number of concurrent requests, from the start of their bodies to the end of their
            responses.
        max_body: Maximum number of bytes in the body of a request, or in a line of a stream.
        max_words: Maximum number of words in all texts of a request, see `unicode_words`.
        timeout: Maximum seconds to wait for a body, and again for its response; for a stream, for the next lines.

    Raises:
        ValueError: If a limit is not above 0.
    """

    max_requests: int = 1024
    max_body: int = 4 * 2**20
    max_words: int = 200_000
    timeout: float = 120.0

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                raise ValueError(f"{field.name}={getattr(self, field.name)} must be above 0")

    async def read_body(self, request: Request) -> bytes:
        """Read the body of a request.

        Args:
            request: The request.

        Returns:
            The body.

        Raises:
            HTTPException: If it is too large, or does not arrive in time.
            ClientDisconnect: If the client disconnects.
        """
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared[:20]) > self.max_body:
            await self._refuse_body(request)
        try:
            body = await asyncio.wait_for(self._collect(request), self.timeout)
        except asyncio.TimeoutError:
            raise HTTPException(408, f"the body did not arrive within {self.timeout:g} s") from None
        if len(body) > self.max_body:
            await self._refuse_body(request)
        return bytes(body)

    async def _collect(self, request: Request) -> bytearray:
        """Read a body, or as much of it as exceeds the limit."""
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self.max_body:
                break
        return body

    async def _refuse_body(self, request: Request) -> NoReturn:
        async def throw_away() -> None:
            while (await request.receive()).get("more_body"):
                pass

        await asyncio.wait({asyncio.ensure_future(throw_away())}, timeout=LINGER_SECONDS)
        raise HTTPException(
            413,
            f"the body has more than {self.max_body:,} bytes: send less per request, stream lines to /predict/stream, "
            "or start the server with a larger --max-body",
            {"Connection": "close"},
        )

    async def check_words(self, sentences: Sequence[str | list[str]]) -> None:
        """Refuse sentences with too many words.

        Args:
            sentences: Texts, or lists of words.

        Raises:
            HTTPException: If they have too many words.
        """
        if sum(map(len, sentences)) + len(sentences) <= self.max_words:
            return  # no text has more words than characters, but each sentence counts as one at least
        num_words = await asyncio.to_thread(lambda: sum(map(_count_words, sentences)))
        if num_words > self.max_words:
            raise HTTPException(
                413,
                f"the texts have {num_words:,} words, but the limit is {self.max_words:,}: send fewer per request, or "
                "start the server with a larger --max-words",
            )


class Admission:
    """Counts the current requests, and refuses those beyond a maximum.

    Args:
        max_requests: The maximum.
    """

    def __init__(self, max_requests: int) -> None:
        self.max_requests = max_requests
        self.num_inside = 0

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Admit a request for the duration of a ``with`` block.

        Raises:
            HTTPException: If there are too many already.
        """
        if self.num_inside >= self.max_requests:
            raise HTTPException(
                429,
                f"the server is already handling {self.max_requests:,} requests: try again later, or start it with a "
                "larger --max-requests",
                RETRY,
            )
        self.num_inside += 1
        try:
            yield
        finally:
            self.num_inside -= 1


def _count_words(sentence: str | list[str]) -> int:
    return max(len(unicode_words(sentence) if isinstance(sentence, str) else sentence), 1)
