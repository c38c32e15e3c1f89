"""The server as its clients see it: uvicorn on loopback, and clients of every kind."""

import asyncio
import gc
import json
import logging
import math
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import get_type_hints

import pytest
import torch
from commands import run
from helpers import approximately, check_margin
from serving import PATIENCE, HeldModel, NameFinder, running, wait_for
from tiny import SENTENCES, TEXT, build_model

import span_marker.serving.server as server_module
from span_marker.prediction.entities import Conflict, Entity, Origin
from span_marker.rules import RegexRule, Rules
from span_marker.serving import Limits, create_app, listen
from span_marker.serving.metrics import Metrics
from span_marker.serving.queue import ENOUGH_BYTES, GROUP_BYTES, TURNS_TO_ARRIVE, Job, PredictionQueue

TEXTS = TEXT.strip().splitlines()
WORDS = [words for words in SENTENCES if words]
NAMES = ["Amelia", "Paris", "Egypt", "Tokyo", "Cleopatra", "Florence", "Lockheed", "Spain"]
SECRET = "Zanzibar"
HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
JSONL = {"Content-Type": "application/jsonl"}


@pytest.fixture(scope="module")
def model():
    return build_model(entity_max_length=3)


@pytest.fixture(scope="module")
def other_model():
    return build_model("distilbert", entity_max_length=2, labels=["O", "B-DRUG", "I-DRUG"], seed=3)


@pytest.fixture(scope="module")
def within(model):
    return check_margin(model, TEXTS)


@pytest.fixture(scope="module")
def server(model, other_model):
    with running({"news": model, "drugs": other_model}, num_threads=2) as server:
        yield server


@pytest.fixture
def held(model):
    return HeldModel(model)


def rows(answer):
    return [json.loads(line) for line in answer.body.splitlines()]


# What it answers


def test_labels_of_rules_can_be_chosen():
    model = build_model(entity_max_length=3)
    model.rules = Rules([RegexRule("YEAR", r"\d{4}")])
    with running({"m": model}) as server:
        (info,) = server.ask("/info").json["models"]
        assert info["labels"] == [*model.labels, "YEAR"]
        found = server.ask("/predict", {"inputs": "Paris in 1937", "labels": ["YEAR"]}).json["entities"]
    assert [entity["span"] for entity in found] == ["1937"]


def test_answers_are_those_of_predict(server, model, within):
    expected = approximately(model.predict(TEXTS, is_split_into_words=False), within)
    answer = server.ask("/predict", {"inputs": TEXTS})
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json == {"model": "news", "entities": expected}
    assert server.ask("/predict", {"inputs": TEXTS[0]}).json["entities"] == expected[0]
    assert server.ask("/predict", {"inputs": []}).json["entities"] == []
    words = approximately(model.predict(WORDS), within)
    assert server.ask("/predict", {"inputs": WORDS}).json["entities"] == words
    single = server.ask("/predict", {"inputs": WORDS[0], "is_split_into_words": True})
    assert single.json["entities"] == words[0]


@pytest.mark.parametrize(
    "options",
    [
        {"threshold": 0.3},
        {"threshold": {"PER": 0.01}},
        {"decoding": "nested", "threshold": 0.05},
        {"decoding": "overlapping", "threshold": 0.0},
        {"top_k": 2},
        {"exact": True},
        {"offsets": "utf-16"},
        {"offsets": "utf-8"},
        {"split_sentences": True},
        {"propagate": True, "offsets": "utf-16"},
    ],
)
def test_options_are_those_of_predict(server, model, within, options):
    if "split_sentences" in options:
        pytest.importorskip("spacy")
    if "propagate" in options:
        pytest.importorskip("ahocorasick_rs")
    text = "\N{PARTY POPPER} Amelia flew to Paris."
    found = server.ask("/predict", {"inputs": text, **options}).json["entities"]
    expected = model.predict(text, **options)
    assert [entity | {"score": 0, "labels": None} for entity in found] == [
        entity | {"score": 0, "labels": None} for entity in expected
    ]
    assert [e["score"] for e in found] == pytest.approx([e["score"] for e in expected], abs=within, rel=0)


def test_labels_coverage_and_models(server, model, other_model):
    found = server.ask("/predict", {"inputs": TEXTS[0], "threshold": 0.1, "labels": ["PER"]}).json["entities"]
    everything = model.predict(TEXTS[0], threshold=0.1)
    assert [e["char_start_index"] for e in found] == [e["char_start_index"] for e in everything if e["label"] == "PER"]
    covered = server.ask("/predict", {"inputs": TEXTS[0], "return_coverage": True}).json["coverage"]
    assert covered["num_windows"] == 1
    answer = server.ask("/predict", {"inputs": TEXTS[0], "model": "drugs"}).json
    assert answer["model"] == "drugs"
    assert {e["label"] for e in answer["entities"]} == {e["label"] for e in other_model.predict(TEXTS[0])}
    info = server.ask("/info").json
    assert [(m["name"], m["labels"], m["decoding"]) for m in info["models"]] == [
        ("news", model.labels, "flat"),
        ("drugs", ["DRUG"], "flat"),
    ]
    assert json.dumps(info["limits"]["max_requests"]) == str(Limits().max_requests)  # a whole number


