"""Requests and responses: their fields, and error messages for invalid ones."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException

from span_marker.core.decoding import Decoding
from span_marker.core.json_reading import RepeatedKeyError, json_problem, parse_json
from span_marker.core.offsets import OffsetUnit
from span_marker.prediction.options import PredictOptions

Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=1000)]
Message = TypeVar("Message", bound="Strict")

INPUTS = "a text, a list of texts, or a list of lists of words"

EXPECTED = {
    "inputs": INPUTS,
    "is_split_into_words": "true or false",
    "threshold": "a number from 0 to 1, or an object with such numbers by label",
    "decoding": '"flat", "flat-optimal", "nested" or "overlapping"',
    "top_k": "a whole number from 1 to 1000",
    "exact": "true or false",
    "split_sentences": "true or false",
    "propagate": "true or false",
    "offsets": '"codepoint", "utf-16" or "utf-8"',
    "relations": "true or false",
    "relation_threshold": "a number from 0 to 1, or an object with such numbers by label",
    "labels": "a list of labels",
    "return_coverage": "true or false",
    "model": "the name of a model",
    "parameters": "an object",
    "aggregation_strategy": '"simple", "first", "average" or "max", which all give the same result here',
    "ignore_labels": "a list of labels",
    "stride": "left out, since text of any length is read in overlapping windows",
}
"""What each field must be, for error messages."""

_HALF = re.compile(r"\\u[dD][89a-fA-F]")
"""A surrogate escaped in JSON. The other half of its pair may be missing."""


class Strict(BaseModel):
    """A message without additional fields, whose values are not coerced."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class Options(Strict):
    """Options of prediction, with the names and the meaning of those of `SpanMarkerModel.predict`."""

    threshold: Probability | dict[str, Probability] | None = Field(
        default=None,
        description="Minimum probability of an entity, or an object with one per label. Default: the model's own.",
    )
    decoding: Decoding | None = Field(default=None, description="How overlaps are resolved. Default: the model's own.")
    top_k: Count | None = Field(default=None, description="Number of most probable labels to return per entity.")
    exact: bool | None = Field(default=None, description="Score all candidates and pairs, without filters.")
    split_sentences: bool = Field(default=False, description="Read each text sentence by sentence (needs spaCy).")
    offsets: OffsetUnit = Field(
        default="codepoint", description="Unit of the indices into texts. JavaScript strings use utf-16."
    )
    propagate: bool = Field(
        default=False, description="Also return the other mentions of names that were found with high confidence."
    )
    relations: bool | None = Field(
        default=None, description="Also find relations between entities. Default: whether the model has them."
    )
    relation_threshold: Probability | dict[str, Probability] | None = Field(
        default=None,
        description="Minimum probability of a relation, or an object with one per label. Default: the model's own.",
    )
    labels: list[str] | None = Field(
        default=None, description="Return only entities with these labels, and the relations between them."
    )

    def for_predict(self) -> dict[str, Any]:
        """The options of `SpanMarkerModel.predict` that differ from its defaults."""
        return self.model_dump(exclude_defaults=True, include={*PredictOptions.__annotations__})


class PredictRequest(Options):
    """Texts, and how to read them."""

    inputs: str | list[str] | list[list[str]] = Field(description=f"What to read: {INPUTS}.")
    is_split_into_words: bool | None = Field(
        default=None,
        description="true if a list of strings is a single sentence, split into words. Default: each string is a text.",
    )
    return_coverage: bool = Field(default=False, description="Also return how much of each text was read.")
    model: str | None = Field(default=None, description="Name of the model. Default: the first one.")

    def sentences(self) -> tuple[list[Any], bool, bool]:
        """Return the sentences to read.

        Returns:
            The sentences, whether they are lists of words rather than texts, and whether the input was a single one.

        Raises:
            HTTPException: If ``is_split_into_words`` contradicts ``inputs``.
        """
        is_text = isinstance(self.inputs, str)
        are_lists = not is_text and any(isinstance(item, list) for item in self.inputs)
        if self.is_split_into_words and is_text:
            raise HTTPException(422, "is_split_into_words is true, but inputs is a text: leave it out")
        if self.is_split_into_words is False and are_lists:
            raise HTTPException(422, "is_split_into_words is false, but inputs are lists of words: leave it out")
        if is_text:
            return [self.inputs], False, True
        if are_lists or not self.is_split_into_words:
            return list(self.inputs), are_lists, False
        return [self.inputs], True, True


