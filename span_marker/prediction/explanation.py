"""Why a span is an entity or not: the steps of a prediction, for one span of one text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from tqdm.auto import tqdm

from span_marker.core.alignment import trim
from span_marker.core.arrays import Array, as_array
from span_marker.core.decoding import MULTI_LABEL_THRESHOLD, ScoredSpan, ScoredSpans, probabilities
from span_marker.core.tables import TextReport, text_table
from span_marker.core.words import surroundings
from span_marker.data.html import Drawing, Mark, draw, write_page
from span_marker.data.rows import join_words
from span_marker.data.text_files import StrPath
from span_marker.data.values import is_whole
from span_marker.prediction.entities import Entity, place_of
from span_marker.prediction.predictor import Predictor, place
from span_marker.preprocessing.inputs import Sentences
from span_marker.preprocessing.tokenizer import EncodedSentence

Reason = Literal["found", "blank", "partial-word", "too-long", "not-read", "filtered", "unlikely", "overlap"]

REASONS: dict[Reason, str] = {
    "found": "The span is predicted as an entity.",
    "blank": "The span contains only white space, which is never an entity.",
    "partial-word": "The span is not a candidate: it begins or ends inside a word of the tokenizer.",
    "too-long": "The span is not a candidate: it has more words than entity_max_length, with which the model was "
    "trained.",
    "not-read": "The span is not a candidate in any window: a word has no token, or its words do not fit into a "
    "window. A larger model_max_length makes larger windows.",
    "filtered": "The candidate filter dropped the span. exact=True scores all candidates.",
    "unlikely": "No label is probable enough. A lower threshold finds more.",
    "overlap": "Other entities that overlap the span come first. decoding= sets which overlaps are allowed.",
}
"""Where the way to an entity may end, in the order of the steps, and what to change."""

CONTEXT = 200
"""Characters that a page shows on either side of the span and the entities that overlap it."""

SPAN, OTHER = 1, 0
"""Indices into `span_marker.data.html.HUES`."""


@dataclass(frozen=True)
class Explanation(TextReport):
    """Why a span of a text is predicted as an entity, or why not. As a string, a short report.

    Attributes:
        text: The text, or its words if the input was words.
        span: The text of the span, without white space around it; or its words, if the input was words.
        start: First character, or first word if the input was words.
        end: Character after the last, or word after the last.
        reason: One of `REASONS`: ``"found"``, or the step at which the span was lost.
        entities: The predicted entities of the span: one, or several with different labels for multi-label models.
        words: The words of the tokenizer that the span touches.
        num_words: Number of these words.
        entity_max_length: The maximum number of words of a candidate.
        scores: The probability of each label, with ``O``, most probable first; empty if the span is not a candidate. If
            the candidate filter dropped the span, these are the probabilities without the filter.
        thresholds: The minimum probability of each label; empty if the most probable class decides.
        filter_score: The score of the candidate filter; None if no filter was used.
        filter_threshold: The minimum score of candidates that the filter keeps, or None.
        overlapping: The predicted entities that overlap the span.
        decoding: How overlaps are resolved.
    """

    text: str | list[str] = field(repr=False)
    span: str | list[str]
    start: int
    end: int
    reason: Reason
    entities: list[Entity]
    words: list[str]
    num_words: int
    entity_max_length: int
    scores: dict[str, float]
    thresholds: dict[str, float]
    filter_score: float | None
    filter_threshold: float | None
    overlapping: list[Entity]
    decoding: str

    @property
    def is_found(self) -> bool:
        """Whether ``predict`` returns the span."""
        return self.reason == "found"

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as plain Python objects that can be written as JSON."""
        return asdict(self)

    def write_html(self, path: StrPath, title: str = "Explanation") -> None:
        """Write the same facts as an HTML page: the text with the span and overlapping entities, and bars of scores.

        Args:
            path: The HTML file; the page needs no other files. **It contains the text** around the span.
            title: Title of the page.
        """
        write_page(
            path,
            "prediction/explanation.html",
            title=title,
            reason=self.reason,
            meaning=REASONS[self.reason],
            drawing=self._draw(),
            facts=self._facts(),
            scores=self._scores(),
            has_thresholds=bool(self.thresholds),
        )

    def __str__(self) -> str:
        lines = [f"{self.span!r} ({self.start}:{self.end}): {self.reason}", REASONS[self.reason], ""]
        lines += [f"{name}: {value}" for name, value in self._facts()]
        if self.scores:
            rows = [
                (label, f"{score:.3f}", "-" if limit is None else f"{limit:.3f}")
                for label, score, limit in self._scores()
            ]
            lines += ["", text_table([("label", "probability", "threshold"), *rows])]
        return "\n".join(lines)

    def _facts(self) -> list[tuple[str, str]]:
        """Names and values of all known facts, except for the scores of labels."""
        facts = [
            ("words", f"{self.words} ({self.num_words} of at most {self.entity_max_length})"),
            ("labels", ", ".join(f"{entity['label']} ({entity['score']:.3f})" for entity in self.entities)),
            ("filter score", "" if self.filter_score is None else f"{self.filter_score:.3f}"),
            ("filter threshold", "" if self.filter_threshold is None else f"{self.filter_threshold:.3f}"),
            ("decoding", self.decoding),
            ("overlapping", ", ".join(f"{e['span']!r} {e['label']} ({e['score']:.3f})" for e in self.overlapping)),
        ]
        return [(name, value) for name, value in facts if value]

    def _scores(self) -> list[tuple[str, float, float | None]]:
        """Labels with their probabilities and thresholds."""
        return [(label, score, self.thresholds.get(label)) for label, score in self.scores.items()]

    def _draw(self) -> Drawing:
        """The text around the span, with the span, the reason, and the entities that overlap it marked."""
        text, bounds = self.text, [(self.start, self.end), *map(place_of, self.overlapping)]
        if not isinstance(text, str):
            text, starts = join_words(text)
            bounds = [(starts[start], starts[end] - 1) for start, end in bounds]
        name = " ".join([self.reason, *(entity["label"] for entity in self.entities)])
        names = [(name, SPAN, None), *((entity["label"], OTHER, entity["score"]) for entity in self.overlapping)]
        first, last = surroundings(text, min(start for start, _ in bounds), max(end for _, end in bounds), CONTEXT)
        before, after = "... " * (first > 0), " ..." * (last < len(text))
        shift = len(before) - first
        marks = [Mark(start + shift, end + shift, *of) for (start, end), of in zip(bounds, names, strict=True)]
        return draw(before + text[first:last] + after, marks)


