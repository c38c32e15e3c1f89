"""A server on loopback in a thread, models that wait to be told to go on, and a client that hides nothing."""

from __future__ import annotations

import http.client
import json
import re
import threading
import time
from contextlib import contextmanager
from typing import Any, NamedTuple

from span_marker.core.offsets import convert_offsets
from span_marker.prediction.propagation import Propagation, propagate_names
from span_marker.preprocessing.inputs import Sentences
from span_marker.serving import create_app, listen
from span_marker.serving.server import make_server

PATIENCE = 60.0
PLACE = ("char_start_index", "char_end_index")


class Answer(NamedTuple):
    """An answer to a request."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The sentence of an answer that says what is wrong."""
        (pair,) = self.json.items()
        assert pair[0] == "error"
        assert "\n" not in pair[1]
        return pair[1]


class HeldModel:
    """A model that waits before it predicts, and remembers what it was asked."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.may_go_on = threading.Event()
        self.is_asked = threading.Event()
        self.calls: list[list[Any]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def predict(self, sentences: list[Any], *arguments: Any, **options: Any) -> Any:
        self.calls.append(list(sentences))
        self.is_asked.set()
        assert self.may_go_on.wait(PATIENCE)
        return self._model.predict(sentences, *arguments, **options)


class Running:
    """A server that runs."""

    def __init__(self, app: Any, port: int) -> None:
        self.app, self.port, self.url = app, port, f"http://127.0.0.1:{port}"
        self.service = app.state.service

    def ask(self, path: str, body: Any = None, headers: dict[str, str] | None = None, method: str = "") -> Answer:
        """Send a request; values other than bytes and iterators of bytes are sent as JSON."""
        if body is not None and not isinstance(body, bytes) and not hasattr(body, "__next__"):
            body = json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            method = method or ("GET" if body is None else "POST")
            connection.request(
                method, path, body, {"Content-Type": "application/json", **(headers or {})}, encode_chunked=True
            )
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()


@contextmanager
def running(models: Any, **options: Any) -> Any:
    """Run a server within a ``with`` block. Unless ``num_threads`` says so, it reads one group at a time."""
    app = create_app(models, **{"num_threads": 1, **options})
    listener = listen(port=0)
    server = make_server(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        wait_for(lambda: server.started)
        yield Running(app, listener.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        listener.close()
    assert not thread.is_alive()


def wait_for(condition: Any) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


class NameFinder:
    """Stands in for a model: it finds names from a list, so that a test of the page knows what there is to see."""

    NAMES = (
        ("New York University", "ORG", 0.9),
        ("New York", "LOC", 0.7),
        ("Paris", "LOC", 0.8),
        ("Amelia", "PER", 0.6),
        ("القاهرة", "LOC", 0.95),
        ("<script>", "<img src=x onerror=document.title='broken'>", 0.5),
    )

    def __init__(self, model: Any, found: tuple[str, ...] = ("ORG", "LOC", "PER", NAMES[-1][1])) -> None:
        self._model = model
        self.labels = sorted(found)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def predict(
        self, texts: list[str], *arguments: Any, threshold: Any = None, offsets: Any = "codepoint", **o: Any
    ) -> Any:
        """Predict. With ``propagate``, it finds the first mention of each name, and the library the others."""
        propagate = o.get("propagate", False)
        found = [self._entities(text, threshold or 0.0, o.get("decoding") == "nested", propagate) for text in texts]
        if propagate:
            found = propagate_names(Sentences(texts, are_texts=True), found, Propagation(min_score=0.0), offsets)
        for text, entities in zip(texts, found, strict=True):
            places = iter(convert_offsets(text, [entity[name] for entity in entities for name in PLACE], offsets))
            for entity in entities:
                entity.update({name: next(places) for name in PLACE})
        coverages = self._model.predict(["a"] * len(texts), is_split_into_words=False, return_coverage=True)[1]
        return found, coverages

    def _entities(self, text: str, threshold: float, is_nested: bool, is_first: bool) -> list[Any]:
        found: list[tuple[int, int, str, float]] = []
        taken: set[int] = set()
        for name, label, score in self.NAMES:
            for match in [*re.finditer(re.escape(name), text)][: 1 if is_first else None]:
                if label in self.labels and score >= threshold and (is_nested or match.start() not in taken):
                    taken |= {*range(*match.span())}
                    found.append((*match.span(), label, score))
        found.sort()
        return [
            {
                "span": text[start:end],
                "label": label,
                "score": score,
                "char_start_index": start,
                "char_end_index": end,
            }
            for start, end, label, score in found
        ]
