"""Label errors: finding suspicious annotations in annotated data."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import TrainingArguments

from span_marker.checkpoints.training_record import hub_name
from span_marker.configuration import SpanMarkerConfig
from span_marker.core.alignment import trim_entities
from span_marker.core.checks import check_limit
from span_marker.core.labels import have_overlap
from span_marker.curation.label_error_report import LabelErrorReport
from span_marker.curation.span_probabilities import Item, find_mentions, mean_distributions, read_distributions
from span_marker.curation.suspects import find_suspects, known_labels, weigh_support
from span_marker.data.columns import read_columns, require_dataset, whole_rows
from span_marker.data.in_memory import AnnotatedData
from span_marker.data.row_relations import RELATIONS, RowRelation, move_relations
from span_marker.data.rows import Row
from span_marker.error_analysis.matching import num_words
from span_marker.modeling import SpanMarkerModel, without_adapter
from span_marker.prediction.options import PredictOptions
from span_marker.prediction.relations import as_columns
from span_marker.preprocessing.word_fitting import set_word_splitter
from span_marker.training.base_trainer import check_arguments
from span_marker.training.cross_validation import DATA, OutOfFold, check_make_model, predict_out_of_fold
from span_marker.training.cross_validation_report import CrossValidationReport
from span_marker.validation.limits import set_limits

logger = logging.getLogger(__name__)

LEAST_LISTED = 1e-4
"""Minimum probability of a label for a span to be listed in predictions, far below that of an entity."""

ALL_SPANS: PredictOptions = {
    "threshold": LEAST_LISTED,
    "decoding": "overlapping",
    "top_k": 10_000,
    "exact": True,
    "relations": False,
}
"""Options of ``predict`` that also return improbable spans, so that the probabilities of wrong annotations are known. A
candidate filter would assign ``O`` to some of them with certainty."""

Predictions = Sequence[Any] | CrossValidationReport


def find_label_errors(
    data: AnnotatedData,
    make_model_or_predictions: Callable[[], SpanMarkerModel] | Predictions | Sequence[Predictions],
    args: TrainingArguments | None = None,
    folds: int = 5,
    *,
    repeats: int = 1,
    seed: int = 0,
    resume: bool = False,
    min_probability: float = 0.5,
) -> LabelErrorReport:
    """Find annotations that are probably wrong, and entities that are probably missing.

    Every row is judged by models that have not seen its annotation, see `span_marker.cross_validate`. The kinds of
    suspects and their probabilities are described in `span_marker.curation.suspects`. Other mentions of the same words
    count as evidence, too, see `span_marker.curation.span_probabilities.weigh_mentions`.

    Args:
        data: The annotated data, see `span_marker.cross_validate`.
        make_model_or_predictions: A function that makes a new, untrained model, see `span_marker.cross_validate`. Or
            out-of-fold predictions: for each row the entities as ``predict`` returns them, preferably with the options
            `ALL_SPANS`, or a `CrossValidationReport` that contains them; or a list of several of these, which are
            averaged. Spans that they do not list count as ``O`` with certainty, except for annotated entities with more
            words than any listed span, which may exceed ``entity_max_length`` and are not judged. With a function,
            ``entity_max_length`` is known, and all annotated entities within it are judged.
        args: Training arguments of each model, see `span_marker.cross_validate`; required with ``make_model``.
        folds: Number of folds, see `span_marker.cross_validate`.
        repeats: Number of cross-validations, each with other folds and another seed, whose predictions are averaged.
            The first is in the folder ``repeat-0`` of ``args.output_dir``.
        seed: Seed of the folds. Cross-validation number ``i`` uses ``seed + i``.
        resume: Whether to read the predictions of finished folds from ``args.output_dir``.
        min_probability: Annotations are reported if they are wrong with at least this probability.

    Returns:
        The suspects, the most probable first.

    Raises:
        TypeError: If ``data`` is not a `Dataset`, ``args`` is missing, or a value has the wrong type.
        ValueError: If the data is not annotated; an argument is out of range; the number of predictions is not that of
            the rows; or they have no scores, or come from a multi-label model. See also `span_marker.cross_validate`.

    Example:
        >>> data = [{"tokens": ["Ann", "Lee"], "entities": [{"label": "LOC", "start": 0, "end": 2}]}]
        >>> predicted = [{"label": "PER", "score": 0.9, "word_start_index": 0, "word_end_index": 2}]
        >>> [suspect] = find_label_errors(data, [predicted]).suspects
        >>> suspect.kind, suspect.probability, suspect.suggested.label
        ('wrong-label', 0.75, 'PER')
    """
    data = require_dataset(data, DATA)
    check_limit("repeats", repeats, at_least=1)
    if not 0 <= min_probability <= 1:
        raise ValueError(f"min_probability={min_probability} must be a probability, from 0 to 1")
    source = make_model_or_predictions
    predictions, reach = source, 0
    if callable(source):
        predictions, reach = _cross_validate(data, source, args, folds, repeats, seed, resume)
    rows = [*whole_rows(data, DATA)]
    gold = [(row.content, trim_entities(row.spans, row.content)) for row in rows]
    models = [
        [
            read_distributions(item, entities, f"row {row} of the predictions")
            for row, ((item, _), entities) in enumerate(zip(gold, _checked(model, gold), strict=True))
        ]
        for model in _list_models(predictions)
    ]
    means = [mean_distributions(row) for row in zip(*models, strict=True)]
    longest = max(
        (_num_words(item, span) for (item, _), row in zip(gold, means, strict=True) for span in row), default=0
    )
    if rows[0].kind == "words":  # the words of a text may differ from the model's
        longest = max(longest, reach)
    may_overlap = any(have_overlap(entities) for _, entities in gold)
    ids, known = _row_ids(data), known_labels(gold)
    suspects, num_unjudged = [], 0
    for row, ((item, entities), predicted, mentions) in enumerate(
        zip(gold, means, find_mentions(gold, means), strict=True)
    ):
        for found in find_suspects(row, entities, predicted, mentions, may_overlap):
            suspect = weigh_support(found, item, known)
            if _num_words(item, suspect.span[1:]) > longest:
                num_unjudged += 1
            elif suspect.probability >= min_probability:
                text = item[suspect.span.start : suspect.span.end]
                text = text if isinstance(text, str) else " ".join(text)
                suspects.append(suspect._replace(text=text, id=ids[row]))
    suspects.sort(key=lambda suspect: (-suspect.probability, -suspect.confidence))
    return LabelErrorReport(
        suspects=suspects,
        annotated=gold,
        num_entities=sum(len(entities) for _, entities in gold),
        num_unjudged=num_unjudged,
        num_models=len(models),
        relations=[*map(_relations, rows)] if RELATIONS in data.column_names else None,
        dataset_name=hub_name(data),
    )


def _row_ids(data: Dataset) -> list[Any]:
    """The ``id`` of each row, or None for all if some rows have none or share one: row numbers would look like IDs."""
    if "id" not in data.column_names:
        return [None] * len(data)
    ids = [identity for (identity,) in read_columns(data, ["id"])]
    num_different = len({repr(identity) for identity in ids if identity is not None})
    if num_different == len(ids):
        return ids
    logger.warning(
        "%d rows have only %d different values of 'id', so suspects and tasks are identified by row number. Give each "
        "row a unique 'id'.",
        len(ids),
        num_different,
    )
    return [None] * len(ids)


def _relations(row: Row) -> list[RowRelation]:
    """The relations of a row, between its entities as `trim_entities` returns them."""
    own = [trim_entities([span], row.content)[0] for span in row.spans]
    different = [*dict.fromkeys(own)]
    return move_relations(row.relations, [*map(different.index, own)])


def _num_words(item: Item, span: Sequence[int]) -> int:
    return num_words(item[span[0] : span[1]])


def predict_all_spans(
    make_model: Callable[[], SpanMarkerModel],
    data: AnnotatedData,
    args: TrainingArguments,
    folds: int = 5,
    *,
    seed: int = 0,
    resume: bool = False,
) -> OutOfFold:
    """Predict every row with a model that has not seen it, with the options `ALL_SPANS`.

    Limits that are ``"auto"`` are set from all of the data, so that the models of all folds judge the same spans.

    Args:
        make_model: See `find_label_errors`.
        data: See `find_label_errors`.
        args: See `find_label_errors`.
        folds: See `find_label_errors`.
        seed: Seed of the folds.
        resume: See `find_label_errors`.

    Returns:
        The predictions.

    Raises:
        TypeError: See `find_label_errors`.
        ValueError: If a model is a multi-label model. See also `find_label_errors`.
    """
    data = require_dataset(data, DATA)

    def make() -> SpanMarkerModel:
        made = make_model()
        model = without_adapter(made)
        if model.config.multi_label:
            raise ValueError(
                "make_model returned a model with multi_label=True, whose labels are not mutually exclusive: set it "
                "to False"
            )
        set_word_splitter(model.config, data)
        set_limits(model.config, data, model.require_tokenizer())
        return made

    return predict_out_of_fold(make, data, args, folds, seed=seed, resume=resume, predict_options=ALL_SPANS)


def _cross_validate(
    data: Any,
    make_model: Callable[[], SpanMarkerModel],
    args: TrainingArguments | None,
    folds: int,
    repeats: int,
    seed: int,
    resume: bool,
) -> tuple[list[Predictions], int]:
    """The predictions of each cross-validation, and the maximum number of words of judged spans."""
    check_make_model(make_model)
    if args is None:
        raise TypeError("args must be TrainingArguments, which are needed to train the models of make_model")
    check_arguments(None, args)
    predictions: list[Predictions] = []
    configs: list[SpanMarkerConfig] = []

    def make() -> SpanMarkerModel:
        model = make_model()
        configs.append(without_adapter(model).config)
        return model

    for repeat in range(repeats):
        own = copy.copy(args)
        own.output_dir, own.seed = str(Path(str(args.output_dir), f"repeat-{repeat}")), args.seed + folds * repeat
        rows = predict_all_spans(make, data, own, folds, seed=seed + repeat, resume=resume).rows
        predictions.append([row["entities"] for row in rows])
    return predictions, configs[-1].limit("entity_max_length")


def _list_models(predictions: Any) -> list[Predictions]:
    """The predictions of each model. The predictions of one model are a list of rows, whose entities are dicts."""
    if isinstance(predictions, CrossValidationReport):
        return [predictions]
    if not isinstance(predictions, Sequence) or isinstance(predictions, str):
        raise TypeError(
            "make_model_or_predictions must be a function that makes a model, or a list with the predictions of each "
            f"row, not {type(predictions).__name__}"
        )
    return list(predictions) if any(map(_is_model, predictions)) else [predictions]


def _is_model(entry: Any) -> bool:
    """Whether an entry of a list contains the predictions of a model, rather than those of a row, which are dicts."""
    if isinstance(entry, Mapping):  # a row with relations
        return False
    return isinstance(entry, CrossValidationReport) or any(
        not isinstance(item, Mapping) or "entities" in item for item in entry
    )


def _checked(model: Any, gold: Sequence[tuple[Item, Any]]) -> Sequence[Any]:
    rows = model.predictions if isinstance(model, CrossValidationReport) else model
    if len(rows) != len(gold):
        raise ValueError(
            f"there are {len(rows)} predictions for the {len(gold)} rows of the {DATA} data: pass one per row"
        )
    for index, (row, (item, _)) in enumerate(zip(rows, gold, strict=True)):
        if not isinstance(row, Mapping):
            continue
        if "entities" not in row:
            raise ValueError(f"row {index} of the predictions, {dict(row)!r:.60}, has no 'entities'")
        about = row.get("text" if isinstance(item, str) else "tokens")
        if about is not None and list(about) != list(item):
            raise ValueError(
                f"row {index} of the predictions is about {about!r:.60}, but row {index} of the {DATA} data is "
                f"{item!r:.60}: pass the predictions in the order of the data"
            )
    return [as_columns(row)["entities"] for row in rows]
