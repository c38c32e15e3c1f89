"""Quantize exported models to 8 bits: smaller, faster on some machines, with slightly different predictions."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

from span_marker.checkpoints.errors import StrPath
from span_marker.checkpoints.exported import (
    ExportedEncoder,
    check_target,
    finish_export,
    outdated_by_weights,
    write_manifest,
)
from span_marker.core import folders
from span_marker.core.checks import check_probability
from span_marker.core.words import Split
from span_marker.data.columns import is_dataset, read_rows, require_dataset
from span_marker.data.in_memory import AnnotatedData, is_rows, is_table
from span_marker.data.rows import COLUMNS, PREDICTED, UNITS, Kind
from span_marker.encoders.graph_engine import GraphEngine
from span_marker.error_analysis import analyze_predictions, compare_reports
from span_marker.export.quantization_report import Mode, QuantizationReport, f1_change
from span_marker.export.static_quantization import (
    Ranges,
    exported_encoder,
    layer_errors,
    linear_layers,
    measure_ranges,
    quantize_layers,
    running,
    weight_key,
)
from span_marker.export.tracing import quiet, write_shared
from span_marker.graphs.files import ENCODER, FOLDER, graph_names
from span_marker.graphs.runtimes import import_extra
from span_marker.modeling import SpanMarkerModel
from span_marker.prediction.relations import as_columns
from span_marker.preprocessing.inputs import text_column
from span_marker.rules.rules import RULES_FILE

Runtime = Literal["onnx", "openvino"]
"""The runtime of the graphs."""

Texts: TypeAlias = "Sequence[str] | Sequence[Sequence[str]] | AnnotatedData"
"""Texts, lists of words, or annotated rows of either."""

GOAL = 0.99
"""Share of the calibration texts that should have the same entities."""

FLOAT_SHARES = (0, 1 / 16, 1 / 8, 1 / 4)
"""Shares of the linear layers to try in float32, starting with those that 8 bits change most."""


def quantize(
    folder: StrPath,
    target: StrPath,
    data: Texts,
    batch_size: int = 32,
    *,
    mode: Mode = "dynamic",
    calibration: Texts | None = None,
    max_loss: float | None = None,
    backend: Runtime = "onnx",
    word_splitter: str | Split | None = None,
) -> QuantizationReport:
    """Quantize the linear layers of an exported model to 8 bits, and measure what that changes.

    Weights are rounded per output channel, to 7 bits, sign included, so that sums do not overflow on machines without
    VNNI. Embeddings, attention, the candidate filter and the classifier stay in float32. With ``mode="dynamic"``,
    activations are rounded by their range in each batch: unlike in other models, the scores of a sentence depend
    slightly on the other sentences of its batch. With ``mode="static"``, the ranges are measured on ``calibration``,
    and a sentence has the same scores in every batch.

    With ``calibration``, the linear layers that 8 bits change most stay in float32: as many as needed for a share of
    `GOAL` of the calibration texts to keep their entities, but at most a quarter.

    Args:
        folder: An exported model, see `export_onnx`.
        target: The folder to write, which must not hold weights for PyTorch.
        data: Data to compare the two models on, similar to the data to predict: texts, lists of words, or annotated
            rows in any form. With annotated rows, the report includes F1 before and after.
        batch_size: Maximum number of texts in a batch.
        mode: ``"dynamic"`` or ``"static"``.
        calibration: A few hundred other texts, lists of words or rows, for example of the training data. Annotations
            are ignored. Required for ``mode="static"``.
        max_loss: Maximum loss of entity F1 on ``data``, such as 0.005. A model that loses more is not kept. By default,
            any loss is accepted. Relations are ignored.
        backend: The runtime to measure in, ``"onnx"`` or ``"openvino"``. Both can run the result, with small
            differences.
        word_splitter: What splits strings into words, see `SpanMarkerModel.from_pretrained`. It must be passed if the
            model was trained with a function.

    Returns:
        The predictions of the quantized model compared with the original's. Also written to ``onnx/export.json``.

    Raises:
        FileNotFoundError: If ``folder`` has no graphs.
        ImportError: If ``onnx``, ``onnxscript`` or the runtime is not installed.
        TypeError: If ``data`` or ``calibration`` is neither texts nor rows.
        ValueError: If there is no data, or ``max_loss`` is set and it is not annotated or has no entities; if ``mode``
            is unknown, or ``"static"`` without ``calibration``; if no text of ``calibration`` has a word; if the model
            is quantized already, ``target`` is ``folder`` or holds weights, F1 falls by more than ``max_loss``, or the
            model was trained with a splitter that is not passed; or if the model has relations, and there are no two
            entities in any text of ``calibration``.
    """
    _check_arguments(folder, target, data, mode, calibration, max_loss)
    splitter: dict[str, Any] = {} if word_splitter is None else {"word_splitter": word_splitter}
    original = SpanMarkerModel.from_pretrained(folder, backend=backend, **splitter)
    encoder = exported_encoder(original)
    if "quantized" in encoder.manifest:
        raise ValueError(f"{str(folder)!r} is quantized already")
    if encoder.manifest["dtype"] != "float32":
        raise ValueError(f"{str(folder)!r} has weights in {encoder.manifest['dtype']}: export it with dtype='float32'")
    measured = _Data(data, "annotated", batch_size, original.config.tags)
    if max_loss is not None and not any(row["entities"] for row in measured.rows or ()):
        raise ValueError(f"max_loss={max_loss} needs data with entities to measure F1 on, but no row has any")
    layers = _Layers(encoder, mode)
    in_float: set[str] = set()
    if calibration is not None:
        texts = _Data(calibration, "calibration", batch_size)
        layers.ranges, found = measure_ranges(original, lambda: texts.predict(original))
        in_float = _choose_float(original, layers, texts, texts.scores(found))
    with folders.replacing(target, (*outdated_by_weights(target), RULES_FILE)) as staging:
        quantized = _save(original, layers, in_float, staging)
        num_layers = len(layers.keys), len(in_float)
        report = _compare(original, quantized, measured, mode, num_layers)
        _check_loss(report, max_loss)
        quantized.note_change("Weights", report.in_words())
        quantized.write_card(staging)
        write_manifest(staging, {**exported_encoder(quantized).manifest, "agreement": report.to_dict()})
    return report


def _check_arguments(
    folder: StrPath, target: StrPath, data: Texts, mode: Mode, calibration: Texts | None, max_loss: float | None
) -> None:
    given: dict[str, Any] = {"data": data, "calibration": calibration}
    for name, texts in given.items():
        if texts is None and name == "calibration":
            continue
        if isinstance(texts, (str, Mapping)) or not hasattr(texts, "__len__"):
            found = "a single text" if isinstance(texts, str) else type(texts).__name__
            raise TypeError(f"{name} must be a list of texts or rows, not {found}")
        if not len(texts):
            raise ValueError(f"{name} is empty: pass a few hundred texts that are similar to those to predict")
    if mode not in ("dynamic", "static"):
        raise ValueError(f"mode={mode!r} must be 'dynamic' or 'static'")
    if mode == "static" and calibration is None:
        raise ValueError(
            "mode='static' needs calibration=, a few hundred texts to measure the ranges of activations on: pass "
            "texts of the training data"
        )
    if max_loss is not None:
        check_probability("max_loss", max_loss)
        if not _are_rows(data):
            raise ValueError(f"max_loss={max_loss} needs annotated data to measure F1 on, not only texts")
    if Path(folder).resolve() == Path(target).resolve():
        raise ValueError(f"target={str(target)!r} must not be the folder of the original")
    check_target(target)


def _check_loss(report: QuantizationReport, max_loss: float | None) -> None:
    if max_loss is None or report.comparison is None or -report.comparison.overall.f1.difference.value <= max_loss:
        return
    other = "static" if report.mode == "dynamic" else "dynamic"
    raise ValueError(
        f"F1 on the {report.num_texts:,} annotated rows changes from {f1_change(report.comparison)}, a loss of more "
        f"than max_loss={max_loss}, so the model is not kept: try mode={other!r} or other calibration=, or raise "
        "max_loss"
    )


def _save(original: SpanMarkerModel, layers: _Layers, in_float: set[str], folder: Path) -> SpanMarkerModel:
    """Write the quantized model, and load it."""
    assert isinstance(original.engine, GraphEngine)
    (folder / FOLDER).mkdir()
    layers.write(folder / FOLDER, in_float)
    manifest = {name: value for name, value in layers.encoder.manifest.items() if name != "comparison"}
    manifest |= {"quantized": f"{layers.mode}, int8", "backend": original.backend}
    finish_export(original, folder, original.engine.marker_embeds, manifest)
    original.require_tokenizer().save_pretrained(folder)
    if original.rules is not None:
        original.rules.save(folder / RULES_FILE)
    original.write_card(folder)
    return SpanMarkerModel.from_pretrained(folder, word_splitter=original.config.word_splitter)


class _Layers:
    """The linear layers of an exported model, and how they are quantized.

    Args:
        encoder: The exported encoder.
        mode: See `quantize`.
    """

    def __init__(self, encoder: ExportedEncoder, mode: Mode) -> None:
        self.encoder, self.mode = encoder, mode
        self.ranges: Ranges = {}
        names = {
            name: {node.name: weight_key(node) for node in linear_layers(self._load(name))}
            for name in graph_names(encoder.files)
        }
        self.names = names
        self.keys = {key for nodes in names.values() for key in nodes.values()}

    def _load(self, name: str) -> Any:
        onnx_ir: Any = import_extra("onnx_ir")
        return onnx_ir.load(self.encoder.files[name])

    def by_error(self) -> list[str]:
        """The weights, starting with those that 8 bits change most."""
        errors = layer_errors({name: self._load(name) for name in self.names}, self.ranges)
        return sorted(errors, key=lambda key: -errors[key])

    def write(self, target: Path, in_float: set[str]) -> None:
        """Quantize the graphs, and store shared weights once.

        Args:
            target: The folder to write to.
            in_float: Weights that stay in float32.
        """
        with tempfile.TemporaryDirectory() as scratch:
            graphs = {name: self._quantize(name, in_float, Path(scratch)) for name in self.names}
            write_shared(graphs, target)

    def _quantize(self, name: str, in_float: set[str], scratch: Path) -> Any:
        """A quantized graph."""
        onnx_ir: Any = import_extra("onnx_ir")
        if self.mode == "static":
            model = self._load(name)
            quantize_layers(model, self.ranges[name], in_float)
            return model
        quantization: Any = import_extra("onnxruntime.quantization")
        with quiet():
            quantization.quantize_dynamic(
                self.encoder.files[name],
                scratch / name,
                op_types_to_quantize=["MatMul", "Gemm"],
                per_channel=True,
                reduce_range=True,
                weight_type=quantization.QuantType.QInt8,
                nodes_to_exclude=[node for node, key in self.names[name].items() if key in in_float],
                use_external_data_format=True,
            )
        return onnx_ir.external_data.load_to_model(onnx_ir.load(scratch / name))


class Scores(NamedTuple):
    """The predictions for a text.

    Attributes:
        entities: Score of each entity, by span and label.
        relations: Score of each relation, by its label and the keys of its entities.
    """

    entities: dict[Any, float]
    relations: dict[Any, float]

    def is_like(self, other: Scores) -> bool:
        """Whether the predictions are equal, ignoring scores."""
        return all(first.keys() == second.keys() for first, second in zip(self, other, strict=True))


class _Data:
    """Texts, lists of words or annotated rows, as models read them.

    Args:
        data: The data.
        name: What to call it in errors.
        batch_size: Maximum number of texts in a batch.
        tags: The tags that annotated rows may have, see `SpanMarkerConfig`; None if annotations do not count.
    """

    def __init__(self, data: Texts, name: str, batch_size: int, tags: Sequence[str] | None = None) -> None:
        self.batch_size = batch_size
        self.inputs: Any = data
        self.rows: list[dict[str, Any]] | None = None
        if not _are_rows(data):
            self.kind: Kind = "text" if isinstance(next(iter(data)), str) else "words"
            return
        self.inputs = require_dataset(data, name)
        column = text_column(self.inputs, name)
        self.kind = "text" if column == COLUMNS["text"] else "words"
        if tags is not None:
            read = read_rows(self.inputs, name, tags)
            self.rows = [{column: content, "entities": [span._asdict() for span in spans]} for content, spans in read]

    def predict(self, model: SpanMarkerModel) -> list[dict[str, Any]]:
        """What a model finds in each text: ``entities``, and ``relations`` if it has any."""
        options: dict[str, Any] = {} if is_dataset(self.inputs) else {"is_split_into_words": self.kind == "words"}
        found: Any = model.predict(self.inputs, batch_size=self.batch_size, **options)
        return [as_columns(row) for row in found]

    def scores(self, found: list[dict[str, Any]]) -> list[Scores]:
        """The scores of entities by span and label, and of relations by label and entities."""
        start, end = PREDICTED[UNITS[self.kind]]
        scores = []
        for row in found:
            keys = [(one[start], one[end], one["label"]) for one in row["entities"]]
            relations = row.get("relations", ())
            pairs = [(one["label"], keys[one["head"]], keys[one["tail"]]) for one in relations]
            values = [[one["score"] for one in rows] for rows in (row["entities"], relations)]
            scores.append(Scores(*(dict(zip(*each, strict=True)) for each in zip((keys, pairs), values, strict=True))))
        return scores


def _are_rows(data: Texts) -> bool:
    return is_dataset(data) or is_table(data) or is_rows(data)


def _choose_float(original: SpanMarkerModel, layers: _Layers, texts: _Data, expected: list[Scores]) -> set[str]:
    """Choose the weights that stay in float32, by how many calibration texts keep their expected entities."""
    by_error = layers.by_error()
    best: set[str] = set()
    best_share = -1.0
    for share in FLOAT_SHARES:
        in_float = set(by_error[: int(share * len(by_error))])
        with _written(layers, in_float) as folder, running(original, folder):
            found = texts.scores(texts.predict(original))
        pairs = list(zip(expected, found, strict=True))
        equal = sum(first.is_like(second) for first, second in pairs) / len(pairs)
        if equal > best_share:
            best, best_share = in_float, equal
        if equal >= GOAL:
            break
    return best


@contextmanager
def _written(layers: _Layers, in_float: set[str]) -> Iterator[Path]:
    """A temporary folder with the quantized graphs."""
    with tempfile.TemporaryDirectory() as scratch:
        layers.write(Path(scratch), in_float)
        yield Path(scratch)


def _compare(
    original: SpanMarkerModel, quantized: SpanMarkerModel, data: _Data, mode: Mode, num_layers: tuple[int, int]
) -> QuantizationReport:
    predicted = [data.predict(model) for model in (original, quantized)]
    pairs = list(zip(*map(data.scores, predicted), strict=True))
    entities, relations = (
        [(first[kind], second[kind]) for first, second in pairs] for kind in range(len(Scores._fields))
    )
    both = [(first[key], second[key]) for first, second in entities for key in first.keys() & second.keys()]
    comparison = None
    if data.rows is not None:
        found = ([row["entities"] for row in rows] for rows in predicted)
        comparison = compare_reports(*(analyze_predictions(data.rows, rows, num_resamples=1) for rows in found))
    return QuantizationReport(
        num_texts=len(pairs),
        num_equal=sum(first.is_like(second) for first, second in pairs),
        num_entities=sum(len(first) for first, _ in entities),
        num_kept=len(both),
        num_new=sum(len(second.keys() - first.keys()) for first, second in entities),
        max_difference=max((abs(first - second) for first, second in both), default=0.0),
        num_bytes=(_num_bytes(original), _num_bytes(quantized)),
        mode=mode,
        num_layers=num_layers,
        comparison=comparison,
        num_relations=sum(len(first) for first, _ in relations),
        num_kept_relations=sum(len(first.keys() & second.keys()) for first, second in relations),
        num_new_relations=sum(len(second.keys() - first.keys()) for first, second in relations),
    )


def _num_bytes(model: SpanMarkerModel) -> int:
    return sum(
        exported_encoder(model).files[name].stat().st_size
        for name in (*graph_names(exported_encoder(model).files), ENCODER)
    )
