"""From annotated data and a model, or the predictions of any other system, to a report of the errors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from datasets import Dataset

from span_marker.checkpoints.training_record import hub_name
from span_marker.core.alignment import align
from span_marker.core.labels import LabelledSpan
from span_marker.data.columns import named_splits, read_rows
from span_marker.data.rows import parse_row
from span_marker.error_analysis.matching import Item, JudgedSentence, match
from span_marker.error_analysis.report import REASONS, ErrorReport
from span_marker.modeling import SpanMarkerModel, without_adapter
from span_marker.preprocessing.batching import run_in_batches
from span_marker.preprocessing.data_collator import SpanMarkerDataCollator
from span_marker.preprocessing.features import Annotations, prepare

Rows = list[tuple[Item, list[LabelledSpan]]]


def analyse_errors(
    model: SpanMarkerModel,
    data: Any,
    batch_size: int = 32,
    *,
    num_examples: int = 10,
    num_resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    model_name: str | None = None,
    dataset_name: str | None = None,
) -> ErrorReport:
    """Find out what a model gets right and wrong on annotated data.

    It predicts as ``model.predict`` does by default. Entities of texts are compared in characters; white space,
    combining marks and format characters at their edges do not count. One that begins or ends inside a word of the
    tokenizer can't be found.

    Args:
        model: A trained model.
        data: A `Dataset`, or a dict of several, annotated in any form, see `span_marker.data.columns`.
        batch_size: The most sentences of a batch.
        num_examples: The most errors of each kind to show.
        num_resamples: Resamples of the sentences that confidence intervals come from.
        confidence: Confidence of the intervals.
        seed: Seed of the resamples.
        model_name: Name of the model, for the page of the report. Defaults to the name in its card, its name on the
            Hub, or its folder.
        dataset_name: Name of the data, for the page. Defaults to its name on the Hub, if it was loaded from there.

    Returns:
        The report.

    Raises:
        TypeError: If it is no model, or no data set.
        ValueError: If the data has no rows or is not annotated, a label is not among those of the model, or an argument
            is out of range.
    """
    model = without_adapter(model)
    sentences: list[JudgedSentence] = []
    unreachable = Counter(dict.fromkeys(REASONS, 0))
    datasets = named_splits(data)
    for split, dataset in datasets.items():
        features, found = prepare(dataset, model.require_tokenizer(), model.config, model.max_text_length, split)
        rows = list(read_rows(dataset, split, model.config.given_labels))
        judged = _judge(split, rows, _read_lists(rows, model.predict(dataset, batch_size=batch_size), split))
        unreachable.update(_unreachable(found))
        if model.uses_filter():
            with_errors = {of.row for of in judged if any(outcome.kind != "correct" for outcome in of.outcomes)}
            places = [place for place, row in enumerate(features["row"]) if row in with_errors]
            unreachable["filtered"] += _num_filtered(model, features.select(places), batch_size)
        sentences += judged
    return ErrorReport.from_sentences(
        sentences,
        dict(unreachable),
        num_examples=num_examples,
        num_resamples=num_resamples,
        confidence=confidence,
        seed=seed,
        model_name=model_name or _model_name(model),
        dataset_name=dataset_name or _dataset_name(datasets.values()),
    )


def analyse_predictions(
    data: Any,
    predictions: Any,
    *,
    num_examples: int = 10,
    num_resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    model_name: str | None = None,
    dataset_name: str | None = None,
) -> ErrorReport:
    """Find out what is right and wrong in predictions, whatever made them.

    Args:
        data: A `Dataset`, or a dict of several, annotated in any form, see `span_marker.data.columns`.
        predictions: For each row a list of entities: dicts as ``model.predict`` returns them, or with ``label``,
            ``start`` and ``end``, which count words if the data has words, and characters if it has texts; or dicts
            with such a list as ``entities``. Or a `Dataset` of the same rows with other annotations. For a dict of data
            sets, a dict of these.
        num_examples: See `analyse_errors`.
        num_resamples: See `analyse_errors`.
        confidence: See `analyse_errors`.
        seed: See `analyse_errors`.
        model_name: Name of the system that made the predictions, for the page of the report.
        dataset_name: See `analyse_errors`.

    Returns:
        The report.

    Raises:
        TypeError: If data or predictions are nothing of the kind.
        ValueError: If there are more or fewer predictions than rows, they are of other rows, an entity can't be, or an
            argument is out of range.

    Example:
        >>> data = Dataset.from_list([{"tokens": ["Ann", "Lee"], "entities": [{"label": "PER", "start": 0, "end": 2}]}])
        >>> analyse_predictions(data, [[{"label": "PER", "start": 0, "end": 1}]]).kinds["wrong-boundaries"]
        1
    """
    datasets = named_splits(data)
    by_split = dict.fromkeys(datasets, predictions) if isinstance(data, Dataset) else predictions
    if not isinstance(by_split, Mapping) or set(by_split) != set(datasets):
        have = sorted(by_split) if isinstance(by_split, Mapping) else type(by_split).__name__
        raise ValueError(f"predictions for the data sets {sorted(datasets)} must be a dict with these, not {have}")
    sentences: list[JudgedSentence] = []
    for split, dataset in datasets.items():
        rows, of_split = list(read_rows(dataset, split)), by_split[split]
        read = _read_dataset if isinstance(of_split, Dataset) else _read_lists
        sentences += _judge(split, rows, read(rows, of_split, split))
    return ErrorReport.from_sentences(
        sentences,
        num_examples=num_examples,
        num_resamples=num_resamples,
        confidence=confidence,
        seed=seed,
        model_name=model_name,
        dataset_name=dataset_name or _dataset_name(datasets.values()),
    )


def _model_name(model: SpanMarkerModel) -> str | None:
    card = model.model_card_data
    return card.model_name or card.model_id or model.name_or_path or None


def _dataset_name(datasets: Iterable[Dataset]) -> str | None:
    names = dict.fromkeys(name for name in map(hub_name, datasets) if name)
    return ", ".join(names) or None


def _read_dataset(rows: Rows, predictions: Dataset, split: str) -> list[list[LabelledSpan]]:
    """Entities of a data set that holds the same sentences."""
    found = list(read_rows(predictions.with_format(None), f"predicted {split}"))
    _check_number(rows, found, split)
    for row, ((item, _), (other, _)) in enumerate(zip(rows, found, strict=True)):
        if item != other:
            raise ValueError(f"row {row} of the predictions is not row {row} of the {split} data, but {other!r:.60}")
    return [entities for _, entities in found]


def _read_lists(rows: Rows, predictions: Any, split: str) -> list[list[LabelledSpan]]:
    """Entities of predictions."""
    if not isinstance(predictions, Sequence) or isinstance(predictions, str):
        raise TypeError(f"predictions must be a list with one item for each row, not a {type(predictions).__name__}")
    _check_number(rows, predictions, split)
    found = []
    for row, ((item, _), of_row) in enumerate(zip(rows, predictions, strict=True)):
        column = "text" if isinstance(item, str) else "tokens"
        given = of_row if isinstance(of_row, Mapping) else {"entities": of_row}
        if given.get(column, item) != item:
            raise ValueError(
                f"row {row} of the predictions is not row {row} of the {split} data, but {given[column]!r:.60}"
            )
        parsed = parse_row({column: item, "entities": given.get("entities")}, f"row {row} of the predictions")
        found.append([LabelledSpan(*entity[:3]) for entity in parsed.entities])
    return found


def _check_number(rows: Rows, predictions: Sequence[Any], split: str) -> None:
    if len(predictions) != len(rows):
        raise ValueError(
            f"{len(predictions)} predictions for the {len(rows)} rows of the {split} data: pass one for each"
        )


def _judge(split: str, rows: Rows, predictions: Sequence[Sequence[LabelledSpan]]) -> list[JudgedSentence]:
    """Compare predictions with rows."""
    return [
        JudgedSentence(item, match(_without_edges(gold, item), _without_edges(predicted, item)), split, row)
        for row, ((item, gold), predicted) in enumerate(zip(rows, predictions, strict=True))
    ]


def _without_edges(spans: Sequence[LabelledSpan], item: Item) -> list[LabelledSpan]:
    """Take off the edges of entities of a text what does not count when they are aligned with words."""
    if not isinstance(item, str):
        return list(spans)
    places = np.arange(len(item) + 1)
    bare, blank = align(spans, item, places[:-1], places[1:])
    return bare + blank


def _unreachable(found: Annotations) -> dict[str, int]:
    """Count the gold entities that no candidate stands for."""
    return {
        "too-long": found.too_long.total(),
        "cut-off": found.cut_off,
        "entity-without-token": found.without_tokens,
        "partial-word": found.cut_words,
    }


def _num_filtered(model: SpanMarkerModel, features: Dataset, batch_size: int) -> int:
    """Count the gold entities that the filter drops. Unless a span may have several labels, it counts as one."""
    collator = SpanMarkerDataCollator.for_model(model.require_tokenizer(), model.config)
    outside_id = model.config.outside_id
    num_filtered = 0
    for _, batch, (_, kept) in run_in_batches(model.score, features, collator, batch_size, model.candidates_kept):
        labels = batch["labels"]
        num_gold = labels != outside_id if labels.dim() == 1 else labels.sum(dim=1) - labels[:, outside_id]
        if kept is not None:
            num_filtered += int(num_gold.sum() - num_gold[kept.cpu()].sum())
    return num_filtered
