"""Run the application with uvicorn."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import socket
from typing import Any

import uvicorn
from fastapi import FastAPI
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from span_marker.serving.quiet import FirstTime, WithoutMessages

HEAD_SECONDS = 10.0
"""Maximum seconds for a connection to send the head of a request."""

HEAD_BYTES = 64 * 1024
"""Maximum bytes a connection may send before the head of a request is complete, or between two chunks of its body."""

SPEAK_OF_EVERY_BATCH = ("span_marker.prediction.predictor", "span_marker.preprocessing.inputs")
"""Loggers that repeat their messages with every batch."""

_WITHOUT_MESSAGES = WithoutMessages()


class Protocol(HttpToolsProtocol):
    """HTTP/1.1. Closes connections that send the head of a request too slowly, or send a head that is too large."""

    _timer: asyncio.TimerHandle | None = None
    _num_unread = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start waiting for a request. Without Nagle's algorithm, responses do not wait for acknowledgments."""
        super().connection_made(transport)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """Read data, and limit the size of heads and trailers, which the parser does not."""
        self._unset_keepalive_if_required()
        self._num_unread += len(data)
        try:
            while data:
                data = self._parse(data)
        except HttpParserError:
            self._refuse()
        if self._num_unread > HEAD_BYTES:
            self._refuse()

    def _refuse(self) -> None:
        if not self.transport.is_closing():
            self.logger.warning("Invalid HTTP request received.")
            self.send_400_response("Invalid HTTP request received.")

    def _parse(self, data: bytes) -> bytes:
        """Parse bytes, and return those that must be parsed again.

        The parser drops the body of a request that offers a protocol upgrade, so such a request is parsed again without
        the offer.
        """
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade as offer:
            if not self._has_offer():
                raise HttpParserError("CONNECT") from None
            version = self.parser.get_http_version().encode()
            head = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, version)]
            head += [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
            self.parser = HttpRequestParser(self)
            return b"\r\n".join([*head, b"", data[offer.args[0] :]])
        return b""

    def _has_offer(self) -> bool:
        return self.parser.should_upgrade() and any(name == b"upgrade" for name, _ in self.headers)

    def on_headers_complete(self) -> None:
        """Start to handle the request."""
        self._num_unread = 0
        if not self._has_offer():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that the body is complete."""
        if not self._has_offer():
            super().on_message_complete()

    def on_body(self, body: bytes) -> None:
        """Buffer a chunk of the body."""
        self._num_unread = 0
        super().on_body(body)

    def on_response_complete(self) -> None:
        """Start waiting for the next request."""
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
    """Open a listening socket.

    Args:
        host: Address to listen on. Defaults to this machine only; ``0.0.0.0`` is all addresses.
        port: Port to listen on; 0 for any free port.

    Returns:
        The socket.

    Raises:
        OSError: If the address is not available.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=2048)


def make_server(app: FastAPI) -> uvicorn.Server:
    """Create a server that shuts down gracefully.

    Args:
        app: See `span_marker.serving.create_app`.

    Returns:
        The server. It logs neither requests nor error messages, which might quote texts.
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
    """Serve requests until SIGTERM or SIGINT, and then finish those in progress.

    Warnings that would come with every batch are logged once.

    Args:
        app: See `span_marker.serving.create_app`.
        listener: See `listen`. It is closed.
    """
    for name in SPEAK_OF_EVERY_BATCH:
        logging.getLogger(name).addFilter(FirstTime())
    gc.collect()
    gc.freeze()  # models and libraries stay: to look for garbage among them would hold up requests, again and again
    make_server(app).run(sockets=[listener])