def test_64_clients_get_their_own_answers(server, model):
    """Texts, words, options and models are mixed; each client knows what its own text holds."""

    def text_of(client, turn):
        return " ".join(NAMES[(client + turn * step) % len(NAMES)] for step in range(client % 7 + 1)) + f" {client}"

    def talk(client):
        for turn in range(4):
            text = text_of(client, turn)
            body = {"inputs": text, "threshold": 0.0, "decoding": "overlapping"}
            if client % 4 == 1:
                body["inputs"] = [text, str(client)]
            if client % 4 == 2:
                body |= {"inputs": text.split(), "is_split_into_words": True}
            if client % 4 == 3:
                body["model"] = "drugs"
            answer = server.ask("/predict", body).json
            assert answer["model"] == body.get("model", "news")
            entities = answer["entities"][0] if client % 4 == 1 else answer["entities"]
            spans = [e["span"] if isinstance(e["span"], str) else " ".join(e["span"]) for e in entities]
            pieces = text.split()
            longest = 2 if client % 4 == 3 else 3
            expected = {" ".join(pieces[a:b]) for a in range(len(pieces)) for b in range(a + 1, a + longest + 1)}
            assert set(spans) == {piece for piece in expected if piece}
        return client

    with ThreadPoolExecutor(64) as clients:
        assert list(clients.map(talk, range(64))) == list(range(64))


def test_what_comes_meanwhile_is_read_together(model):
    held = HeldModel(model)
    with running({"m": held}) as server, ThreadPoolExecutor(8) as clients:
        first = clients.submit(server.ask, "/predict", {"inputs": "Paris"})
        assert held.is_asked.wait(PATIENCE)
        others = [clients.submit(server.ask, "/predict", {"inputs": [f"Tokyo {n}", "Egypt"]}) for n in range(7)]
        wait_for(lambda: server.service.queue.num_waiting == 7)
        held.may_go_on.set()
        assert all(request.result().status == 200 for request in [first, *others])
    assert [len(call) for call in held.calls] == [1, 14]


class ThreadsSeen(HeldModel):
    """A model that remembers with how many threads it was asked to predict."""

    def predict(self, sentences, *arguments, **options):
        self.calls.append(torch.get_num_threads())
        self.is_asked.set()
        assert self.may_go_on.wait(PATIENCE)
        return self._model.predict(sentences, *arguments, **options)


def ask_in_turn(server, clients, held, count):
    """Send requests, the next one when the model was asked to read the one before, which it holds."""
    requests = []
    for number in range(count):
        requests.append(clients.submit(server.ask, "/predict", {"inputs": f"Paris {number}"}))
        wait_for(lambda number=number: len(held.calls) == number + 1)
    return requests


def test_several_groups_are_read_at_the_same_time(model):
    """Each by a thread with its share of PyTorch's; when nobody is left, requests wait."""
    held = ThreadsSeen(model)
    with running({"m": held}, num_threads=3) as server, ThreadPoolExecutor(4) as clients:
        requests = ask_in_turn(server, clients, held, 3)
        requests.append(clients.submit(server.ask, "/predict", {"inputs": "Egypt"}))
        wait_for(lambda: server.service.queue.num_waiting == 1)
        held.may_go_on.set()
        assert all(request.result().status == 200 for request in requests)
    assert held.calls == [1, 1, 1, 1]


def test_readers_who_have_nothing_share_what_has_come(model):
    held = HeldModel(model)
    with running({"m": held}, num_threads=2) as server, ThreadPoolExecutor(1) as clients:
        request = clients.submit(server.ask, "/predict", {"inputs": [f"Tokyo and Paris {n}" * 20 for n in range(70)]})
        wait_for(lambda: len(held.calls) == 2)
        held.may_go_on.set()
        assert request.result().status == 200
    first, second, *more = map(len, held.calls)
    assert abs(first - second) <= 20  # a turn each
    assert first + second == 70
    assert not more


def test_a_reader_leaves_others_as_much_as_it_takes(model):
    """What is being read counts: another reader, who has less to do, is done before."""

    class Released(HeldModel):
        turns = threading.Semaphore(0)

        def predict(self, sentences, *arguments, **options):
            self.calls.append(len(sentences))
            assert self.turns.acquire(timeout=PATIENCE)
            return self._model.predict(sentences, *arguments, **options)

    held = Released(model)
    with running({"m": held}, num_threads=2) as server, ThreadPoolExecutor(22) as clients:
        requests = ask_in_turn(server, clients, held, 2)
        requests += [clients.submit(server.ask, "/predict", {"inputs": f"Paris {number}"}) for number in range(20)]
        wait_for(lambda: server.service.queue.num_waiting == 20)
        held.turns.release()  # one of the two is done, and finds 20 texts, while the other reads one
        wait_for(lambda: len(held.calls) == 3)
        assert held.calls[2] == 11
        held.turns.release(len(requests))
        assert all(request.result().status == 200 for request in requests)


