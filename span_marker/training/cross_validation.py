"""Cross-validation: measuring a training setup on data that is too small for a separate test set."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakSet

import numpy as np
from datasets import Dataset
from torch import nn
from transformers import TrainingArguments, set_seed

from span_marker.checkpoints.training_record import hub_name
from span_marker.configuration import SpanMarkerConfig
from span_marker.core.checks import check_limit
from span_marker.core.folds import assign_folds
from span_marker.core.relation_metrics import distinct_relations
from span_marker.core.spans import IntArray
from span_marker.data.columns import annotation_form, read_columns, require_dataset, whole_rows
from span_marker.data.forms import FORMS
from span_marker.data.in_memory import AnnotatedData
from span_marker.data.row_relations import RELATIONS, check_relation_labels, labelled_relations
from span_marker.data.rows import Row
from span_marker.data.text_files import writing
from span_marker.modeling import SpanMarkerModel, without_adapter
from span_marker.prediction.options import PredictOptions
from span_marker.prediction.relations import as_columns
from span_marker.preprocessing.inputs import document_columns, take_columns
from span_marker.preprocessing.relation_features import RelationSummary
from span_marker.training.base_trainer import check_arguments
from span_marker.training.cross_validation_report import CrossValidationReport, GoldRows
from span_marker.training.progress import MIN_PREDICTED
from span_marker.training.trainer import Trainer

logger = logging.getLogger(__name__)

DATA = "annotated"
"""What the data is called in messages."""

PREDICTIONS = "predictions.json"
"""Name of the file with the predictions of a fold, in the folder of the fold."""

OPEN = ("output_dir", "run_name", "local_rank")
"""Training arguments that may change when a cross-validation is resumed."""


class OutOfFold(NamedTuple):
    """Predictions for rows that the models were not trained on, in the order of the data.

    Attributes:
        gold: The words or the text of each row, and its gold entities.
        rows: A dict for each row, with its columns, the predicted ``entities``, and ``relations`` if models have any.
        fold_of_row: The fold of each row, counted from 0.
        group_of_row: The document of each row, counted from 0; None if the data has no documents.
        relations: The gold relations of each row, in the form of the data; None if the model or the data has none.
        symmetric: Labels of the relations whose head and tail can be exchanged.
    """

    gold: GoldRows
    rows: list[dict[str, Any]]
    fold_of_row: list[int]
    group_of_row: list[int] | None
    relations: list[Any] | None = None
    symmetric: Sequence[str] = ()


def cross_validate(
    make_model: Callable[[], SpanMarkerModel],
    data: AnnotatedData,
    args: TrainingArguments,
    folds: int = 5,
    *,
    seed: int = 0,
    resume: bool = False,
    predict_options: PredictOptions | None = None,
) -> CrossValidationReport:
    """Train a model for each fold of the data on the other folds, and measure it on this fold.

    Every row is predicted once, by a model that was not trained on it. Folds have about equal size, with the entities
    and relations of each label spread over them, see `span_marker.core.folds.assign_folds`. The sentences of a document
    are in one fold. Limits that are ``"auto"``, and ``decoding`` and ``relation_types`` if they are not set, are
    determined from the training data of each fold, as `Trainer` does. ``symmetric_relations`` are determined from all
    of the data, so that all folds count relations in the same way. Sentences that occur twice may be in two folds, so
    that a model is measured on a sentence that it was trained on; `span_marker.validate` lists them.

    If ``args.eval_strategy`` is not ``"no"``, the next fold serves as evaluation data, and is not trained on: the best
    checkpoint and the threshold of the candidate filter are chosen on it, never on the fold that is measured.
    Otherwise, there is no evaluation data, all other folds are trained on, and prediction gives markers to as many
    candidates as training.

    The predictions of each fold are written to ``args.output_dir``, ``fold-0/predictions.json`` and so on, as soon as
    the fold is finished.

    Args:
        make_model: Makes a new, untrained model, as ``model_init`` of ``transformers.Trainer`` does. It takes no
            arguments: settings that depend on the training data are made by `Trainer`, and all others must be the same
            for all folds. Pass all of the data as ``labels=``, and the labels of all its relations as
            ``relation_labels=``, so that each model has all labels. It is called once more than there are folds.
        data: The annotated data, in any form, see `span_marker.data.columns`; and for document context, with
            ``document_id`` and ``sentence_id``.
        args: Training arguments of each model. Fold number ``i`` is trained with the seed ``args.seed + i``, in the
            folder ``fold-i`` of ``args.output_dir``; checkpoints are saved there according to ``args.save_strategy``.
        folds: Number of folds, at least 2; at least 3 if there is evaluation data.
        seed: Seed of the folds, and of the resamples behind the intervals.
        resume: Whether to read the predictions of finished folds from ``args.output_dir`` rather than train their
            models again. The data, the arguments and the configuration of the model must be the same. Its weights are
            not compared.
        predict_options: Options of `SpanMarkerModel.predict`, such as ``{"top_k": 3}``. ``batch_size`` defaults to that
            of evaluation.

    Returns:
        Figures with intervals, and the predictions of all rows.

    Raises:
        TypeError: If ``make_model`` does not return a model, ``data`` is not a `Dataset`, ``args`` are not
            ``TrainingArguments``, or a value in a row has the wrong type.
        ValueError: If there are more folds than rows or documents, or too few folds; the data is not annotated or has
            no entities, a row is invalid, or the model lacks a label of an entity or a relation; ``make_model`` returns
            the same model twice; an option is invalid; or the results to resume from were made with other settings.

    Example:
        >>> report = cross_validate(
        ...     lambda: SpanMarkerModel.from_pretrained("google-bert/bert-base-cased", labels=data),
        ...     data,
        ...     TrainingArguments("folds", learning_rate=5e-5, num_train_epochs=3, save_strategy="no"),
        ... )  # doctest: +SKIP
    """
    data = require_dataset(data, DATA)
    predictions = predict_out_of_fold(
        make_model, data, args, folds, seed=seed, resume=resume, predict_options=predict_options
    )
    _warn_of_silence(predictions)
    return CrossValidationReport.from_predictions(*predictions, seed=seed, dataset_name=hub_name(data))


def _warn_of_silence(predictions: OutOfFold) -> None:
    num_gold = sum(len(spans) for _, spans in predictions.gold)
    num_predicted = sum(len(row["entities"]) for row in predictions.rows)
    if num_predicted < MIN_PREDICTED * num_gold:
        logger.warning(
            "The models of the folds predict %d entities in data that has %d. Train longer (num_train_epochs) or with "
            "a higher learning_rate; with eval_strategy='epoch', they get thresholds, as with an eval_dataset.",
            num_predicted,
            num_gold,
        )


def predict_out_of_fold(
    make_model: Callable[[], SpanMarkerModel],
    data: AnnotatedData,
    args: TrainingArguments,
    folds: int = 5,
    *,
    seed: int = 0,
    resume: bool = False,
    predict_options: PredictOptions | None = None,
) -> OutOfFold:
    """Predict every row of the data with a model that was trained on other folds. See `cross_validate`.

    Args:
        make_model: See `cross_validate`.
        data: See `cross_validate`.
        args: See `cross_validate`.
        folds: See `cross_validate`.
        seed: Seed of the folds.
        resume: See `cross_validate`.
        predict_options: See `cross_validate`.

    Returns:
        The predictions.

    Raises:
        TypeError: See `cross_validate`.
        ValueError: See `cross_validate`.
    """
    data, options = require_dataset(data, DATA), _check_options(predict_options)
    check_make_model(make_model)
    _check_arguments(args, folds)
    make_model = _make_new(make_model)
    model = without_adapter(make_model())
    whole = list(whole_rows(data, DATA, model.config.tags, model.config.classes))
    gold = [(row.content, row.spans) for row in whole]
    has_relations = model.config.relation_labels is not None and RELATIONS in data.column_names
    relations = [value for (value,) in read_columns(data, (RELATIONS,))] if has_relations else None
    symmetric = _find_symmetric(whole, model.config) if has_relations else []
    groups = _group_rows(data)
    fold_of_row = _split(whole, has_relations, groups, folds, seed)
    settings: dict[str, Any] = {"data": _hash([gold, document_columns(data), fold_of_row]), "predict_options": options}
    settings |= {} if relations is None else {"relations": _hash(relations)}
    settings |= {f"args.{name}": value for name, value in json.loads(args.to_json_string()).items() if name not in OPEN}
    settings |= {f"model.config.{name}": value for name, value in json.loads(model.config.to_json_string()).items()}
    settings |= {"model.name_or_path": model.name_or_path, "model.encoder.name_or_path": model.encoder.name_or_path}
    del model
    rows = take_columns(data, _columns_to_keep(data))
    for fold in range(folds):
        path = Path(str(args.output_dir), f"fold-{fold}", PREDICTIONS)
        found = _load(path, settings) if resume and path.exists() else None
        if found is None:
            fold_args = _fold_arguments(args, fold, path.parent)
            make = partial(_make_alike, make_model, symmetric if has_relations else None)
            found = _train_and_predict(make, fold_args, data, _parts(fold_of_row, fold, args), options)
            if args.process_index == 0:
                _save(path, settings, found)
        for row, row_found in zip(np.flatnonzero(np.equal(fold_of_row, fold)), found, strict=True):
            rows[row] |= as_columns(row_found)
    return OutOfFold(gold, rows, fold_of_row, groups, relations, symmetric)


def _find_symmetric(rows: Sequence[Row], config: SpanMarkerConfig) -> list[str]:
    """The symmetric relations, determined as in training. The model must have the labels of all relations."""
    summary = RelationSummary()
    for index, row in enumerate(rows):
        location = f"row {index} of the {DATA} data"
        check_relation_labels(row.relations or (), (config.relation_labels or [])[1:], location)
        relations = distinct_relations(labelled_relations(row.relations or (), row.spans, row.content))
        summary.statistics.add(relation for relation in relations if relation.head[1:] != relation.tail[1:])
    if config.symmetric_relations is not None:
        return config.symmetric_relations
    symmetric = summary.statistics.symmetric()
    summary.warn_of_doubts(symmetric, DATA)
    return symmetric


def _make_alike(make_model: Callable[[], SpanMarkerModel], symmetric: list[str] | None) -> SpanMarkerModel:
    """Make a model that treats the same relations as symmetric as in all other folds; None lets it choose."""
    model = make_model()
    config = without_adapter(model).config
    if symmetric is not None and config.symmetric_relations is None:
        config.symmetric_relations = list(symmetric)
    return model


def _check_options(options: PredictOptions | None) -> dict[str, Any]:
    known = list(PredictOptions.__annotations__)
    if unknown := [name for name in options or {} if name not in known]:
        raise ValueError(f"predict_options has {unknown}, which are not among {known}")
    return {**(options or {})}


def check_make_model(make_model: Any) -> None:
    """Check that a function makes models.

    Args:
        make_model: The function.

    Raises:
        TypeError: If it is a model, which is callable as well.
    """
    if isinstance(make_model, nn.Module):
        raise TypeError(
            "make_model must be a function that makes a new model each time it is called, not a model: pass "
            "lambda: SpanMarkerModel.from_pretrained(...)"
        )


def _check_arguments(args: TrainingArguments, folds: int) -> None:
    check_arguments(None, args)
    check_limit("folds", folds, 2)
    if folds == 2 and args.eval_strategy != "no":
        raise ValueError(
            "folds=2 leaves nothing to train on besides the fold that is measured and the one for evaluation during "
            "training: set folds to at least 3, or eval_strategy='no'"
        )
    if args.push_to_hub:
        raise ValueError("push_to_hub=True must be False: the models of the folds only serve to be measured")


def _make_new(make_model: Callable[[], SpanMarkerModel]) -> Callable[[], SpanMarkerModel]:
    """Check that each call returns a new model, since one that was trained for an earlier fold has seen the data."""
    made: WeakSet[SpanMarkerModel] = WeakSet()

    def make() -> SpanMarkerModel:
        model = make_model()
        if without_adapter(model) in made:
            raise ValueError("make_model returned the same model twice, but must make a new one each time it is called")
        made.add(without_adapter(model))
        return model

    return make


def _group_rows(data: Dataset) -> list[int] | None:
    """The document of each row, counted from 0; None if the data has no documents."""
    document_ids, _ = document_columns(data)
    if document_ids is None:
        return None
    numbers = {document_id: number for number, document_id in enumerate(dict.fromkeys(document_ids))}
    return [numbers[document_id] for document_id in document_ids]


def _split(rows: Sequence[Row], has_relations: bool, groups: list[int] | None, folds: int, seed: int) -> list[int]:
    """The fold of each row."""
    unit = "rows" if groups is None else "documents"
    group_of_row = np.arange(len(rows)) if groups is None else np.array(groups)
    sizes = np.bincount(group_of_row)
    if len(sizes) < folds:
        raise ValueError(f"folds={folds} must be at most {len(sizes)}, the number of {unit} of the {DATA} data")
    labels_of_rows = [[span.label for span in row.spans] for row in rows]
    if not any(labels_of_rows):
        raise ValueError(f"there are no entities in the {DATA} data, so there is nothing to measure")
    if has_relations:
        for row, labels_of_row in zip(rows, labels_of_rows, strict=True):
            labels_of_row += [relation.label for relation in row.relations or ()]
    labels = sorted(set(chain.from_iterable(labels_of_rows)))
    counts = np.zeros((len(sizes), len(labels)), dtype=np.int64)
    for group, labels_of_row in zip(group_of_row, labels_of_rows, strict=True):
        for label in labels_of_row:
            counts[group, labels.index(label)] += 1
    num_with = dict(zip(labels, (counts > 0).sum(axis=0).tolist(), strict=True))
    if rare := {label: number for label, number in num_with.items() if number < folds}:
        logger.warning(
            "Some folds have no %s of these labels, which are in fewer %s than there are folds (%d), so the figures "
            "of these labels are unreliable: %s",
            "entity or relation" if has_relations else "entity",
            unit,
            folds,
            ", ".join(f"{label!r} in {number}" for label, number in rare.items()),
        )
    return assign_folds(sizes, counts, folds, seed)[group_of_row].tolist()


def _parts(fold_of_row: Sequence[int], fold: int, args: TrainingArguments) -> tuple[IntArray, IntArray, IntArray]:
    """The rows to train on, those to evaluate on during training, and those of the fold."""
    folds = np.array(fold_of_row)
    is_measured = folds == fold
    is_evaluated = (folds == (fold + 1) % (folds.max() + 1)) & (args.eval_strategy != "no")
    training, evaluation, measured = map(np.flatnonzero, (~is_measured & ~is_evaluated, is_evaluated, is_measured))
    return training, evaluation, measured


def _fold_arguments(args: TrainingArguments, fold: int, folder: Path) -> TrainingArguments:
    fold_args = copy.copy(args)
    fold_args.output_dir, fold_args.seed = str(folder), args.seed + fold
    return fold_args


def _train_and_predict(
    make_model: Callable[[], SpanMarkerModel],
    args: TrainingArguments,
    data: Dataset,
    parts: tuple[IntArray, IntArray, IntArray],
    options: dict[str, Any],
) -> list[Any]:
    """Train a model on a part of the data, and predict another part."""
    training, evaluation, measured = map(data.select, parts)
    set_seed(args.seed)  # of the layers that are new in the model
    trainer = Trainer(make_model(), args, training, evaluation if len(evaluation) else None)
    model = without_adapter(trainer.model)
    options = {"batch_size": args.eval_batch_size, **options}
    model.predict(measured.select([0]), **options)  # so that an invalid option is reported before hours of training
    trainer.train()
    return model.predict(measured, **options)


def _columns_to_keep(data: Dataset) -> list[str]:
    """The columns to keep: the one that is annotated, and all others except annotations and other forms of the text."""
    content, annotation = FORMS[annotation_form(data, DATA)]
    others = {"tokens", "text", "entities", RELATIONS, annotation} - {content}
    return [name for name in data.column_names if name not in others]


def _hash(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, default=str).encode()).hexdigest()


def _save(path: Path, settings: dict[str, Any], entities: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with writing(path) as file:
        json.dump({"settings": settings, "entities": entities}, file)


def _load(path: Path, settings: dict[str, Any]) -> list[Any]:
    """The predictions of a finished fold."""
    saved = json.loads(path.read_text(encoding="utf-8"))
    settings = json.loads(json.dumps(settings))
    names = settings.keys() | saved["settings"].keys()
    if differing := sorted(name for name in names if settings.get(name) != saved["settings"].get(name)):
        raise ValueError(
            f"{path} cannot be resumed, since it was made with different settings: {', '.join(differing)}. Restore "
            "them, or pass another output_dir"
        )
    logger.info("The predictions of a finished fold are read from %s.", path)
    return saved["entities"]
