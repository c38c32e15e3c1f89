"""The service behind all routes: models, queues and limits."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from span_marker.core.phrases import PhraseMatcher
from span_marker.data.row_relations import RELATIONS
from span_marker.modeling import SpanMarkerModel
from span_marker.prediction.documents import sentence_splitter
from span_marker.prediction.options import check_relations
from span_marker.prediction.relations import follow
from span_marker.preprocessing.processes import MAX_WORKERS, may_share_threads
from span_marker.rules.rules import all_labels
from span_marker.serving.limits import RETRY, Admission, Limits
from span_marker.serving.messages import Options
from span_marker.serving.metrics import Metrics
from span_marker.serving.queue import Found, Job, PredictionQueue

TOO_LARGE, FAILED = 413, 500
"""Status codes of errors that may be caused by a single sentence of a batch."""


class Plan(NamedTuple):
    """Validated options for reading sentences.

    Attributes:
        model: Name of the model.
        options: Options of `SpanMarkerModel.predict`.
        labels: Labels of the entities to return; None for all.
    """

    model: str
    options: dict[str, Any]
    labels: frozenset[str] | None

    def select(self, found: dict[str, Any]) -> dict[str, Any]:
        """Remove entities with other labels, and their relations."""
        if self.labels is None:
            return found
        kept = [entity for entity in found["entities"] if entity["label"] in self.labels]
        selected: dict[str, Any] = {"entities": kept}
        if RELATIONS in found:
            selected[RELATIONS] = follow(found[RELATIONS], found["entities"], kept)
        return selected


class Service:
    """Finds the entities of sentences in concurrent requests.

    Requests with a long text have their own queue and thread, so that other requests do not wait for minutes.

    Args:
        models: The models, by name. The first is used if a request names none.
        limits: How much is taken in.
        batch_size: Maximum number of sentences in a batch.
        num_threads: Number of PyTorch threads. By default it is left unchanged.

    Raises:
        ValueError: If there is no model.
    """

    def __init__(
        self,
        models: Mapping[str, SpanMarkerModel],
        limits: Limits,
        batch_size: int = 32,
        num_threads: int | None = None,
    ) -> None:
        if not models:
            raise ValueError("models must contain at least one model")
        self.models = dict(models)
        self.limits = limits
        self.metrics = Metrics()
        self.admission = Admission(limits.max_requests)
        arguments = (self.models, self.metrics, batch_size, num_threads or torch.get_num_threads())
        self.queue = PredictionQueue(*arguments, num_readers=self._num_readers(arguments[-1]))
        self.long_queue = PredictionQueue(*arguments)
        self.metrics.gauge("requests_inside", "Requests being received or answered", lambda: self.admission.num_inside)
        self.metrics.gauge(
            "requests_waiting",
            "Requests waiting for a model",
            lambda: self.queue.num_waiting + self.long_queue.num_waiting,
        )

    def _num_readers(self, num_threads: int) -> int:
        """Number of groups to read at the same time: one, unless all models run in PyTorch and may share threads."""
        may_share = all(model.backend == "torch" and may_share_threads(model) for model in self.models.values())
        return min(num_threads, MAX_WORKERS) if may_share else 1

    @property
    def is_running(self) -> bool:
        """Whether sentences are read."""
        return self.queue.is_running and self.long_queue.is_running

    async def start(self) -> None:
        """Begin to read."""
        await self.queue.start()
        await self.long_queue.start()

    async def stop(self) -> None:
        """Stop both queues."""
        await asyncio.gather(self.queue.stop(), self.long_queue.stop())

    async def plan(self, model: str | None, options: Options) -> Plan:
        """Validate the model and the options of a request.

        Args:
            model: Name of the model; None for the first.
            options: The options.

        Returns:
            The plan.

        Raises:
            HTTPException: If there is no such model, it lacks a requested label or relations, or an optional package is
                missing.
        """
        name = next(iter(self.models)) if model is None else model
        if name not in self.models:
            raise HTTPException(404, f"there is no model {name[:80]!r}, only {', '.join(map(repr, self.models))}")
        if options.labels:
            labels = all_labels(self.models[name].labels, self.models[name].rules)
            unknown = next((label for label in options.labels if label not in labels), None)
            if unknown is not None:
                raise HTTPException(422, f"'labels' has {unknown[:80]!r}, but the model's labels are {labels}")
        try:
            if options.threshold is not None or options.decoding is not None:
                self.models[name].config.decoder(options.threshold, options.decoding)
            check_relations(self.models[name], options.relations, options.relation_threshold)
            if options.split_sentences:
                await asyncio.to_thread(sentence_splitter, True)  # the first time, it imports spaCy
            if options.propagate:
                await asyncio.to_thread(PhraseMatcher, [])  # raises if its package is missing
        except (ImportError, ValueError) as error:
            raise HTTPException(422, str(error)) from None
        return Plan(name, options.for_predict(), None if options.labels is None else frozenset(options.labels))

    async def read(
        self, plan: Plan, sentences: Sequence[Any], are_words: bool, request: Request | None = None
    ) -> list[Found]:
        """Find the entities of sentences.

        Args:
            plan: How to read them.
            sentences: Texts, or lists of words, see `Limits.check_words`.
            are_words: Whether they are lists of words.
            request: The request, if its body has been read; None if it is still being read. If its client disconnects,
                the sentences leave the queue.

        Returns:
            What was found in each.

        Raises:
            HTTPException: If they are not read in time, or the model fails.
            ClientDisconnect: If the client has left.
        """
        if are_words and sentences and "split_sentences" in plan.options:
            raise HTTPException(422, "split_sentences applies to texts, but the inputs are words: leave it out")
        job = Job(plan.model, sentences, are_words, plan.options)
        (self.long_queue if job.is_long else self.queue).put(job)
        has_left = asyncio.ensure_future(_disconnect(request))
        has_left.add_done_callback(lambda _: job.answer.cancel())
        try:
            await asyncio.wait({job.answer}, timeout=self.limits.timeout)
        finally:
            job.answer.cancel()  # nothing happens if it is there; otherwise the job leaves the queue
            is_gone = has_left.done()
            has_left.cancel()
        if job.answer.cancelled():
            raise ClientDisconnect if is_gone else self._too_late(job)
        error = job.answer.exception()
        if isinstance(error, MemoryError):
            raise HTTPException(TOO_LARGE, "the server ran out of memory on these texts: send shorter ones")
        if error is not None:
            raise HTTPException(FAILED, "the model failed on this request; see the log of the server")
        return job.answer.result()

    def _too_late(self, job: Job) -> HTTPException:
        limit = f"within {self.limits.timeout:g} s"
        if job.has_begun:
            return HTTPException(504, f"the model did not finish {limit}: send less per request")
        return HTTPException(503, f"the model was busy and did not start on this request {limit}", RETRY)


async def _disconnect(request: Request | None) -> None:
    """Wait until the client of a request has left."""
    if request is None:
        await asyncio.get_running_loop().create_future()  # nobody can tell
        return
    while (await request.receive())["type"] != "http.disconnect":
        pass
