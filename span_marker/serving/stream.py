"""Streaming: JSON lines in, JSON lines out, in order, in constant memory, while lines are still arriving."""

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

from span_marker.core.json_reading import RepeatedKeyError, json_problem, parse_json
from span_marker.data.json_writing import json_line
from span_marker.data.rows import check_text, check_words
from span_marker.prediction.readings import ERROR, halves
from span_marker.prediction.relations import replace_annotation
from span_marker.serving.limits import Limits
from span_marker.serving.queue import Found
from span_marker.serving.service import FAILED, TOO_LARGE, Plan, Service

LINES_AT_ONCE = 64
"""Maximum number of lines that wait for the model together."""


class Line(NamedTuple):
    """A line of the request.

    Attributes:
        row: The JSON object in it.
        sentence: Its text or words; None if the line is invalid.
        error: The error of the line, or None.
    """

    row: dict[str, Any]
    sentence: Any = None
    error: str | None = None


class RowStream(Response):
    """A response that is written while its request is read: one row per line that is not blank.

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
                    some = full[first : first + LINES_AT_ONCE]
                    yield await self._answer([await _parse(line, f"line {number}", limits) for number, line in some])
        except HTTPException as error:  # the rest cannot be read
            yield json_line({"entities": [], ERROR: error.detail}, "the last row")

    async def _answer(self, lines: Sequence[Line]) -> bytes:
        """The rows of some lines."""
        found: dict[int, dict[str, Any]] = {}
        errors = {index: line.error for index, line in enumerate(lines) if line.error is not None}
        for are_words in (False, True):
            places = [at for at, line in enumerate(lines) if isinstance(line.sentence, list if are_words else str)]
            for at, read in zip(
                places, await self._read([lines[at].sentence for at in places], are_words), strict=True
            ):
                if isinstance(read, HTTPException):
                    errors[at] = read.detail
                else:
                    found[at] = self._plan.select(read[0])
        columns = [{name: value for name, value in line.row.items() if name != ERROR} for line in lines]
        rows = [replace_annotation(row, found.get(at, [])) for at, row in enumerate(columns)]
        for at, message in errors.items():
            rows[at][ERROR] = message
        return b"".join(json_line(row, f"row {at}") for at, row in enumerate(rows))

    async def _read(self, sentences: Sequence[Any], are_words: bool) -> Sequence[Found | HTTPException]:
        """Read sentences together, or recursively in halves if that fails because of an unknown one of them."""
        try:
            return await self._service.read(self._plan, sentences, are_words)
        except HTTPException as error:
            if error.status_code not in (TOO_LARGE, FAILED) or len(sentences) == 1:
                return [error] * len(sentences)
        return [read for half in halves(sentences) for read in await self._read(half, are_words)]


async def _read_lines(request: Request, limits: Limits) -> AsyncIterator[list[bytes]]:
    """Yield complete lines as they arrive."""
    rest = b""
    chunks = request.stream()
    while True:
        try:
            chunk = await asyncio.wait_for(anext(chunks, b""), limits.timeout)
        except asyncio.TimeoutError:
            raise HTTPException(408, f"no further lines arrived within {limits.timeout:g} s") from None
        *lines, rest = (rest + chunk).split(b"\n")
        yield lines
        if not chunk:
            yield [rest]
            return
        if len(rest) > limits.max_body:
            raise HTTPException(413, f"a line has more than {limits.max_body:,} bytes")


async def _parse(data: bytes, location: str, limits: Limits) -> Line:
    try:
        row = _parse_row(data, location)
    except ValueError as error:
        return Line({}, error=str(error))
    name = "text" if "text" in row else "tokens"
    try:
        (check_text if name == "text" else check_words)(row[name], f"{location}: {name!r}")
        await limits.check_words([row[name]])
    except TypeError as error:
        return Line(row, error=str(error))
    except HTTPException as error:
        return Line(row, error=f"{location}: {error.detail}")
    return Line(row, row[name])


def _parse_row(data: bytes, location: str) -> dict[str, Any]:
    try:
        row = parse_json(data.decode(), parse_constant=_refuse)
        if not isinstance(row, dict) or ("text" in row) == ("tokens" in row):
            raise ValueError(f"{location} must be an object with either 'text' or 'tokens'")
        json_line(row, location)  # numbers out of range are infinite by now
    except RepeatedKeyError as error:
        raise ValueError(f"{location} {json_problem(error)}") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{location} is not valid JSON in UTF-8: {error}") from error
    except RecursionError as error:
        raise ValueError(f"{location} is nested too deeply") from error
    return row


def _refuse(constant: str) -> NoReturn:
    raise json.JSONDecodeError(f"{constant} is not a JSON number", constant, 0)
