"""Analyze the errors of a model, or of the predictions of any other system, on annotated data."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from span_marker.checkpoints.training_record import hub_name
from span_marker.core.alignment import trim_entities
from span_marker.core.arrays import as_array
from span_marker.data.columns import is_dataset, named_splits, whole_rows
from span_marker.data.relation_labels import rows_with_relations
from span_marker.data.row_relations import RELATIONS, labelled_relations
from span_marker.data.rows import COLUMNS, Row, first_error, read_row
from span_marker.error_analysis.matching import Item, JudgedSentence, match
from span_marker.error_analysis.relation_matching import match_relations
from span_marker.error_analysis.report import REASONS, ErrorReport
from span_marker.modeling import SpanMarkerModel, without_adapter
from span_marker.preprocessing.batching import run_in_batches
from span_marker.preprocessing.features import DatasetSummary, prepare

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

AnnotatedRows = Sequence[Row]
"""The rows of a data set, or predictions for them."""


def analyze_errors(
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
    """Find the errors of a model on annotated data.

    The model predicts with the defaults of ``model.predict``, including relations if both the model and the data have
    them. Entities of texts are compared in characters; white space, combining marks and format characters at their
    edges are ignored. An entity that begins or ends inside a word of the tokenizer cannot be predicted.

    Args:
        model: A trained model.
        data: A `Dataset`, or a dict of several, annotated in any form, see `span_marker.data.columns`.
        batch_size: Maximum number of sentences per batch.
        num_examples: Maximum number of errors to show per kind.
        num_resamples: Number of resamples of the sentences behind the confidence intervals.
        confidence: Confidence of the intervals, above 0 and below 1.
        seed: Seed of the resamples.
        model_name: Name of the model, for the page of the report. Defaults to the name in its card, its name on the
            Hub, or its folder; for a new model, that of its encoder.
        dataset_name: Name of the data, for the page. Defaults to its name on the Hub, if it was loaded from there.

    Returns:
        The report.

    Raises:
        TypeError: If ``model`` is not a model, ``data`` is not annotated data, or a row has a value of the wrong type.
        ValueError: If the data has no rows or is not annotated, a row is wrong, the model does not have a label, or an
            argument is out of range.
    """
    model = without_adapter(model)
    sentences: list[JudgedSentence] = []
    unreachable = Counter(dict.fromkeys(REASONS, 0))
    datasets = named_splits(data)
    for split, dataset in datasets.items():
        features, summary = prepare(dataset, model.preprocessor, split)
        summary.relations.warn(model.config, split)
        rows = list(whole_rows(dataset, split, model.config.tags))
        has_relations: Any = model.config.relation_labels is not None and RELATIONS in dataset.column_names
        found = _read_lists(rows, model.predict(dataset, batch_size=batch_size, relations=has_relations), split)
        annotated = rows_with_relations(dataset) if has_relations else set()
        judged = _judge(split, rows, found, annotated, model.config.symmetric_relations or ())
        unreachable.update(_unreachable(summary))
        if model.uses_filter():
            with_errors = {
                sentence.row for sentence in judged if any(outcome.kind != "correct" for outcome in sentence.outcomes)
            }
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


def analyze_predictions(
    data: Any,
    predictions: Any,
    *,
    num_examples: int = 10,
    num_resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    model_name: str | None = None,
    dataset_name: str | None = None,
    symmetric_relations: Collection[str] = (),
) -> ErrorReport:
    """Find the errors in the predictions of any system.

    Args:
        data: A `Dataset`, or a dict of several, annotated in any form, see `span_marker.data.columns`.
        predictions: For each row a list of entities: dicts as ``model.predict`` returns them, or with ``label``,
            ``start`` and ``end``, which count words if the data has words, and characters if it has texts; or dicts
            with such a list as ``entities``, and perhaps ``relations`` between them, which are compared if the row also
            has ``relations``: an empty list means that there are none, None that they are unknown. Or a `Dataset` of
            the same rows with other annotations. For a dict of data sets, a dict of these.
        num_examples: See `analyze_errors`.
        num_resamples: See `analyze_errors`.
        confidence: See `analyze_errors`.
        seed: See `analyze_errors`.
        model_name: Name of the system that made the predictions, for the page of the report.
        dataset_name: See `analyze_errors`.
        symmetric_relations: Labels of the relations whose head and tail can be exchanged.

    Returns:
        The report.

    Raises:
        TypeError: If ``data``, ``predictions`` or ``symmetric_relations``, or a value in a row, has the wrong type.
        ValueError: If there are more or fewer predictions than rows, they belong to other rows, an entity is
            impossible, or an argument is out of range.

    Example:
        >>> from datasets import Dataset
        >>> data = Dataset.from_list([{"tokens": ["Ann", "Lee"], "entities": [{"label": "PER", "start": 0, "end": 2}]}])
        >>> analyze_predictions(data, [[{"label": "PER", "start": 0, "end": 1}]]).kinds["wrong-boundaries"]
        1
    """
    if isinstance(symmetric_relations, str):
        raise TypeError(f"symmetric_relations must be a list of labels: pass [{symmetric_relations!r}]")
    datasets = named_splits(data)
    by_split = predictions if isinstance(data, Mapping) else dict.fromkeys(datasets, predictions)
    if not isinstance(by_split, Mapping) or set(by_split) != set(datasets):
        have = sorted(by_split) if isinstance(by_split, Mapping) else type(by_split).__name__
        raise ValueError(f"predictions must be a dict with the data sets {sorted(datasets)}, not {have}")
    sentences: list[JudgedSentence] = []
    for split, dataset in datasets.items():
        rows, split_predictions = list(whole_rows(dataset, split)), by_split[split]
        read = _read_dataset if is_dataset(split_predictions) else _read_lists
        found = read(rows, split_predictions, split)
        annotated = _rows_to_compare(dataset, split_predictions, split)
        sentences += _judge(split, rows, found, annotated, symmetric_relations)
    return ErrorReport.from_sentences(
        sentences,
        num_examples=num_examples,
        num_resamples=num_resamples,
        confidence=confidence,
        seed=seed,
        model_name=model_name,
        dataset_name=dataset_name or _dataset_name(datasets.values()),
    )


analyse_errors, analyse_predictions = analyze_errors, analyze_predictions  # old names


def _model_name(model: SpanMarkerModel) -> str | None:
    card, encoder = model.model_card_data, model.encoder.name_or_path
    return card.model_name or card.model_id or model.name_or_path or (f"SpanMarker with {encoder}" if encoder else None)


def _dataset_name(datasets: Iterable[Dataset]) -> str | None:
    names = dict.fromkeys(name for name in map(hub_name, datasets) if name)
    return ", ".join(names) or None


def _rows_to_compare(dataset: Dataset, predictions: Any, split: str) -> set[int]:
    """The rows with both annotated and predicted relations."""
    annotated = rows_with_relations(dataset)
    if is_dataset(predictions):
        predicted = rows_with_relations(predictions)
    else:
        has_relations = (isinstance(row, Mapping) and row.get(RELATIONS) is not None for row in predictions)
        predicted = {index for index, has in enumerate(has_relations) if has}
    if annotated & predicted and annotated - predicted:
        logger.warning(
            "Predictions of %d of the %d rows of the %s data with annotated relations have no value for %r, so the "
            "relations of these rows are not compared. Pass an empty list if none were found.",
            len(annotated - predicted),
            len(annotated),
            split,
            RELATIONS,
        )
    return annotated & predicted


def _read_dataset(rows: AnnotatedRows, predictions: Dataset, split: str) -> AnnotatedRows:
    """The rows of a data set with the same sentences."""
    predicted = list(whole_rows(predictions, f"predicted {split}"))
    _check_number(rows, predicted, split)
    for index, (row, other) in enumerate(zip(rows, predicted, strict=True)):
        _check_same(index, row.content, other.content, split)
    return predicted


def _read_lists(rows: AnnotatedRows, predictions: Any, split: str) -> AnnotatedRows:
    """Predictions as rows."""
    if not isinstance(predictions, Sequence) or isinstance(predictions, str):
        raise TypeError(f"predictions must be a list with one item for each row, not a {type(predictions).__name__}")
    _check_number(rows, predictions, split)
    predicted = []
    for index, (row, prediction) in enumerate(zip(rows, predictions, strict=True)):
        entities, relations = prediction, None
        if isinstance(prediction, Mapping):
            _check_same(index, row.content, prediction.get(COLUMNS[row.kind], row.content), split)
            entities, relations = prediction.get("entities"), prediction.get(RELATIONS)
        location = f"row {index} of the predictions"
        predicted.append(first_error(*read_row(row.kind, row.content, entities, location, relations)))
    return predicted


def _check_number(rows: AnnotatedRows, predictions: Sequence[Any], split: str) -> None:
    if len(predictions) != len(rows):
        raise ValueError(
            f"there are {len(predictions)} predictions for the {len(rows)} rows of the {split} data: pass one for each "
            "row"
        )


def _check_same(row: int, item: Item, other: Any, split: str) -> None:
    if item != other:
        raise ValueError(f"row {row} of the predictions is not row {row} of the {split} data, but {other!r:.60}")


def _judge(
    split: str,
    rows: AnnotatedRows,
    predictions: AnnotatedRows,
    with_relations: Collection[int],
    symmetric: Collection[str],
) -> list[JudgedSentence]:
    """Compare predictions with rows, including relations for some rows."""
    judged = []
    for index, (gold, predicted) in enumerate(zip(rows, predictions, strict=True)):
        outcomes = match(*(trim_entities(row.spans, gold.content) for row in (gold, predicted)))
        relations = None
        if index in with_relations:
            found = {outcome.gold: outcome.predicted for outcome in outcomes if outcome.gold and outcome.predicted}
            annotated, others = (labelled_relations(row.relations, row.spans, row.content) for row in (gold, predicted))
            relations = match_relations(annotated, others, found, symmetric)
        judged.append(JudgedSentence(gold.content, outcomes, split, index, relations))
    return judged


def _unreachable(summary: DatasetSummary) -> dict[str, int]:
    """Count the gold entities that no candidate can match."""
    return {
        "too-long": summary.too_long.total(),
        "cut-off": summary.cut_off,
        "entity-without-token": summary.without_tokens,
        "partial-word": summary.cut_words,
    }


def _num_filtered(model: SpanMarkerModel, features: Dataset, batch_size: int) -> int:
    """Count the gold entities that the filter drops. Unless a span may have several labels, it counts as one."""
    collator = model.preprocessor.collator
    outside_id = model.config.outside_id
    num_filtered = 0
    for _, batch, (_, kept) in run_in_batches(
        model.score, features, collator, batch_size, model.candidates_kept, hire=model.hire_workers
    ):
        labels = batch["labels"]
        num_gold = labels != outside_id if labels.ndim == 1 else labels.sum(axis=1) - labels[:, outside_id]
        if kept is not None:
            num_filtered += int(num_gold.sum() - num_gold[as_array(kept)].sum())
    return num_filtered