class TaskParameters(Strict):
    """Options of the stock task. Those that also exist for ``/predict`` have the same meaning."""

    aggregation_strategy: Literal["simple", "first", "average", "max"] | None = None
    ignore_labels: list[str] | None = Field(default=None, description="Leave out entities with these labels.")
    threshold: Probability | dict[str, Probability] | None = None
    decoding: Decoding | None = None
    stride: None = None


class TaskRequest(Strict):
    """A request of the stock task ``token-classification``, as `huggingface_hub.InferenceClient` sends it."""

    inputs: str | list[str] = Field(description="A text, or a list of texts.")
    parameters: TaskParameters | None = None


class FoundLabel(BaseModel):
    """A label, or ``O``, and its probability."""

    label: str
    score: float


class FoundPlace(BaseModel):
    """A span: characters of a text, or words of a list; ends are exclusive."""

    char_start_index: int | None = None
    char_end_index: int | None = None
    word_start_index: int | None = None
    word_end_index: int | None = None


class FoundOrigin(FoundPlace):
    """The source of a label and its score: another mention of the name, or a rule of the model."""

    kind: Literal["mention", "rule"]
    rule: str | None = None
    sentence: int | None = None


class FoundConflict(FoundLabel):
    """Another mention of the same name."""

    origin: FoundOrigin


class FoundEntity(FoundPlace):
    """An entity as `SpanMarkerModel.predict` returns it."""

    span: str | list[str]
    label: str
    score: float
    labels: list[FoundLabel] | None = None
    origin: FoundOrigin | None = None
    conflict: FoundConflict | None = None


class FoundRelation(FoundLabel):
    """A relation as `SpanMarkerModel.predict` returns it: indices into the entities of its text."""

    head: int
    tail: int
    labels: list[FoundLabel] | None = None


class PredictAnswer(BaseModel):
    """What `SpanMarkerModel.predict` returns, and the model that found it."""

    model: str
    entities: list[FoundEntity] | list[list[FoundEntity]]
    relations: list[FoundRelation] | list[list[FoundRelation]] | None = None
    coverage: Any = None


class TaskEntity(BaseModel):
    """An entity as the stock task returns it."""

    entity_group: str
    score: float
    word: str
    start: int
    end: int


class ErrorAnswer(BaseModel):
    """An error, in one sentence."""

    error: str


class ModelInfo(BaseModel):
    """Properties of a model."""

    name: str
    labels: list[str]
    relation_labels: list[str]
    decoding: str
    thresholds: Any
    relation_thresholds: Any
    model_max_length: int
    entity_max_length: int
    num_parameters: int
    device: str
    dtype: str


class Info(BaseModel):
    """Properties of the server."""

    version: str
    models: list[ModelInfo]
    limits: dict[str, int | float]


def parse(kind: type[Message], body: bytes) -> Message:
    """Read a message from JSON.

    Args:
        kind: The type of the message.
        body: UTF-8.

    Returns:
        The message.

    Raises:
        HTTPException: If it is not valid JSON, or a value is invalid.
    """
    try:
        value = _read(body)
    except RepeatedKeyError as error:
        raise HTTPException(400, f"the body {json_problem(error)}") from None
    except RecursionError:
        raise HTTPException(400, "the body is nested too deeply") from None
    except ValueError as error:
        raise HTTPException(400, f"the body is not valid JSON in UTF-8: {error}") from None
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise HTTPException(*explain(kind, error)) from None


def _read(body: bytes) -> Any:
    text = body.decode()
    value = parse_json(text)
    if _HALF.search(text):
        json.dumps(value, ensure_ascii=False).encode()  # raises an error if the other half is missing
    return value


def explain(kind: type[BaseModel], error: ValidationError) -> tuple[int, str]:
    """Describe the first error of a message.

    Args:
        kind: Its type.
        error: Its errors.

    Returns:
        The status, and a sentence.
    """
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = first["loc"]
    if len(place) > 1 and place[0] == "parameters":
        kind, place = TaskParameters, place[1:]
    name = str(place[0]) if place else ""
    if first["type"] == "extra_forbidden":
        return 422, f"unknown field {name[:80]!r}: supported are {', '.join(map(repr, kind.model_fields))}"
    if first["type"] == "missing":
        return 422, f"{name!r} is missing: it must be {EXPECTED[name]}"
    return 422, f"{name!r} must be {EXPECTED[name]}" if name else "the body must be a JSON object"