class _Scored(NamedTuple):
    """The candidates of a batch: their words, probabilities, filter scores, and whether the filter kept them."""

    span_words: Any
    probabilities: Any
    filter_scores: Any
    is_kept: Any


def explain(model: Any, sentences: Sentences, span: Any, reader: Predictor) -> Explanation:
    """Explain what is predicted for a span. See ``SpanMarkerModel.explain``.

    Args:
        model: The model.
        sentences: The one text or list of words.
        span: The span.
        reader: The predictor that ``predict`` would use for the text.

    Returns:
        The explanation.
    """
    (item,) = sentences.items
    start, end = find_span(item, span)
    (encoding,) = reader.preprocessor.encode(sentences)
    batches: list[tuple[dict[str, Array], Array, Array | None]] = []

    def score(batch: dict[str, Array]) -> tuple[Array, Array | None]:
        logits, kept = (None if values is None else as_array(values) for values in reader.score(batch))
        assert logits is not None
        batches.append((batch, logits, kept))
        return logits, kept

    with tqdm(disable=True) as progress:
        (predicted,), _ = replace(reader, score=score).read(sentences, progress)
    spans = _spans_of_words(item, start, end, encoding)
    limit = reader.preprocessor.config.limit("entity_max_length")
    short = [words for words in spans if words[1] - words[0] <= limit]
    found = [entity for entity in predicted if place_of(entity) == (start, end)]
    proposals = [p for b in batches for window in reader.decoder.propose(*ScoredSpans.from_batch(*b)) for p in window]
    scored = _best(short, [_score_all(model, reader, *batch) for batch in batches])
    reason = _reason(item, (start, end), bool(found), spans, short, scored, proposals)
    touched = _touched_words(item, start, end, encoding)
    scores = (
        [] if scored is None else zip(reader.preprocessor.config.classes, scored.probabilities.tolist(), strict=True)
    )
    return Explanation(
        text=item if isinstance(item, str) else list(item),
        span=item[start:end] if isinstance(item, str) else list(item[start:end]),
        start=start,
        end=end,
        reason=reason,
        entities=found,
        words=touched,
        num_words=min((last - first for first, last in spans), default=len(touched)),
        entity_max_length=limit,
        scores=dict(sorted(scores, key=lambda pair: -pair[1])),
        thresholds=_thresholds(reader),
        filter_score=None if scored is None or scored.filter_scores is None else float(scored.filter_scores),
        filter_threshold=None if scored is None or scored.filter_scores is None else _filter_threshold(model),
        overlapping=[
            entity for entity in predicted if _overlaps(place_of(entity), (start, end)) and entity not in found
        ],
        decoding=reader.decoder.decoding,
    )