def test_a_reader_who_is_done_goes_on_with_what_has_come_if_that_is_much(model):
    """It does not wait for the event loop, which hands out the answers; what is little waits, so that it may grow."""
    held = HeldModel(model)
    much = [f"Tokyo and Paris {number}" for number in range(ENOUGH_BYTES // 20)]
    with running({"m": held}, num_threads=2) as server, ThreadPoolExecutor(5) as clients:
        requests = ask_in_turn(server, clients, held, 2)
        requests.append(clients.submit(server.ask, "/predict", {"inputs": "Egypt"}))
        wait_for(lambda: server.service.queue.num_waiting == 1)
        requests.append(clients.submit(server.ask, "/predict", {"inputs": much}))
        wait_for(lambda: server.service.queue.num_waiting == 0)
        requests.append(clients.submit(server.ask, "/predict", {"inputs": much}))
        wait_for(lambda: server.service.queue.num_waiting == 1)
        assert list(map(len, held.calls)) == [1, 1]
        held.may_go_on.set()
        assert all(request.result().status == 200 for request in requests)
    assert sorted(map(len, held.calls)) == [1, 1, len(much), 1 + len(much)]


def test_requests_that_are_on_their_way_are_read_together(model):
    """Until they are a group: those that come without end are not waited for."""
    held = HeldModel(model)
    held.may_go_on.set()

    async def ask(texts):
        queue = PredictionQueue({"m": held}, Metrics(), 32, 1)
        await queue.start()
        jobs = []
        for text in texts:
            jobs.append(Job("m", [text], False, {}))
            queue.put(jobs[-1])
            for _ in range(TURNS_TO_ARRIVE - 2):
                await asyncio.sleep(0)
        await asyncio.gather(*(job.answer for job in jobs))
        await queue.stop()

    asyncio.run(ask([f"Paris {number}" for number in range(10)]))
    assert list(map(len, held.calls)) == [10]
    asyncio.run(ask(["Paris " * (GROUP_BYTES // 18)] * 6))  # a third of a group each
    assert max(map(len, held.calls[1:])) <= 4


def test_a_large_request_does_not_hold_up_small_ones(model):
    held = HeldModel(model)
    with running({"m": held}) as server, ThreadPoolExecutor(3) as clients:
        first = clients.submit(server.ask, "/predict", {"inputs": "Paris"})
        assert held.is_asked.wait(PATIENCE)
        large = clients.submit(server.ask, "/predict", {"inputs": ["Tokyo and Paris"] * 3000})
        wait_for(lambda: server.service.queue.num_waiting == 1)
        small = clients.submit(server.ask, "/predict", {"inputs": "Egypt"})
        wait_for(lambda: server.service.queue.num_waiting == 2)
        held.may_go_on.set()
        assert len(large.result().json["entities"]) == 3000
        assert first.result().status == small.result().status == 200
    assert "Egypt" in held.calls[1]
    assert len(held.calls) > 2


class HeldByLongTexts(HeldModel):
    """A model that waits before it predicts long texts."""

    def predict(self, sentences, *arguments, **options):
        if max(map(len, sentences)) > GROUP_BYTES:
            return super().predict(sentences, *arguments, **options)
        return self._model.predict(sentences, *arguments, **options)


def test_a_long_text_does_not_hold_up_others(model, within):
    text = "Amelia flew to Paris. " * (GROUP_BYTES // 20)
    held = HeldByLongTexts(model)
    with running({"m": held}) as server, ThreadPoolExecutor(2) as clients:
        long = clients.submit(server.ask, "/predict", {"inputs": [text, "Egypt"]})
        assert held.is_asked.wait(PATIENCE)
        words = clients.submit(server.ask, "/predict", {"inputs": [text.split()]})
        wait_for(lambda: server.service.long_queue.num_waiting == 2)  # "Egypt" waits, too
        assert server.ask("/predict", {"inputs": ["Tokyo", *TEXTS]}).status == 200
        assert server.ask("/ready").status == 200
        held.may_go_on.set()
        found, found_words = long.result().json["entities"], words.result().json["entities"]
    assert found == approximately(model.predict([text, "Egypt"], is_split_into_words=False), within)
    assert found_words == approximately(model.predict([text.split()]), within)


# JSON lines


def test_stream_is_in_order(server, model):
    sent = [{"id": number, "text": f"{NAMES[number % 8]} {number}"} for number in range(300)]
    body = (json.dumps(row).encode() + b"\n" for row in sent)
    path = "/predict/stream?threshold=0&decoding=overlapping"
    answer = server.ask(path, body, JSONL)
    assert answer.headers["content-type"] == "application/jsonl"
    received = rows(answer)
    assert [{"id": row["id"], "text": row["text"]} for row in received] == sent
    for row in received:
        assert {e["span"] for e in row["entities"]} == {*row["text"].split(), row["text"]}


def test_stream_answers_while_it_reads(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as connection:
        head = "POST /predict/stream HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
        connection.sendall(f"{head}Content-Type: application/jsonl\r\n\r\n".encode())
        reader = connection.makefile("rb")
        for number in range(3):
            line = json.dumps({"id": number, "tokens": ["Paris"]}).encode() + b"\n"
            connection.sendall(b"%x\r\n%s\r\n" % (len(line), line))
            while b'"id"' not in (received := reader.readline()):
                assert received
            assert json.loads(received)["id"] == number
        connection.sendall(b"0\r\n\r\n")
        reader.close()


def test_lines_that_cannot_be_read_have_errors(server):
    lines = [
        b'{"text": "Paris"}',
        b"nonsense",
        b"\xff",
        b"",
        b'{"text": "Paris", "x": NaN}',
        b'{"text": "Paris", "x": 1e999}',
        b'{"text": null, "id": 7}',
        b'{"text": "a", "tokens": ["a"]}',
        b"[1]",
        b"[" * 100_000,
        b'{"tokens": ["Paris"], "id": 8}',
        b'{"text": "Pa\\ud83dris", "id": 9}',  # half of a letter, as files may have it, is written as it came
    ]
    received = rows(server.ask("/predict/stream", b"\r\n".join(lines), {"Content-Type": "application/x-ndjson"}))
    assert len(received) == len(lines) - 1  # but for the blank one
    assert ["error" in row for row in received] == [False, *[True] * 8, False, False]
    assert received[-1]["text"] == "Pa\ud83dris"
    assert [number for number, row in enumerate(received, 1) if row.get("id") == 7] == [6]
    for number, row in zip([2, 3, 5, 6, 7, 8, 9, 10], received[1:-2], strict=True):
        assert row["error"].startswith(f"line {number}")
        assert row["entities"] == []


def test_lines_that_came_back_can_be_sent_again(server):
    lines = [{"text": "Paris", "error": "it did not fit", "entities": []}, {"text": None, "error": "old"}]
    found, wrong = rows(server.ask("/predict/stream", b"\n".join(json.dumps(row).encode() for row in lines), JSONL))
    assert "error" not in found
    assert wrong["error"].startswith("line 2: 'text' must be a string")


def test_options_in_the_query_are_not_passed_over(server):
    line, body = b'{"text": "Paris"}', {"inputs": "Paris"}
    for path, sent, words in (
        ("/predict/stream?treshold=0.8", line, "unknown query parameter 'treshold': supported are 'model', "),
        ("/predict/stream?threshold=0.8&keep=id", line, "unknown query parameter 'keep'"),
        ("/predict?threshold=0.8", body, "unknown query parameter 'threshold': pass options as fields of the body"),
    ):
        answer = server.ask(path, sent, JSONL if sent is line else None)
        assert (answer.status, words in answer.json["error"]) == (422, True)
    assert server.ask("/predict/stream?threshold=0.8&labels=PER&labels=LOC", line, JSONL).status == 200


def test_a_line_without_end_is_refused(model):
    with running({"m": model}, limits=Limits(max_body=1000)) as server:
        body = b'{"text": "Paris"}\n' + b"x" * 200_000
        received = rows(server.ask("/predict/stream", body, JSONL))
    assert "error" not in received[0]
    assert received[1:] == [{"entities": [], "error": "a line has more than 1,000 bytes"}]


# What is wrong with a request


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 400, "not valid JSON"),
        (b"{", 400, "not valid JSON"),
        (b'{"inputs": "\xff"}', 400, "not valid JSON"),
        (b'{"inputs": "\\ud800 x"}', 400, "not valid JSON"),
        (b'{"inputs": ["a", "\\uDBFF"]}', 400, "not valid JSON"),
        (b'{"inputs": [["a\\udc00\\ud83d"]]}', 400, "not valid JSON"),
        (b'{"inputs": "a", "labels": ["\\ud800"]}', 400, "not valid JSON"),
        (b'{"inputs": "a", "\\ud800": 1}', 400, "not valid JSON"),
        (b'"\\ud800"', 400, "not valid JSON"),
        (b'{"inputs": "a", "inputs": "b"}', 400, "the body has the key 'inputs' twice"),
        (b'{"inputs": "a", "threshold": {"PER": 0.1, "PER": 0.2}}', 400, "the body has the key 'PER' twice"),
        (b"[" * 100_000, 400, "nested too deeply"),
        (b'{"inputs": ' * 50_000, 400, "nested too deeply"),
        (b'{"inputs": "a", "top_k": %s}' % (b"9" * 5000), 400, "too many digits: line 1 column 26"),
        (b"[]", 422, "must be a JSON object"),
        (b"{}", 422, "'inputs' is missing"),
        (b'{"inputs": 1}', 422, "'inputs' must be a text, a list of texts"),
        (b'{"inputs": null}', 422, "'inputs' must be"),
        (b'{"inputs": ["a", ["b"]]}', 422, "'inputs' must be"),
        (b'{"inputs": "a", "threshold": NaN}', 422, "'threshold' must be a number from 0 to 1"),
        (b'{"inputs": "a", "threshold": 1e999}', 422, "'threshold' must be"),
        (b'{"inputs": "a", "threshold": true}', 422, "'threshold' must be"),
        (b'{"inputs": "a", "threshold": {"PER": 2}}', 422, "'threshold' must be"),
        (b'{"inputs": "a", "threshold": {"XYZ": 0.5}}', 422, "XYZ"),
        (b'{"inputs": "a", "top_k": 0}', 422, "'top_k' must be"),
        (b'{"inputs": "a", "top_k": 99999999999999999999}', 422, "'top_k' must be"),
        (b'{"inputs": "a", "decoding": "best"}', 422, "'decoding' must be"),
        (b'{"inputs": "a", "labels": ["XYZ"]}', 422, "XYZ"),
        (b'{"inputs": "a", "batch_size": 2}', 422, "unknown field 'batch_size'"),
        (b'{"inputs": "a", "is_split_into_words": true}', 422, "leave it out"),
        (b'{"inputs": [["a"]], "is_split_into_words": false}', 422, "leave it out"),
        (b'{"inputs": [["a"]], "split_sentences": true}', 422, "split_sentences applies to texts"),
        (b'{"inputs": "a", "model": "best"}', 404, "there is no model 'best', only 'news', 'drugs'"),
    ],
)
def test_errors_are_a_sentence(server, body, status, words):
    answer = server.ask("/predict", body)
    assert (answer.status, words in answer.error) == (status, True), answer.body
    assert len(answer.error) < 300


def test_entities_from_elsewhere_say_so_as_the_description_has_it(model):
    pytest.importorskip("ahocorasick_rs")
    texts = ["\N{ROCKET} Paris is Paris.", "Paris, said Amelia"]
    finder = NameFinder(model)
    with running({"m": finder}) as server:
        asked = {"inputs": texts, "propagate": True}
        found = server.ask("/predict", asked).json["entities"]
        lines = b"".join(json.dumps({"text": text}).encode() + b"\n" for text in texts)
        streamed = rows(server.ask("/predict/stream?propagate=true", lines, JSONL))
        schemas = server.ask("/openapi.json").json["components"]["schemas"]
    assert [row["entities"] for row in streamed] == found
    places = {"char_start_index": 2, "char_end_index": 7}
    assert [entity.get("origin") for entity in found[0]] == [None, {"kind": "mention", **places}]
    for cls, schema in ((Entity, "FoundEntity"), (Origin, "FoundOrigin"), (Conflict, "FoundConflict")):
        assert set(schemas[schema]["properties"]) == set(get_type_hints(cls))


def test_letters_in_two_halves_are_read(server, model):
    """JSON may write letters beyond U+FFFF as two escapes; and what looks like one may be text."""
    for written, text in ((rb"\ud83c\udf89 Paris", "\N{PARTY POPPER} Paris"), (rb"\\ud83c Paris", r"\ud83c Paris")):
        body = b'{"inputs": "%s", "threshold": 0, "decoding": "overlapping"}' % written
        found = server.ask("/predict", body).json["entities"]
        assert [e["span"] for e in found] == [
            e["span"] for e in model.predict(text, threshold=0, decoding="overlapping")
        ]


def test_missing_libraries_are_a_sentence(server, monkeypatch):
    def fail(split_sentences):
        raise ImportError("split_sentences=True needs spaCy")

    monkeypatch.setattr("span_marker.serving.service.sentence_splitter", fail)
    answer = server.ask("/predict", {"inputs": "a", "split_sentences": True})
    assert (answer.status, answer.error) == (422, "split_sentences=True needs spaCy")


def test_what_forms_of_other_pages_can_send_is_refused(server):
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
        for path in ("/predict", "/", "/predict/stream"):
            assert server.ask(path, b"{}", {"Content-Type": content_type}).status == 415
    assert server.ask("/predict", b'{"inputs": "a"}', {"Content-Type": "application/json; charset=utf-8"}).status == 200


def test_unknown_routes_and_methods(server):
    assert server.ask("/nothing").error == "Not Found"
    assert server.ask("/predict").status == 405
    assert server.ask("/page/../../limits.py").status == 404


# Limits


def test_large_bodies_are_refused_while_they_come(model):
    with running({"m": model}, limits=Limits(max_body=10_000, max_words=50)) as server:
        body = json.dumps({"inputs": "a" * 20_000}).encode()
        for sent in (body, iter([body])):  # with a Content-Length, and in chunks
            answer = server.ask("/predict", sent)
            assert (answer.status, "10,000 bytes" in answer.error) == (413, True)
        assert "60 words, but the limit is 50" in server.ask("/predict", {"inputs": "a " * 60}).error
        assert "60 words" in server.ask("/predict", {"inputs": "東" * 60}).error
        assert server.ask("/predict", {"inputs": "a " * 50}).status == 200


def test_endless_bodies_are_cut(model, monkeypatch):
    monkeypatch.setattr("span_marker.serving.limits.LINGER_SECONDS", 0.05)
    with running({"m": model}, limits=Limits(max_body=10_000)) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as connection:
            head = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            connection.sendall(f"{head}Content-Length: 100000000\r\n\r\n".encode() + b"x" * 100)
            assert connection.recv(100).startswith(b"HTTP/1.1 413")
            while connection.recv(10_000):
                pass  # until the server closes it
        assert server.service.admission.num_inside == 0


def test_too_many_requests(held):
    with running({"m": held}, limits=Limits(max_requests=2)) as server, ThreadPoolExecutor(2) as clients:
        requests = [clients.submit(server.ask, "/predict", {"inputs": "Paris"}) for _ in range(2)]
        wait_for(lambda: server.service.admission.num_inside == 2)
        refused = server.ask("/predict", {"inputs": "Paris"})
        assert (refused.status, refused.headers["retry-after"]) == (429, "1")
        assert server.ask("/predict/stream", b"", JSONL).status == 429
        assert server.ask("/ready").status == 503
        assert server.ask("/health").status == 200
        held.may_go_on.set()
        assert [request.result().status for request in requests] == [200, 200]
        assert server.ask("/predict", {"inputs": "Paris"}).status == 200
        assert server.ask("/ready").status == 200


def test_timeouts_say_whether_the_model_had_begun(held):
    with running({"m": held}, limits=Limits(timeout=0.3)) as server, ThreadPoolExecutor(2) as clients:
        begun = clients.submit(server.ask, "/predict", {"inputs": "Paris"})
        assert held.is_asked.wait(PATIENCE)
        waiting = server.ask("/predict", {"inputs": "Tokyo"})
        assert (waiting.status, waiting.headers["retry-after"]) == (503, "1")
        assert begun.result().status == 504
        held.may_go_on.set()
        assert server.ask("/predict", {"inputs": "Egypt"}).status == 200
    assert ["Tokyo"] not in held.calls, "what nobody waits for is not read"


def test_half_requests_end(model, monkeypatch):
    monkeypatch.setattr(server_module, "HEAD_SECONDS", 0.2)
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
    with running({"m": model}, limits=Limits(timeout=0.3)) as server:
        for sent, begin in ((head[:30], b""), (b"", b""), (head + b'{"inputs"', b"HTTP/1.1 408")):
            with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as connection:
                connection.sendall(sent)
                received = b""
                while part := connection.recv(1000):
                    received += part
                assert received[:12] == begin
        assert server.ask("/predict", {"inputs": "Paris"}).status == 200


def test_bodies_that_come_bit_by_bit_end(model):
    with (
        running({"m": model}, limits=Limits(timeout=0.5)) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=0.05) as connection,
    ):
        connection.sendall(HEAD + b"Content-Length: 9999\r\n\r\n")
        for _ in range(100):  # 5 s
            connection.sendall(b" ")
            with suppress(TimeoutError):
                assert connection.recv(12) == b"HTTP/1.1 408"
                break
        else:
            pytest.fail("no answer")


@pytest.mark.parametrize(
    "begin",
    [
        b"",
        HEAD + b"X: ",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\nX: ",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;",
    ],
    ids=["path", "header", "trailer", "chunk"],
)
def test_heads_without_end_are_cut(server, begin):
    """The parser keeps what it reads until it is complete, and would keep anything."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as connection:
        connection.sendall(begin or b"GET /")
        with suppress(ConnectionError):
            for _ in range(1000):
                connection.sendall(b"x" * 10_000)
            pytest.fail("ten megabytes were read")
    assert server.ask("/health").status == 200


def test_many_pieces_of_a_body_are_no_long_head(server):
    pieces = (b'{"text": "Paris"}\n'[at : at + 1] for _ in range(2000) for at in range(18))
    assert len(rows(server.ask("/predict/stream", pieces, JSONL))) == 2000


def test_one_connection_takes_many_requests(server):
    """One after the other, all at once, and with an offer of another protocol, as Java's client makes it."""
    body = json.dumps({"inputs": "Paris"}).encode()
    request = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\n"
    offer = request.replace(b"Host: x\r\n", b"Host: x\r\n" + upgrade)
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as connection:
        reader = connection.makefile("rb")
        for sent, num_answers in (
            (request, 1),
            (request * 5, 5),
            (offer, 1),
            (request, 1),
            (offer + request, 2),
            (offer * 50, 50),
        ):
            connection.sendall(sent)
            for _ in range(num_answers):
                head = b"".join(iter(reader.readline, b"\r\n"))
                assert head.startswith(b"HTTP/1.1 200")
                content = reader.read(int(re.findall(rb"content-length: (\d+)", head)[0]))
                assert json.loads(content)["model"] == "news"
        reader.close()


@pytest.mark.parametrize("sent", ["{0} {0}", "CONNECT {0}:1 HTTP/1.1\r\nHost: x", "GET /{0} HTTP/1.1\r\n: x"])
def test_what_is_no_http_is_refused(server, caplog, sent):
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as connection:
        connection.sendall(sent.format(SECRET).encode() + b"\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 400"
    assert SECRET not in caplog.text


def test_answers_are_sent_at_once(model, monkeypatch):
    """Nagle's algorithm would keep each body back until the client has confirmed the head, for up to 40 ms."""
    settings = []

    class Watched(server_module.Protocol):
        def connection_made(self, transport):
            super().connection_made(transport)
            connection = transport.get_extra_info("socket")
            settings.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    monkeypatch.setattr(server_module, "Protocol", Watched)
    with running({"m": model}) as server:
        assert server.ask("/health").status == 200
    assert settings
    assert all(settings)


def test_slow_clients_hold_nobody_up(server):
    body = json.dumps({"inputs": "Paris"}).encode()
    slow = []
    for _ in range(20):
        connection = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)
        head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        connection.sendall(head.encode() + b"\r\n" + body[:5])
        slow.append(connection)
    assert server.ask("/predict", {"inputs": "Tokyo"}).status == 200
    for connection in slow:
        connection.sendall(body[5:])
    for connection in slow:
        assert connection.recv(15) == b"HTTP/1.1 200 OK"
        connection.close()


def test_requests_of_clients_that_leave_are_not_read(held):
    body = json.dumps({"inputs": "Tokyo"}).encode()
    with running({"m": held}) as server, ThreadPoolExecutor(1) as clients:
        first = clients.submit(server.ask, "/predict", {"inputs": "Paris"})
        assert held.is_asked.wait(PATIENCE)
        with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as connection:
            head = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            wait_for(lambda: server.service.queue.num_waiting == 1)
        wait_for(lambda: server.service.queue.num_waiting == 0)
        wait_for(lambda: server.service.admission.num_inside == 1)
        held.may_go_on.set()
        assert first.result().status == 200
        assert 'status="499"' in server.ask("/metrics").body.decode()
    assert held.calls == [["Paris"]]


# The key, and other origins


def test_key(model):
    with running({"m": model}, api_key="s3cret") as server:
        for headers in (
            {},
            {"X-API-Key": "wrong"},
            {"X-API-Key": ""},
            {"Authorization": "Bearer wrong"},
            {"Authorization": "Basic s3cret"},
            {"X-API-Key": "s3cret\xe9"},
        ):
            answer = server.ask("/predict", {"inputs": "Paris"}, headers)
            assert (answer.status, "API key" in answer.error) == (401, True)
        for headers in (
            {"X-API-Key": "s3cret"},
            {"Authorization": "Bearer s3cret"},
            {"Authorization": "bearer s3cret"},
        ):
            assert server.ask("/predict", {"inputs": "Paris"}, headers).status == 200
        for path in ("/info", "/metrics", "/openapi.json"):
            assert server.ask(path).status == 401
            assert server.ask(path, headers={"X-API-Key": "s3cret"}).status == 200
        assert [server.ask(path).status for path in ("/health", "/ready", "/", "/page.js")] == [200] * 4
        assert server.ask("/", {"inputs": "Paris"}).status == 401


def test_keys_that_no_client_could_send_are_refused(model):
    for key in ("", "two words", "schlüssel", "a\nb"):
        with pytest.raises(ValueError, match="api_key"):
            create_app({"m": model}, api_key=key)
    with pytest.raises(ValueError, match="at least one model"):
        create_app({})
    with pytest.raises(ValueError, match="timeout=0"):
        Limits(timeout=0)


def test_other_origins(server, model):
    asking = {"Origin": "https://example.org", "Access-Control-Request-Method": "POST"}
    asking["Access-Control-Request-Headers"] = "content-type"
    refused = server.ask("/predict", headers=asking, method="OPTIONS")
    assert refused.status == 405
    assert "access-control-allow-origin" not in refused.headers
    with running({"m": model}, api_key="s3cret", cors_origins=["https://example.org"]) as allowing:
        allowed = allowing.ask("/predict", headers=asking, method="OPTIONS")
        assert (allowed.status, allowed.headers["access-control-allow-origin"]) == (200, "https://example.org")
        others = allowing.ask("/predict", headers={**asking, "Origin": "https://evil.org"}, method="OPTIONS")
        assert "access-control-allow-origin" not in others.headers


def test_headers(server):
    for path in ("/", "/info", "/nothing"):
        headers = server.ask(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert "server" not in headers


# Failures, and logs


class Failing(HeldModel):
    """A model that fails on some texts, and says which."""

    def __init__(self, model, error):
        super().__init__(model)
        self.may_go_on.set()
        self._error = error

    def predict(self, sentences, *arguments, **options):
        if any(SECRET in sentence for sentence in sentences):
            raise self._error(f"cannot read {SECRET}")
        return super().predict(sentences, *arguments, **options)


SPECIAL = (StopIteration, StopAsyncIteration, GeneratorExit, asyncio.CancelledError, KeyboardInterrupt, SystemExit)
"""Errors that generators, threads or event loops treat in ways of their own."""


@pytest.mark.parametrize("error", SPECIAL)
def test_no_error_of_a_model_keeps_requests_waiting(model, error):
    with running({"m": Failing(model, error)}) as server:
        for _ in range(2):
            assert server.ask("/predict", {"inputs": SECRET}).status == 500
            assert server.ask("/predict", {"inputs": "Paris"}).status == 200
        assert server.ask("/ready").status == 200


@pytest.mark.parametrize(("error", "status"), [(RuntimeError, 500), (MemoryError, 413)])
def test_one_failing_request_spoils_no_other_and_its_text_is_not_logged(model, caplog, error, status):
    failing = Failing(model, error)
    failing.may_go_on.clear()
    with caplog.at_level(logging.DEBUG), running({"m": failing}) as server, ThreadPoolExecutor(8) as clients:
        first = clients.submit(server.ask, "/predict", {"inputs": "Paris"})
        assert failing.is_asked.wait(PATIENCE)
        inputs = ["Tokyo", f"{SECRET} is far", "Egypt", f"{SECRET} again"]
        requests = [clients.submit(server.ask, "/predict", {"inputs": text}) for text in inputs]
        wait_for(lambda: server.service.queue.num_waiting == 4)
        failing.may_go_on.set()
        assert first.result().status == 200
        assert [request.result().status for request in requests] == [200, status, 200, status]
        assert "memory" in requests[1].result().error or "log" in requests[1].result().error
        lines = b"".join(b'{"text": "%s"}\n' % text.encode() for text in [*inputs, SECRET])
        streamed = rows(server.ask("/predict/stream", lines, JSONL))
        assert ["error" in row for row in streamed] == [False, True, False, True, True]
        expected = [server.ask("/predict", {"inputs": text}).json["entities"] for text in (inputs[0], inputs[2])]
        assert [[e["span"] for e in streamed[at]["entities"]] for at in (0, 2)] == [
            [e["span"] for e in entities] for entities in expected
        ]
        assert server.ask("/predict", {"inputs": SECRET}, {"Content-Type": "text/plain"}).status == 415
    assert f"{error.__name__} < " in caplog.text
    assert "test_server.py" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    "change",
    [
        lambda found, coverages: (found[1:], coverages),
        lambda found, coverages: (found[1:], coverages[1:]),
        lambda found, coverages: (found, [None] * len(coverages)),
        lambda found, coverages: None,
    ],
    ids=["too few", "a row too few", "no coverage", "nothing"],
)
def test_a_model_that_returns_nonsense_stops_nothing(model, change):
    class Odd(HeldModel):
        def predict(self, sentences, *arguments, **options):
            found = self._model.predict(sentences, *arguments, **options)
            return change(*found) if SECRET in sentences else found

    with running({"m": Odd(model)}) as server:
        for _ in range(2):
            assert server.ask("/predict", {"inputs": [SECRET, "Tokyo"]}).status == 500
            assert server.ask("/predict", {"inputs": ["Paris", "Tokyo"]}).status == 200
        assert server.ask("/ready").status == 200


def test_errors_of_the_server_itself_are_logged_without_texts(model, caplog, monkeypatch):
    def fail(*arguments):
        raise KeyError(SECRET)

    with running({"m": model}) as server:
        monkeypatch.setattr("span_marker.serving.app.parse", fail)
        answer = server.ask("/predict", {"inputs": SECRET})
        assert (answer.status, answer.error) == (500, "the server failed on this request; see its log")
        monkeypatch.undo()
        assert server.ask("/predict", {"inputs": SECRET}).status == 200
    assert "KeyError < " in caplog.text
    assert SECRET not in caplog.text


def test_figures(server):
    def count(text, name):
        return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))

    before = server.ask("/metrics").body.decode()
    assert server.ask("/predict", {"inputs": ["Paris and Tokyo", "Egypt"]}).status == 200
    assert server.ask("/nothing").status == 404
    answer = server.ask("/metrics")
    after = answer.body.decode()
    assert answer.headers["content-type"].startswith("text/plain; version=")

    def difference(name):
        return count(after, name) - count(before, name)

    assert difference('span_marker_requests_total{route="/predict",status="200"}') == 1
    assert difference('span_marker_requests_total{route="other",status="404"}') == 1
    assert difference("span_marker_sentences_total") == 2
    assert difference("span_marker_words_total") == 4


def test_numbers_that_json_lacks_are_an_error(model):
    class Broken(HeldModel):
        def predict(self, sentences, *arguments, **options):
            entity = {"span": "NaN", "label": "PER", "score": math.nan if SECRET in sentences else 0.5}
            return [[entity]] * len(sentences), self._model.predict(sentences, *arguments, **options)[1]

    with running({"m": Broken(model)}) as server:
        assert server.ask("/predict", {"inputs": "Infinity"}).json["entities"][0]["span"] == "NaN"
        assert server.ask("/predict", {"inputs": SECRET}).status == 500


# How it ends


def test_what_has_begun_is_finished(held):
    with ThreadPoolExecutor(1) as clients:
        with running({"m": held}) as server:
            request = clients.submit(server.ask, "/predict", {"inputs": ["Paris", "Tokyo"]})
            assert held.is_asked.wait(PATIENCE)
            threading.Timer(0.3, held.may_go_on.set).start()
        answer = request.result()
    assert answer.status == 200
    assert len(answer.json["entities"]) == 2
    with pytest.raises(OSError, match=r"refused|reset"):
        server.ask("/health")


def test_what_was_loaded_is_no_garbage(model, monkeypatch):
    """A search among all objects of the libraries would stop the server for 0.1 s, again and again."""
    frozen = []

    class Server:
        def run(self, sockets):
            frozen.append(gc.get_freeze_count())

    monkeypatch.setattr(server_module, "make_server", lambda app: Server())
    monkeypatch.setattr(server_module, "SPEAK_OF_EVERY_BATCH", ())  # the filter of their logs would stay
    with listen(port=0) as listener:
        server_module.serve(create_app({"m": model}), listener)
    assert frozen[0] > 10_000
    gc.unfreeze()


def start(*arguments, **environment):
    command = [sys.executable, "-m", "span_marker_cli", "serve", *map(str, arguments), "--port", "0"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", **environment}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def test_command(model, other_model, tmp_path):
    from serving import Running

    model.save_pretrained(tmp_path / "a")
    other_model.save_pretrained(tmp_path / "b")
    process = start(tmp_path / "a", f"drugs={tmp_path / 'b'}", SPAN_MARKER_API_KEY="s3cret")
    with process:
        said = process.stderr.readline()
        names, _, url = said.strip().partition(": ")
        assert names == "a, drugs"
        server = Running(create_app({"m": model}), int(url.rpartition(":")[2]))
        wait_for(partial(_answers, server))
        assert server.ask("/predict", {"inputs": SECRET}).status == 401
        headers = {"X-API-Key": "s3cret"}
        assert server.ask("/predict", {"inputs": SECRET, "model": "drugs"}, headers).status == 200
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode in (0, -signal.SIGTERM)
    assert (output, errors) == ("", "")


def _answers(server):
    try:
        return server.ask("/ready").status == 200
    except OSError:
        return False


def test_errors_of_the_command_are_a_line(model, tmp_path):
    model.save_pretrained(tmp_path / "a")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        for arguments, words in (
            ([tmp_path / "a", f"a={tmp_path / 'a'}"], "two models are named 'a'"),
            ([tmp_path / "a", "--port", port, "--host", "127.0.0.1"], "Address already in use"),
        ):
            _, errors = run("serve", *arguments, status=1)
            assert words in errors
            assert len([line for line in errors.splitlines() if line and "it/s" not in line]) == 1, (
                "bars are hidden by imports"
            )


# Other clients


@pytest.fixture
def description(server):
    schemathesis = pytest.importorskip("schemathesis")

    @schemathesis.serializer("application/jsonl")
    def as_lines(context, value):
        return {"data": value if isinstance(value, bytes) else str(value).encode(errors="replace")}

    return schemathesis.openapi.from_url(f"{server.url}/openapi.json")


def test_description_has_examples(server):
    paths = server.ask("/openapi.json").json["paths"]
    assert set(paths) == {
        *("/", "/models/{name}", "/predict", "/predict/stream", "/health", "/ready", "/info", "/metrics")
    }
    for path in ("/", "/predict"):
        examples = paths[path]["post"]["requestBody"]["content"]["application/json"]["examples"]
        assert examples
        for example in examples.values():
            assert server.ask(path, example["value"]).status == 200
    lines = paths["/predict/stream"]["post"]["requestBody"]["content"]["application/jsonl"]["example"]
    answer = server.ask("/predict/stream", lines.encode(), JSONL)
    assert [(row["id"], "error" in row) for row in rows(answer)] == [(1, False), (2, False)]


def test_what_the_description_allows_is_answered_as_it_says(description):
    """Whatever is sent, answers have a status and a form that the description has, and the server never fails."""
    from hypothesis import HealthCheck, given, settings
    from schemathesis import GenerationMode
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

    wanted = [
        not_a_server_error,
        checks.content_type_conformance,
        checks.negative_data_rejection,
        checks.response_schema_conformance,
        checks.status_code_conformance,
    ]
    num_calls = 0

    def check(case):
        nonlocal num_calls
        num_calls += 1
        case.call_and_validate(checks=wanted)

    quick = settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    for result in description.get_all_operations():
        operation = result.ok()
        # Any bytes are lines, which rows of the answer speak of; and where nothing is sent, nothing can be wrong.
        takes_json = operation.method == "post" and operation.path != "/predict/stream"
        for mode in GenerationMode if takes_json else [GenerationMode.POSITIVE]:
            quick(given(case=operation.as_strategy(generation_mode=mode))(check))()
    assert num_calls > 100


def test_inference_client(server, model, within):
    from huggingface_hub import InferenceClient

    text = "\N{PARTY POPPER} Amelia Earhart flew to Paris."
    expected = model.predict(text)
    for client in (
        InferenceClient(base_url=server.url),
        InferenceClient(model=server.url, api_key="anything"),
        InferenceClient(model=f"{server.url}/models/news"),
    ):
        for options in ({}, {"aggregation_strategy": "simple"}):
            found = client.token_classification(text, **options)
            assert [(e.entity_group, e.word, e.start, e.end) for e in found] == [
                (e["label"], e["span"], e["char_start_index"], e["char_end_index"]) for e in expected
            ]
            assert [e.score for e in found] == pytest.approx([e["score"] for e in expected], abs=within, rel=0)
    assert client.token_classification(text, ignore_labels=model.labels) == []
    drugs = InferenceClient(model=f"{server.url}/models/drugs").token_classification(text)
    assert {e.entity_group for e in drugs} == {"DRUG"}
    several = server.ask("/", {"inputs": [text, "Tokyo"]}).json
    assert [len(entities) for entities in several] == [len(expected), len(model.predict("Tokyo"))]
    stride = server.ask("/", {"inputs": text, "parameters": {"stride": 3}})
    assert (stride.status, "stride" in stride.error) == (422, True)
    strategy = server.ask("/", {"inputs": text, "parameters": {"aggregation_strategy": "none"}})
    assert (strategy.status, "'aggregation_strategy' must be" in strategy.error) == (422, True)
    unknown = server.ask("/", {"inputs": text, "parameters": {"top_k": 3}})
    assert "unknown field 'top_k': supported are 'aggregation_strategy'" in unknown.error
    assert server.ask("/models/best", {"inputs": text}).status == 404


def test_inference_client_with_a_key(model):
    from huggingface_hub import InferenceClient
    from huggingface_hub.errors import HfHubHTTPError

    with running({"m": model}, api_key="s3cret") as server:
        assert InferenceClient(base_url=server.url, api_key="s3cret").token_classification("Paris")
        with pytest.raises(HfHubHTTPError, match="401"):
            InferenceClient(base_url=server.url, api_key="wrong").token_classification("Paris")
