"""The task ``"span-marker"`` of ``transformers.pipeline``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

import torch
from transformers import AutoModelForTokenClassification, Pipeline
from transformers.pipelines import PIPELINE_REGISTRY

from span_marker.configuration import SpanMarkerConfig
from span_marker.core.offsets import OffsetUnit, convert_offsets
from span_marker.data.columns import is_column, is_dataset
from span_marker.data.in_memory import table_as_dataset
from span_marker.data.row_relations import RELATIONS
from span_marker.data.rows import join_words
from span_marker.data.values import is_list
from span_marker.modeling import SpanMarkerModel
from span_marker.preprocessing.inputs import has_items, text_column
from span_marker.preprocessing.table_rows import may_be_row, refuse_rows

TASK = "span-marker"

PREDICT_ARGUMENTS = (
    "batch_size",
    "decoding",
    "exact",
    "offsets",
    "propagate",
    "relation_threshold",
    "relations",
    "show_progress_bar",
    "split_sentences",
    "threshold",
    "top_k",
)
"""Options that are passed to ``SpanMarkerModel.predict``."""

STRATEGIES = ("simple", "first", "average", "max")
"""Values of ``aggregation_strategy``. All have the same effect, because a span is scored as a whole."""

NOT_NEEDED = {
    "is_split_into_words": "pass a list of lists of words",
    "num_workers": "there is no DataLoader",
    "stride": "text of any length is read in overlapping windows",
}
"""Arguments of other pipelines that this one does not need, and why."""


class NoDefaultModel:
    """Stands in for the name and the revision of the task's default model, which does not exist."""

    def __iter__(self) -> NoReturn:
        raise ValueError(
            f"pipeline({TASK!r}) needs a model: pass model=, a folder, the name of a repository on the Hub, or a "
            "SpanMarkerModel"
        )


class WrongTaskError(Exception):
    """A checkpoint was loaded for another task. Unlike a ``ValueError``, ``transformers.pipeline`` does not wrap it."""