def find_span(item: str | Sequence[str], span: Any) -> tuple[int, int]:
    """Find the span that a caller specifies.

    Args:
        item: A text, or words.
        span: First and last (exclusive) character or word; or a part of the text, or a list of words, that occurs once.

    Returns:
        First and last (exclusive) character, without white space around the span; or word.

    Raises:
        TypeError: If ``span`` is none of the supported types.
        ValueError: If it is empty, outside of the text, or does not occur exactly once.

    Example:
        >>> find_span("Amelia Earhart flew", "Earhart")
        (7, 14)
    """
    if isinstance(span, (tuple, list)) and len(span) == 2 and all(map(is_whole, span)):
        start, end = map(int, span)
        if not 0 <= start < end <= len(item):
            unit = "characters" if isinstance(item, str) else "words"
            raise ValueError(f"span={span!r} must be a part of the {len(item)} {unit}: 0 <= start < end <= {len(item)}")
    elif isinstance(span, str) == isinstance(item, str) and isinstance(span, (str, list, tuple)) and span:
        wanted, size = span if isinstance(item, str) else list(span), len(span)
        whole = item if isinstance(item, str) else list(item)
        starts = [start for start in range(len(whole) - size + 1) if whole[start : start + size] == wanted]
        if len(starts) != 1:
            places = (
                f"{len(starts)} times: pass (start, end) of one of them, which start at {starts[:3]}"
                if starts
                else "nowhere"
            )
            raise ValueError(f"span={span!r} occurs {places}")
        start, end = starts[0], starts[0] + size
    else:
        raise TypeError(f"span={span!r} must be (start, end), or a part of the input, of the same type as the input")
    if not isinstance(item, str):
        return start, end
    first, last = trim(item, start, end, keep_marks=True)
    return (first, last) if first < last else (start, end)


def _spans_of_words(item: Any, start: int, end: int, encoding: EncodedSentence) -> list[tuple[int, int]]:
    """All spans of words that ``predict`` would return as these characters, or as these words.

    There may be several, since white space around a span does not count, and may itself be a word.
    """
    if encoding.char_starts is None or encoding.char_ends is None:
        return [(start, end)]
    bounds = list(zip(encoding.char_starts.tolist(), encoding.char_ends.tolist(), strict=True))
    firsts = [word for word, (first, _) in enumerate(bounds) if first <= start and not item[first:start].strip()]
    lasts = [word for word, (_, last) in enumerate(bounds) if last >= end and not item[end:last].strip()]
    pairs = ((first, last + 1) for first in firsts for last in lasts if first <= last)
    return [pair for pair in pairs if place(*pair, item, encoding) == (start, end)]


def _touched_words(item: Any, start: int, end: int, encoding: EncodedSentence) -> list[str]:
    if encoding.char_starts is None or encoding.char_ends is None:
        return list(item[start:end])
    bounds = zip(encoding.char_starts.tolist(), encoding.char_ends.tolist(), strict=True)
    words = [item[first:last].strip() for first, last in bounds if first < end and start < last]
    return [word for word in words if word]


def _score_all(model: Any, reader: Predictor, batch: dict[str, Array], logits: Array, kept: Array | None) -> _Scored:
    """Score all candidates of a batch, including those that the filter dropped."""
    filter_scores, is_kept = None, np.ones(len(batch["span_words"]), dtype=bool)
    if kept is not None:
        is_kept = np.zeros_like(is_kept)
        is_kept[kept] = True
        exact = as_array(model.score(batch, exact=True)[0]).copy()
        exact[kept] = logits  # what decides, to the last bit
        logits, filter_scores = exact, as_array(model.filter_scores(batch))
    scores = probabilities(logits, reader.decoder.multi_label, reader.decoder.temperature)
    return _Scored(batch["span_words"], scores, filter_scores, is_kept)


def _best(spans: list[tuple[int, int]], batches: list[_Scored]) -> _Scored | None:
    """The scores of one of these spans: preferably one that the filter kept, then that with the most certain class."""
    rows = []
    for batch in batches:
        for index in np.flatnonzero([tuple(words) in spans for words in batch.span_words.tolist()]):
            rows.append(_Scored(*(None if column is None else column[index] for column in batch)))
    return max(rows, key=lambda row: (bool(row.is_kept), float(row.probabilities.max())), default=None)


def _reason(
    item: Any,
    bounds: tuple[int, int],
    is_found: bool,
    spans: list[tuple[int, int]],
    short: list[tuple[int, int]],
    scored: _Scored | None,
    proposals: list[ScoredSpan],
) -> Reason:
    """The first step at which the span was lost."""
    if is_found:
        return "found"
    if isinstance(item, str) and not item[slice(*bounds)].strip():
        return "blank"
    if not spans:
        return "partial-word"
    if not short:
        return "too-long"
    if scored is None:
        return "not-read"
    if any((proposal.start, proposal.end) in short for proposal in proposals):
        return "overlap"
    return "unlikely" if scored.is_kept else "filtered"


def _thresholds(reader: Predictor) -> dict[str, float]:
    classes, limits = reader.preprocessor.config.classes, reader.decoder.thresholds
    if limits is None and not reader.decoder.multi_label:
        return {}
    limits = np.full(len(classes), MULTI_LABEL_THRESHOLD, dtype=np.float32) if limits is None else limits
    return {
        label: float(limit)
        for label_id, (label, limit) in enumerate(zip(classes, limits, strict=True))
        if label_id != reader.decoder.outside_id
    }


def _filter_threshold(model: Any) -> float | None:
    span_filter = model.config.span_filter
    return None if span_filter is None else span_filter.threshold


def _overlaps(first: tuple[int, int], second: tuple[int, int]) -> bool:
    return first[0] < second[1] and second[0] < first[1]
