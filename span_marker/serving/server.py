"""Runs the application with uvicorn."""

from __future__ import annotations

import asyncio
import logging
import math
import socket
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from span_marker.serving.quiet import FirstTime, WithoutMessages

HEAD_SECONDS = 10.0
"""How long a connection may take to send the head of a request."""

SPEAK_OF_EVERY_BATCH = ("span_marker.prediction.predictor", "span_marker.preprocessing.inputs")
"""Logs whose messages come with every batch."""

_WITHOUT_MESSAGES = WithoutMessages()


class Protocol(H11Protocol):
    """HTTP/1.1. Connections that do not send the head of a request in time are closed."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request. Answers are sent at once, not when the client has confirmed their heads."""
        super().connection_made(transport)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._wait_for_head()

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        super().on_response_complete()
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        super().connection_lost(exc)
        self._forget_timer()

    def _wait_for_head(self) -> None:
        self._forget_timer()
        self._timer = self.loop.call_later(HEAD_SECONDS, self._close_if_still, self.cycle)

    def _forget_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()  # it would keep the last request in memory

    def _close_if_still(self, cycle: Any) -> None:
        if self.cycle is cycle and (cycle is None or cycle.response_complete):
            self.transport.close()


def listen(host: str = "127.0.0.1", port: int = 8000) -> socket.socket:
    """Listen to connections.

    Args:
        host: Address to listen to; only this machine by default. ``0.0.0.0`` is all addresses.
        port: Port to listen to; 0 for any that is free.

    Returns:
        The socket.

    Raises:
        OSError: If the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=2048)


def make_server(app: FastAPI) -> uvicorn.Server:
    """Make a server, which stops gracefully.

    Args:
        app: See `span_marker.serving.create_app`.

    Returns:
        The server. It logs neither requests nor messages of errors, which might quote texts.
    """
    logging.getLogger("uvicorn.error").addFilter(_WITHOUT_MESSAGES)
    config = uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=math.ceil(app.state.service.limits.timeout),
    )
    return uvicorn.Server(config)


def serve(app: FastAPI, listener: socket.socket) -> None:
    """Answer requests until the process is told to stop (SIGTERM or SIGINT), and then finish what has begun.

    Warnings that would come with every batch are logged once.

    Args:
        app: See `span_marker.serving.create_app`.
        listener: See `listen`. It is closed.
    """
    for name in SPEAK_OF_EVERY_BATCH:
        logging.getLogger(name).addFilter(FirstTime())
    make_server(app).run(sockets=[listener])