class NoTokenClassifier:
    """Stands in for a SpanMarker checkpoint as a token classifier, which does not exist."""

    config_class = SpanMarkerConfig

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse to load it.

        Args:
            pretrained_model_name_or_path: The checkpoint.
            *args: Not used.
            **kwargs: Not used.

        Raises:
            WrongTaskError: Always.
        """
        path = str(pretrained_model_name_or_path)
        raise WrongTaskError(
            f"{path!r} is a SpanMarker checkpoint, which classifies spans, not tokens: use "
            f"SpanMarkerModel.from_pretrained or pipeline({TASK!r}, model={path!r}), with "
            "aggregation_strategy='simple' for the output format of token classification"
        )


class SpanMarkerPipeline(Pipeline):
    """Predicts the entities of text, with the interface of ``transformers.pipeline``.

    Args:
        model: The model. It is moved to the device.
        tokenizer: The model's own tokenizer, or None.
        task: The name under which the pipeline is made.
        device: Device of the model. Defaults to an accelerator, or the CPU if none is available.
        dtype: Number format of the weights. They are left unchanged unless it is a ``torch.dtype``.
        torch_dtype: Ignored: ``transformers.pipeline`` passes it on as ``dtype``.
        local_files_only: Ignored: ``transformers.pipeline`` has loaded the model already.
        **options: Defaults for all calls, see `__call__`.

    Raises:
        TypeError: If an option does not exist, or ``model`` is not a `SpanMarkerModel`.
        ValueError: If ``tokenizer`` is not the model's own, or the value of an option is wrong.
    """

    model: SpanMarkerModel
    # private: what transformers.pipeline need not load, because the model has its own.
    _load_tokenizer: Any = False
    _load_feature_extractor: Any = False
    _load_image_processor: Any = False
    _load_video_processor: Any = False
    _load_processor: Any = False

    def __init__(
        self,
        model: SpanMarkerModel,
        tokenizer: Any = None,
        *,
        task: str = TASK,
        device: Any = None,
        dtype: Any = None,
        torch_dtype: Any = None,
        local_files_only: bool = False,
        **options: Any,
    ) -> None:
        if not isinstance(model, SpanMarkerModel):
            raise TypeError(f"pipeline({TASK!r}) needs a SpanMarkerModel, but model= is a {type(model).__name__}")
        own_tokenizer: Any = model.require_tokenizer()
        if tokenizer not in (None, own_tokenizer):
            raise ValueError(f"tokenizer={tokenizer!r} is not the model's own, model.tokenizer: leave it out")
        super().__init__(model, own_tokenizer, task=task, device=device)
        if isinstance(dtype, torch.dtype):
            model.to(dtype)  # type: ignore[arg-type]
        # private: where Pipeline keeps the defaults of its options.
        _, self._forward_params, self._postprocess_params = self._sanitize_parameters(**options)
        model.predict_stream((), **self._forward_params)  # checks the values

    def __call__(self, inputs: Any, **options: Any) -> Any:  # type: ignore[override]
        """Predict the entities of text. Results are those of ``SpanMarkerModel.predict``.

        Args:
            inputs: One text: a string, or a dict with ``text`` or ``tokens``. A list or tuple of texts, each a string,
                a list of words, or such a dict; a string is always a text of its own. A `datasets.Dataset`, a column of
                one, a DataFrame or an Arrow table, see ``SpanMarkerModel.predict``. Or any other iterable, or a
                ``torch`` data set, of texts.
            **options: ``batch_size``, ``decoding``, ``exact``, ``offsets``, ``propagate``, ``relation_threshold``,
                ``relations``, ``show_progress_bar``, ``split_sentences``, ``threshold`` and ``top_k``, see
                ``SpanMarkerModel.predict``. With ``aggregation_strategy``, one of `STRATEGIES`, an entity is a dict
                with ``entity_group``, ``score``, ``word``, ``start`` and ``end``, as in the task
                ``"token-classification"``, and with ``labels`` if ``top_k`` is given. Since that task has no relations,
                they are then found only with ``relations=True``. None means the default.

        Returns:
            The entities of one text, or a list of such lists; with relations, a dict of ``entities`` and ``relations``
            in place of each list. For an iterable other than a list, a tuple or a data set,
            an iterator over such lists, which reads a few thousand texts ahead.

        Raises:
            TypeError: If an option does not exist, or ``inputs`` is none of the supported types.
            ValueError: If the value of an option is wrong, a `datasets.Dataset` or a dict lacks text, or a "word" of a
                list has a space, as in a pair of an ID and a text.
        """
        inputs = table_as_dataset(inputs, "input")
        _, forward_params, postprocess_params = self._sanitize_parameters(**options)
        forward_params = {**self._forward_params, **forward_params}
        postprocess_params = {**self._postprocess_params, **postprocess_params}
        if "aggregation_strategy" in postprocess_params and "relation_threshold" not in forward_params:
            forward_params = {"relations": False, **forward_params}
        is_single = isinstance(inputs, (str, Mapping))
        if is_dataset(inputs):
            rows = self.model.predict(inputs, keep_columns=[text_column(inputs, "input")], **forward_params)
        else:
            rows = self._forward(map(self.preprocess, [inputs] if is_single else _iterable(inputs)), **forward_params)
        results = (self.postprocess(row, **postprocess_params) for row in rows)
        if is_single:
            (result,) = results
            return result
        is_finite = is_list(inputs) or is_dataset(inputs) or is_column(inputs)
        return list(results) if is_finite else results

    def _sanitize_parameters(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Split options into those of the three steps, without those that are None."""
        known = (*PREDICT_ARGUMENTS, "aggregation_strategy")
        unknown = [name for name in options if name not in known]
        if unknown:
            reasons = [f"; {name}: {NOT_NEEDED[name]}" for name in unknown if name in NOT_NEEDED]
            raise TypeError(
                f"pipeline({TASK!r}) has no option {', '.join(map(repr, unknown))}, only "
                f"{', '.join(map(repr, known))}{''.join(reasons)}"
            )
        given = {name: value for name, value in options.items() if value is not None}
        strategy = given.pop("aggregation_strategy", None)
        if strategy not in (None, *STRATEGIES):
            raise ValueError(
                f"aggregation_strategy={strategy!r} must be one of {', '.join(map(repr, STRATEGIES))}, which all give "
                "the same result, since each span is scored as a whole"
            )
        formats = {"aggregation_strategy": strategy, "offsets": given.get("offsets")}
        return {}, given, {name: value for name, value in formats.items() if value is not None}

    def preprocess(self, input_: Any) -> Any:  # type: ignore[override]
        """Turn a text into a dict.

        Args:
            input_: A string, a list of words, or a dict with ``text`` or ``tokens``.

        Returns:
            A dict with ``text`` or ``tokens``. Other types, and lists that hold a text rather than words, are returned
            unchanged, and ``predict_stream`` refuses them.
        """
        if isinstance(input_, str):
            return {"text": input_}
        return {"tokens": input_} if is_list(input_) and not may_be_row(input_) else input_

    def _forward(self, rows: Iterable[Any], **arguments: Any) -> Any:  # type: ignore[override]
        return self.model.predict_stream(rows, **arguments)

    def postprocess(  # type: ignore[override]
        self, row: dict[str, Any], aggregation_strategy: str | None = None, offsets: OffsetUnit = "codepoint"
    ) -> Any:
        """Format the entities of a text.

        Args:
            row: A dict with ``entities``, and ``text`` or ``tokens``; and with ``relations`` if there are any.
            aggregation_strategy: One of `STRATEGIES`; None to leave the entities unchanged.
            offsets: What ``start`` and ``end`` count in words that are joined. Those of a text count it already.

        Returns:
            The entities, or a dict of ``entities`` and ``relations``.
        """
        entities = list(row["entities"])
        if aggregation_strategy is not None:
            entities = self._as_groups(row, offsets)
        return {"entities": entities, RELATIONS: row[RELATIONS]} if RELATIONS in row else entities

    def _as_groups(self, row: dict[str, Any], offsets: OffsetUnit) -> list[dict[str, Any]]:
        """The entities of a text as the task of token classification has them."""
        entities = row["entities"]
        if "text" in row:
            places = [(entity["char_start_index"], entity["char_end_index"]) for entity in entities]
            words = [entity["span"] for entity in entities]
        else:
            text, starts = join_words(row["tokens"])
            bounds = [(starts[e["word_start_index"]], starts[e["word_end_index"]] - 1) for e in entities]
            words = [text[start:end] for start, end in bounds]
            places = [(start, end) for start, end in (convert_offsets(text, bound, offsets) for bound in bounds)]
        return [
            {
                "entity_group": entity["label"],
                "score": entity["score"],
                "word": word,
                "start": start,
                "end": end,
                **({"labels": entity["labels"]} if "labels" in entity else {}),
            }
            for entity, word, (start, end) in zip(entities, words, places, strict=True)
        ]

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:
        """Save the model with its tokenizer. The options of the pipeline are not saved.

        Args:
            save_directory: The folder to write to.
            **kwargs: Passed to ``SpanMarkerModel.save_pretrained``.
        """
        self.model.save_pretrained(save_directory, **kwargs)


def _iterable(inputs: Any) -> Iterable[Any]:
    if has_items(inputs):
        refuse_rows(inputs)
        return inputs
    if not isinstance(inputs, Iterable) and hasattr(inputs, "__getitem__") and hasattr(inputs, "__len__"):
        return (inputs[index] for index in range(len(inputs)))  # a torch data set, which need not raise IndexError
    raise TypeError(
        f"pipeline({TASK!r}) cannot read inputs of type {type(inputs).__name__}: pass a string, a list of strings "
        "or of lists of words, a Dataset, or an iterable of texts"
    )


PIPELINE_REGISTRY.register_pipeline(TASK, SpanMarkerPipeline, SpanMarkerModel, {"model": NoDefaultModel()}, "text")
AutoModelForTokenClassification.register(SpanMarkerConfig, NoTokenClassifier)
