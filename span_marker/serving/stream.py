"""JSON lines in, JSON lines out, in order and in constant memory, while the lines still come."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from itertools import count
from typing import Any, NamedTuple, NoReturn

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from span_marker.data.rows import check_text, check_words
from span_marker.serving.limits import Limits, count_words
from span_marker.serving.service import Plan, Service

LINES_AT_ONCE = 64
"""The largest number of lines that wait for the model together."""


class Line(NamedTuple):
    """A line of the request.

    Attributes:
        row: The JSON object in it.
        sentence: Its text or words; None if it cannot be read.
        error: What is wrong with it, or None.
    """

    row: dict[str, Any]
    sentence: Any = None
    error: str | None = None


class RowStream(Response):
    """An answer that is written while its request is read: a row for each line that is not blank.

    Args:
        request: The request.
        service: Finds the entities.
        plan: How to read the sentences.
    """

    media_type = "application/jsonl"

    def __init__(self, request: Request, service: Service, plan: Plan) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._request, self._service, self._plan = request, service, plan

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Write the answer."""
        with self._service.admission.enter():
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            try:
                async for rows in self._rows():
                    body = {"type": "http.response.body", "body": rows, "more_body": True}
                    await asyncio.wait_for(send(body), self._service.limits.timeout)
                await send({"type": "http.response.body", "body": b""})
            except (asyncio.TimeoutError, ClientDisconnect):
                return  # the client reads nothing, or has left

    async def _rows(self) -> AsyncIterator[bytes]:
        limits, numbers = self._service.limits, count(1)
        try:
            async for lines in _read_lines(self._request, limits):
                numbered = [(next(numbers), line) for line in lines]
                full = [(number, line) for number, line in numbered if line.strip()]
                for first in range(0, len(full), LINES_AT_ONCE):
                    yield await self._answer([_parse(*pair, limits) for pair in full[first : first + LINES_AT_ONCE]])
        except HTTPException as error:  # the rest cannot be read
            yield _dump({"entities": [], "error": error.detail})

    async def _answer(self, lines: Sequence[Line]) -> bytes:
        """The rows of some lines."""
        found: dict[int, list[Any]] = {}
        errors = {index: line.error for index, line in enumerate(lines) if line.error is not None}
        for are_words in (False, True):
            places = [at for at, line in enumerate(lines) if isinstance(line.sentence, list if are_words else str)]
            try:
                read = await self._service.read(self._plan, [lines[at].sentence for at in places], are_words)
            except HTTPException as error:
                errors.update(dict.fromkeys(places, error.detail))
            else:
                found.update((at, self._plan.select(entities)) for at, (entities, _) in zip(places, read, strict=True))
        return b"".join(
            _dump({**line.row, "entities": found.get(at, []), **({"error": errors[at]} if at in errors else {})})
            for at, line in enumerate(lines)
        )


async def _read_lines(request: Request, limits: Limits) -> AsyncIterator[list[bytes]]:
    """Yield the lines that have come, as soon as they are complete."""
    rest = b""
    chunks = request.stream()
    while True:
        try:
            chunk = await asyncio.wait_for(anext(chunks, b""), limits.timeout)
        except asyncio.TimeoutError:
            raise HTTPException(408, f"no more lines came within {limits.timeout:g} s") from None
        *lines, rest = (rest + chunk).split(b"\n")
        yield lines
        if not chunk:
            yield [rest]
            return
        if len(rest) > limits.max_body:
            raise HTTPException(413, f"a line has more than {limits.max_body:,} bytes")


def _parse(number: int, line: bytes, limits: Limits) -> Line:
    try:
        row = json.loads(line.decode(), parse_constant=_refuse)
        _dump(row)  # JSON may hold what no answer can: surrogates, numbers out of range
    except RecursionError:
        return Line({}, error=f"line {number} is nested too deeply")
    except ValueError as error:
        return Line({}, error=f"line {number} is no JSON in UTF-8: {error}")
    names = [name for name in ("text", "tokens") if isinstance(row, dict) and name in row]
    if len(names) != 1:
        return Line({}, error=f"line {number} must be an object with either 'text' or 'tokens'")
    sentence = row[names[0]]
    try:
        (check_text if names == ["text"] else check_words)(sentence, f"line {number}: {names[0]!r}")
        limits.check_words(count_words(sentence))
    except TypeError as error:
        return Line(row, error=str(error))
    except HTTPException as error:
        return Line(row, error=f"line {number}: {error.detail}")
    return Line(row, sentence)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")


def _dump(row: Any) -> bytes:
    return json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n"
