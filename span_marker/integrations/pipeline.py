"""The task ``"span-marker"`` of ``transformers.pipeline``."""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import accumulate
from typing import Any, NoReturn

import torch
from datasets import Column, Dataset
from transformers import Pipeline
from transformers.pipelines import PIPELINE_REGISTRY

from span_marker.modeling import SpanMarkerModel
from span_marker.preprocessing.inputs import text_column

TASK = "span-marker"

PREDICT_ARGUMENTS = ("batch_size", "decoding", "exact", "show_progress_bar", "threshold", "top_k")
"""Arguments that ``SpanMarkerModel.predict`` has, too."""

STRATEGIES = ("simple", "first", "average", "max")
"""What ``aggregation_strategy`` may be. All mean the same here, since a span is scored as a whole."""

NOT_NEEDED = {
    "is_split_into_words": "pass a list of lists of words",
    "num_workers": "there is no DataLoader that could have workers",
    "stride": "text of any length is read in windows that overlap",
}
"""Arguments of other pipelines, and why there is no such argument here."""


class NoDefaultModel:
    """Stands where ``transformers`` keeps the name and the revision of a task's default model: there is none."""

    def __iter__(self) -> NoReturn:
        raise ValueError(
            f"pipeline({TASK!r}) needs a model: pass model=, a folder or the name of a repository with a SpanMarker "
            "checkpoint, or a SpanMarkerModel"
        )


