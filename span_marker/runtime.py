"""Run exported models without PyTorch: NumPy, ``tokenizers`` and a graph runtime. See ``docs/export.md``.

Inputs, words, windows, document context and decoding share the code of `span_marker.SpanMarkerModel`; only the scores
are computed differently. ``torch``, ``transformers`` and ``datasets`` need not be installed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from span_marker.core import folders
from span_marker.core.arrays import Array, Batch
from span_marker.core.checks import check_limit
from span_marker.core.labels import OUTSIDE, check_labels
from span_marker.core.packing import first_rows
from span_marker.core.relations import PAIRS_AT_ONCE
from span_marker.core.settings import CONFIG_FILE, ModelSettings
from span_marker.core.spans import IntArray, kept_candidates
from span_marker.core.word_splitters import check_given, import_splitter
from span_marker.core.words import Split
from span_marker.graphs.files import (
    FOLDER,
    HEADS,
    MARKER_EMBEDS,
    check_pair_graph,
    find_files,
    graph_names,
    naming_files,
)
from span_marker.graphs.heads import Heads, layer_norm
from span_marker.graphs.runner import GraphRunner
from span_marker.graphs.runtimes import RUNTIMES
from span_marker.prediction.mixin import PredictionMixin
from span_marker.preprocessing.plain_tokenizer import PlainTokenizer
from span_marker.preprocessing.preprocessor import Preprocessor
from span_marker.preprocessing.tokenizer import SpanMarkerTokenizer
from span_marker.rules.rules import RULES_FILE, Rules

MODEL_TYPE = "span-marker"

HUB_FILES = (CONFIG_FILE, "tokenizer.json", "tokenizer_config.json", RULES_FILE, f"{FOLDER}/*")
"""The files that are downloaded from a repository."""


@dataclass(kw_only=True, eq=False)
class ExportedSettings(ModelSettings):
    """The settings of an exported model, and its labels.

    Attributes:
        id2label: The classes of spans by their IDs.
    """

    id2label: dict[int, str]

    @classmethod
    def from_dict(cls, values: Any) -> ExportedSettings:
        """Read the settings from a configuration, except those that prediction does not need.

        Args:
            values: The contents of ``config.json``.

        Returns:
            The settings.

        Raises:
            TypeError: If a setting has the wrong type.
            ValueError: If the configuration is of another model type, or a setting is out of range.
        """
        if values["model_type"] != MODEL_TYPE:
            raise ValueError(f"model_type={values['model_type']!r}, but a SpanMarker model has {MODEL_TYPE!r}")
        known = {field.name: values[field.name] for field in fields(cls) if field.name in values}
        settings = cls(**known | {"id2label": {int(key): label for key, label in known["id2label"].items()}})
        settings.build_parts()
        settings.check_limits()
        check_labels(settings.classes)
        return settings


@dataclass(eq=False)
class ExportedModel(PredictionMixin):
    """An exported model that finds entities without PyTorch. Load it with `from_pretrained`.

    Attributes:
        config: Its settings. Thresholds, decoding, limits and ``exact`` may be changed.
        tokenizer: Its tokenizer.
        runner: Runs its graphs.
        heads: Its candidate filter, classifier, relation head and letter-case embeddings.
        hidden_size: Size of a marker's state.
        backend: Name of the runtime.
        rules: Rules that `predict` merges with what the model finds, or None.
    """

    config: ExportedSettings
    tokenizer: SpanMarkerTokenizer
    runner: GraphRunner = field(repr=False)
    heads: Heads = field(repr=False)
    hidden_size: int
    backend: Literal["onnx", "openvino"]
    rules: Rules | None = None

    @classmethod
    def from_pretrained(
        cls,
        path: str | os.PathLike[str],
        *,
        backend: Literal["onnx", "openvino"] | None = None,
        num_threads: int | None = None,
        word_splitter: str | Split | None = None,
        revision: str | None = None,
        token: bool | str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
    ) -> ExportedModel:
        """Load a model exported by `span_marker.export.export_onnx`.

        Args:
            path: A folder, or the name of a repository on the Hub.
            backend: The runtime: ``"onnx"`` (ONNX Runtime) or ``"openvino"``. Defaults to the one that the export was
                verified with.
            num_threads: Number of threads that run the graphs. Defaults to ``OMP_NUM_THREADS``, or one per core.
            word_splitter: Splits strings into words, instead of the model's own splitter: a name, a function or its
                import path. Required if the model was trained with a function.
            revision: Branch, tag or commit of the repository.
            token: Access token of the Hub, for private repositories.
            cache_dir: Folder for downloads.

        Returns:
            The model.

        Raises:
            FileNotFoundError: If there is no such folder, or it has no graphs or no tokenizer.
            ImportError: If the runtime is not installed.
            TypeError: If ``num_threads`` is not a whole number.
            ValueError: If ``backend`` is unknown, a file is broken, belongs to another export or is of a newer version,
                or the model was trained with a splitter that is not passed.
        """
        _check_backend(backend or "onnx")
        check_limit("num_threads", num_threads, at_least=1, also=(None,))
        folder = _local_folder(path, {"revision": revision, "token": token, "cache_dir": cache_dir})
        with naming_files(f"the configuration ({CONFIG_FILE})", path):
            values = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
            config, vocab_size = ExportedSettings.from_dict(values), int(values["encoder"]["vocab_size"])
        if word_splitter is not None:
            config.word_splitter = import_splitter(word_splitter)
        check_given(config.word_splitter, path)
        with naming_files("the tokenizer (tokenizer.json, tokenizer_config.json)", path):
            tokenizer = SpanMarkerTokenizer(PlainTokenizer.from_folder(folder))
            if len(tokenizer) > vocab_size:
                raise ValueError(f"it has {len(tokenizer)} tokens, but the encoder has vocab_size={vocab_size}")
        files, manifest = find_files(path, lambda name: file if (file := folder / name).is_file() else None)
        backend = _check_backend(backend or manifest.get("backend") or "onnx")
        check_pair_graph(files, config.relation_labels, path)
        graphs = [RUNTIMES[backend](files[name], num_threads, manifest["dtype"]) for name in graph_names(files)]
        hidden_size = graphs[1].output_shapes[0][-1]
        with naming_files(f"the heads ({FOLDER}/{HEADS})", path, SafetensorError):
            weights = load_file(files[HEADS])
            runner = GraphRunner(
                graphs[0], graphs[1], weights.pop(MARKER_EMBEDS), manifest["max_distance"], *graphs[2:]
            )
            heads = Heads(weights)
            heads.check(config, runner.marker_embeds.shape[-1], hidden_size)
        rules = Rules.load(folder / RULES_FILE) if (folder / RULES_FILE).is_file() else None
        return cls(config, tokenizer, runner, heads, hidden_size, backend, rules)

    @property
    def labels(self) -> list[str]:
        """The labels of entities, without ``O``, in the order of their IDs."""
        return [label for label in self.config.classes if label != OUTSIDE]

    @property
    def max_text_length(self) -> int:
        """The text limit in force: the longest text in tokens, special tokens included."""
        limit = self.config.model_max_length_default
        if self.config.model_max_length is not None:
            limit = self.config.limit("model_max_length")
        return int(min(limit, self.tokenizer.tokenizer.model_max_length, self.runner.max_distance))

    @property
    def preprocessor(self) -> Preprocessor:
        """Prepares sentences for the model."""
        return Preprocessor(self.tokenizer, self.config, self.max_text_length)

    @property
    def candidates_kept(self) -> float:
        """Approximate share of the candidates that get markers in prediction; 1 without a filter."""
        return self.config.candidates_kept

    def uses_filter(self, exact: bool | None = None) -> bool:
        """Tell whether the candidate filter chooses the candidates that get markers.

        Args:
            exact: Whether the caller requests all candidates. Defaults to ``config.exact``.

        Returns:
            False if all candidates get markers.
        """
        return self.config.uses_filter(exact)

    def score(self, batch: Batch, exact: bool | None = None) -> tuple[Array, Array | None]:
        """Score the candidates of a batch. See `span_marker.SpanMarkerModel.score`.

        Args:
            batch: The batch, from `SpanMarkerDataCollator.collate`.
            exact: Whether to score all candidates, rather than those that the filter keeps. Defaults to
                ``config.exact``.

        Returns:
            Class scores of the candidates that got markers, ``(num_kept, num_labels)``, and the indices of these
            candidates, ascending, ``(num_kept,)``, or None for all.
        """
        return self._score(batch, self._encode_texts(batch), exact)

    def _score(self, batch: Batch, texts: _Texts, exact: bool | None) -> tuple[Array, Array | None]:
        span_tokens, counts, span_rows, kept = batch["span_tokens"], batch["span_counts"], texts.span_rows, None
        if self.uses_filter(exact):
            self.config.check_filter_length()
            settings = self.config.span_filter
            threshold = None if settings is None else settings.threshold
            lengths = span_lengths(batch)
            scores = self.heads.filter_scores(texts.states, span_rows, lengths)
            kept = kept_candidates(scores, lengths, counts, self.config.best_per_word, threshold)
            counts = np.bincount(texts.sentences[kept], minlength=len(counts))
            span_tokens, span_rows = span_tokens[kept], span_rows[kept]
        states = self.runner.encode_markers(span_tokens, counts.tolist(), texts.lengths, texts.layers, self.hidden_size)
        return self.heads.classify(states, texts.states, span_rows), kept

    def check_relations_possible(self) -> None:
        """Do nothing: exported models with relations have a graph for them."""

    def score_pairs(
        self, batch: Batch, find_pairs: Callable[[Any, Any], tuple[IntArray, IntArray]], exact: bool | None = None
    ) -> tuple[Array, Array | None, Array]:
        """Score the candidates of a batch, and then pairs of them. See `span_marker.SpanMarkerModel.score_pairs`.

        Args:
            batch: See `score`.
            find_pairs: Finds the pairs, given the scores of the candidates.
            exact: See `score`.

        Returns:
            The two results of `score`, and the class scores of the pairs, ``(num_pairs, num_relations)``.
        """
        texts = self._encode_texts(batch)
        logits, kept = self._score(batch, texts, exact)
        tokens, counts = find_pairs(logits, kept)
        sentences = np.repeat(np.arange(len(counts)), counts)
        rows = tokens + np.array(first_rows(texts.lengths), dtype=np.int64)[sentences, None]
        likely, least = np.arange(len(tokens)), self.config.pair_threshold(exact)
        if least is not None:
            likely = np.flatnonzero(self.heads.pair_scores(texts.states, rows, tokens[:, 2] - tokens[:, 0]) >= least)
        scores = np.full((len(tokens), len(self.config.relation_labels or ())), -np.inf, dtype=np.float32)
        scores[:, :1] = 0
        for some in np.split(likely, range(PAIRS_AT_ONCE, len(likely), PAIRS_AT_ONCE)):
            own = np.bincount(sentences[some], minlength=len(counts)).tolist()
            states = self.runner.encode_markers(
                tokens[some], own, texts.lengths, texts.layers, self.hidden_size, self.heads.pair_embeds
            )
            scores[some] = self.heads.classify_pairs(states, texts.states, rows[some])
        return logits, kept, scores

    def filter_scores(self, batch: Batch) -> Array:
        """Score all candidates of a batch with the candidate filter.

        Args:
            batch: See `score`.

        Returns:
            Log-odds of an entity, ``(num_spans,)``.
        """
        texts = self._encode_texts(batch)
        return self.heads.filter_scores(texts.states, texts.span_rows, span_lengths(batch))

    def _encode_texts(self, batch: Batch) -> _Texts:
        mask, counts = batch["attention_mask"], batch["span_counts"]
        lengths = mask.sum(axis=1).tolist()
        added = self.heads.case_embeds(batch["token_cases"][mask]) if self.config.letter_case else None
        layers = self.runner.encode_texts(batch["input_ids"][mask], lengths, added)
        sentences = np.repeat(np.arange(len(counts)), counts)
        span_rows = batch["span_tokens"] + np.array(first_rows(lengths))[sentences, None]
        num_heads, num_tokens, size = layers[-1].shape
        values = layers[-1].transpose(1, 0, 2).reshape(num_tokens, num_heads * size)
        return _Texts(lengths, layers, layer_norm(values), sentences, span_rows)


def span_lengths(batch: Batch) -> IntArray:
    """Count the words of the candidates of a batch, ``(num_spans,)``."""
    starts, ends = batch["span_words"].T
    lengths: IntArray = ends - starts
    return lengths


def _check_backend(backend: Any) -> Literal["onnx", "openvino"]:
    if backend not in [*RUNTIMES]:
        raise ValueError(f"backend={backend!r} must be one of {[*RUNTIMES]}")
    name: Literal["onnx", "openvino"] = backend
    return name


class _Texts(NamedTuple):
    """The encoded texts of a batch.

    Attributes:
        lengths: Tokens of each text.
        layers: Keys and values, see `GraphRunner.encode_texts`.
        states: The values of the last layer, see `span_marker.encoders.passes.TextMemory.states`, normalized,
            ``(num_tokens, size)``.
        sentences: The text of each candidate, ``(num_spans,)``.
        span_rows: Rows of ``states`` for the first and last token of each candidate, ``(num_spans, 2)``.
    """

    lengths: list[int]
    layers: list[Array]
    states: Array
    sentences: IntArray
    span_rows: IntArray


def _local_folder(path: str | os.PathLike[str], hub_arguments: dict[str, Any]) -> Path:
    """The folder of a model; repositories are downloaded."""
    folder, name = Path(path), str(path)
    if name.strip() and folder.is_dir():
        folders.finish(folder)
        if not (folder / CONFIG_FILE).is_file():
            raise FileNotFoundError(f"the folder {name!r} has no {CONFIG_FILE}")
        return folder
    if not name.strip() or os.path.isabs(path) or name.startswith((".", "~")) or name.count("/") != 1:
        raise FileNotFoundError(f"cannot load a model from {name!r}: there is no such folder")
    from huggingface_hub import snapshot_download  # it comes with tokenizers; folders do not need it

    return Path(snapshot_download(name, allow_patterns=list(HUB_FILES), **hub_arguments))