class SpanMarkerPipeline(Pipeline):
    """Reads entities out of text, with the manners of ``transformers.pipeline``.

    Args:
        model: The model. It is moved to the device.
        tokenizer: The model's own, or None.
        task: The name under which the pipeline is made.
        device: Where the model runs; by default on an accelerator if there is one.
        dtype: The number format of the weights; anything but a ``torch.dtype`` leaves them as they are.
        torch_dtype: Its old name: ``transformers.pipeline`` has made ``dtype`` of it.
        local_files_only: What ``transformers.pipeline`` has loaded the model with.
        **options: What holds for all calls, see `__call__`.

    Raises:
        TypeError: If there is no such option, or ``model`` is no SpanMarker model.
        ValueError: If there is another tokenizer than the model's, or the value of an option is wrong.
    """

    model: SpanMarkerModel
    _load_tokenizer: Any = False  # the model brings its own
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
            raise TypeError(f"the pipeline {TASK!r} needs a SpanMarker model: model= gives a {type(model).__name__}")
        own_tokenizer: Any = model.require_tokenizer()
        if tokenizer not in (None, own_tokenizer):
            raise ValueError(f"tokenizer={tokenizer!r} is not the model's own, model.tokenizer: leave it out")
        super().__init__(model, own_tokenizer, task=task, device=device)
        if isinstance(dtype, torch.dtype):
            model.to(dtype)  # type: ignore[arg-type]
        _, self._forward_params, self._postprocess_params = self._sanitize_parameters(**options)
        model.predict_stream((), **self._forward_params)  # checks the values

    def __call__(self, inputs: Any, **options: Any) -> Any:  # type: ignore[override]
        """Read the entities out of text. Results are those of ``SpanMarkerModel.predict``.

        Args:
            inputs: One text: a string, or a dict with ``text`` or ``tokens``. A list or tuple of texts, each a string,
                a list of words, or such a dict: a string is always a text of its own. A `datasets.Dataset` or a column
                of one, see ``SpanMarkerModel.predict``. Or any other iterable or ``torch`` data set of texts.
            **options: ``batch_size``, ``decoding``, ``exact``, ``show_progress_bar``, ``threshold`` and ``top_k``, see
                ``SpanMarkerModel.predict``. With ``aggregation_strategy``, one of `STRATEGIES`, an entity is a dict
                with ``entity_group``, ``score``, ``word``, ``start`` and ``end``, as in the task
                ``"token-classification"``, and maybe ``labels``. None is as if left out.

        Returns:
            The entities of one text, or a list of such lists. For any other iterable an iterator of such lists, which
            reads a few thousand texts ahead.

        Raises:
            TypeError: If there is no such option, or the input is nothing of the kind.
            ValueError: If the value of an option is wrong, or a `datasets.Dataset` or a dict lacks text.
        """
        _, forward_params, postprocess_params = self._sanitize_parameters(**options)
        forward_params = {**self._forward_params, **forward_params}
        postprocess_params = {**self._postprocess_params, **postprocess_params}
        is_single = isinstance(inputs, (str, dict))
        if isinstance(inputs, Dataset):
            rows = self.model.predict(inputs, keep_columns=[text_column(inputs, "input")], **forward_params)
        else:
            rows = self._forward(map(self.preprocess, [inputs] if is_single else _iterable(inputs)), **forward_params)
        results = (self.postprocess(row, **postprocess_params) for row in rows)
        if is_single:
            (result,) = results
            return result
        return list(results) if isinstance(inputs, (list, tuple, Dataset, Column)) else results

    def _sanitize_parameters(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Part options into those of the three steps, without those that are None."""
        known = (*PREDICT_ARGUMENTS, "aggregation_strategy")
        unknown = [name for name in options if name not in known]
        if unknown:
            reasons = [f"; {name}: {NOT_NEEDED[name]}" for name in unknown if name in NOT_NEEDED]
            raise TypeError(
                f"the pipeline {TASK!r} has no argument {', '.join(map(repr, unknown))}, it has "
                f"{', '.join(map(repr, known))}{''.join(reasons)}"
            )
        given = {name: value for name, value in options.items() if value is not None}
        strategy = given.pop("aggregation_strategy", None)
        if strategy is None:
            return {}, given, {}
        if strategy not in STRATEGIES:
            raise ValueError(
                f"aggregation_strategy={strategy!r} must be one of {', '.join(map(repr, STRATEGIES))}, all the same "
                "here: a span is scored as a whole, so that tokens have no labels of their own to show"
            )
        return {}, given, {"aggregation_strategy": strategy}

    def preprocess(self, input_: Any) -> Any:  # type: ignore[override]
        """Bring a text into the form of a dict.

        Args:
            input_: A string, a list of words, or a dict with ``text`` or ``tokens``.

        Returns:
            A dict with ``text`` or ``tokens``; what is nothing of the kind as it is, for ``predict_stream`` to refuse.
        """
        if isinstance(input_, str):
            return {"text": input_}
        return {"tokens": input_} if isinstance(input_, (list, tuple)) else input_

    def _forward(self, rows: Iterable[Any], **arguments: Any) -> Any:  # type: ignore[override]
        return self.model.predict_stream(rows, **arguments)

    def postprocess(  # type: ignore[override]
        self, row: dict[str, Any], aggregation_strategy: str | None = None
    ) -> list[Any]:
        """Give the entities of a text the form that the caller wants.

        Args:
            row: A dict with ``entities``, and ``text`` or ``tokens``.
            aggregation_strategy: One of `STRATEGIES`; None for the entities as they are.

        Returns:
            The entities.
        """
        if aggregation_strategy is None:
            return row["entities"]
        if "text" in row:
            text = row["text"]
            places = [(entity["char_start_index"], entity["char_end_index"]) for entity in row["entities"]]
        else:
            text = " ".join(row["tokens"])
            starts = [0, *accumulate(len(word) + 1 for word in row["tokens"])]
            places = [
                (starts[entity["word_start_index"]], starts[entity["word_end_index"]] - 1) for entity in row["entities"]
            ]
        return [
            {
                "entity_group": entity["label"],
                "score": entity["score"],
                "word": text[start:end],
                "start": start,
                "end": end,
                **({"labels": entity["labels"]} if "labels" in entity else {}),
            }
            for entity, (start, end) in zip(row["entities"], places, strict=True)
        ]

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:
        """Save the model, with its tokenizer; of the pipeline itself there is nothing to save.

        Args:
            save_directory: The folder to write to.
            **kwargs: Handed to ``SpanMarkerModel.save_pretrained``.
        """
        self.model.save_pretrained(save_directory, **kwargs)


def _iterable(inputs: Any) -> Iterable[Any]:
    if hasattr(inputs, "__iter__"):
        return inputs
    if hasattr(inputs, "__getitem__") and hasattr(inputs, "__len__"):
        return (inputs[index] for index in range(len(inputs)))  # a torch data set, which may not end by itself
    raise TypeError(
        f"the pipeline {TASK!r} can't read inputs of type {type(inputs).__name__}: pass a string, a list of strings or "
        "of lists of words, a Dataset, or an iterable of texts"
    )


PIPELINE_REGISTRY.register_pipeline(TASK, SpanMarkerPipeline, SpanMarkerModel, {"model": NoDefaultModel()}, "text")
