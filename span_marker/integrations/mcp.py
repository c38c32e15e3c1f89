"""A Model Context Protocol (MCP) server for agents, with tools that extract, redact and restore.

Redacted names stay in the memory of the server: a client gets only an ID, with which it can restore texts. So a client
can pass redacted texts to a language model without revealing the names.
"""

from __future__ import annotations

import functools
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, Field

from span_marker.core.extras import import_extra
from span_marker.prediction.relations import as_columns
from span_marker.redaction import Redactor, restore
from span_marker.rules.rules import all_labels
from span_marker.version import __version__

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

    from span_marker.modeling import SpanMarkerModel

Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Texts = Annotated[list[str], Field(description="The texts. Pass a list even for a single text.")]
"""Strings are not accepted: the SDK would parse a string that looks like JSON, and change the text."""
Threshold = Annotated[
    Probability | dict[str, Probability] | None,
    Field(
        description="Minimum probability of an entity, from 0 to 1, or an object with one per label. "
        "Default: the model's own."
    ),
]
Propagate = Annotated[bool, Field(description="Whether to mark every other mention of a found name in the same text.")]
ServedWay = Literal["numbered", "label", "mask", "remove"]

INSTRUCTIONS = """Finds and redacts named entities. To keep names from a language model: redact the texts, give it the
redacted ones, and restore its answer with the mapping that redact returned. The names stay on this server."""


@dataclass(frozen=True)
class Limits:
    """How much a server takes in and keeps.

    Attributes:
        max_texts: Texts per call.
        max_characters: Characters per call, of all texts together.
        max_mappings: Mappings in memory. The one that was used least recently is dropped first.
        max_names: Names per mapping.
    """

    max_texts: int = 1000
    max_characters: int = 1_000_000
    max_mappings: int = 100
    max_names: int = 100_000


class FoundEntity(BaseModel):
    """An entity. Characters are code points, counted from 0; `end` is exclusive."""

    text: str
    label: str
    score: float
    start: int
    end: int
    origin: str | None = Field(None, description='"mention" or "rule" if found that way; null if from the model.')


class FoundRelation(BaseModel):
    """A relation from one entity of a text to another. `head` and `tail` count its entities from 0."""

    label: str
    score: float
    head: int
    tail: int


class Extraction(BaseModel):
    """The entities of each text, in the order of the texts, and the relations between them."""

    entities: list[list[FoundEntity]]
    relations: list[list[FoundRelation]] | None = Field(
        default=None, description="Null if the model finds no relations."
    )


class Redaction(BaseModel):
    """Texts without their entities, in the order of the texts."""

    texts: list[str]
    mapping: str | None = Field(description='ID to pass to restore; null if how is not "numbered".')
    num_redacted: dict[str, int] = Field(description="Number of replaced spans per label in these texts.")


class Restoration(BaseModel):
    """Texts with their names, in the order of the texts."""

    texts: list[str]


class Labels(BaseModel):
    """The labels that the model finds."""

    labels: list[str]


class Session:
    """The state behind the tools: a model, and the names that were redacted with it.

    Args:
        model: The model.
        limits: How much is taken in and kept. Defaults to `Limits`.
        batch_size: Maximum number of sentences in a batch.
    """

    def __init__(self, model: SpanMarkerModel, limits: Limits | None = None, batch_size: int = 32) -> None:
        self.model = model
        self.limits = limits or Limits()
        self.batch_size = batch_size
        self._redactors: OrderedDict[str, Redactor] = OrderedDict()
        self._lock = Lock()  # tools run in threads: one at a time reads, and changes the redactors

    def extract(self, texts: Texts, threshold: Threshold = None, propagate: Propagate = False) -> Extraction:
        """Find the named entities of texts, with labels, scores and offsets; and relations if the model has them."""
        self._check(texts)
        found = list(map(as_columns, self._predict(texts, threshold, propagate)))
        entities = [list(map(_found_entity, columns["entities"])) for columns in found]
        if self.model.config.relation_labels is None:
            return Extraction(entities=entities)
        relations = [list(map(FoundRelation.model_validate, columns["relations"])) for columns in found]
        return Extraction(entities=entities, relations=relations)

    def redact(
        self,
        texts: Texts,
        how: Annotated[
            ServedWay,
            Field(
                description='"numbered": [PERSON_1], the same for equal names; can be restored. "label": [PERSON]. '
                '"mask": asterisks. "remove": nothing.'
            ),
        ] = "numbered",
        mapping: Annotated[
            str | None, Field(description="The mapping of an earlier call, to continue with its placeholders.")
        ] = None,
        threshold: Threshold = None,
        propagate: Propagate = False,
    ) -> Redaction:
        """Replace the named entities of texts. The redacted names stay on the server, see restore."""
        self._check(texts)
        if mapping is not None and how != "numbered":
            raise ValueError(f"mapping needs how='numbered', not {how!r}, which keeps no names")
        if mapping is not None:
            self._find(mapping)
        found = self._predict(texts, threshold, propagate, relations=False)
        with self._lock:
            redactor = Redactor(how) if mapping is None else self._find(mapping)
            if len(redactor.names) > self.limits.max_names:
                raise ValueError(f"mapping has more than max_names={self.limits.max_names} names: start a new one")
            redacted = [redactor.redact(*pair) for pair in zip(texts, found, strict=True)]
            if how == "numbered" and mapping is None:
                mapping = self._keep(redactor)
        labels = [span.label for each in redacted for span in each.spans]
        counts = {label: labels.count(label) for label in sorted(set(labels))}
        return Redaction(texts=[each.text for each in redacted], mapping=mapping, num_redacted=counts)

    def restore(
        self,
        texts: Texts,
        mapping: Annotated[str, Field(description="The mapping that redact returned.")],
    ) -> Restoration:
        """Replace placeholders such as [PERSON_1] with their names, in redacted texts or in texts derived from them."""
        self._check(texts)
        with self._lock:
            names = self._find(mapping).names
        return Restoration(texts=[restore(text, names) for text in texts])

    def list_labels(self) -> Labels:
        """List the labels that the model finds."""
        return Labels(labels=all_labels(self.model.labels, self.model.rules))

    def _check(self, texts: list[str]) -> None:
        """Check the limits."""
        for name, number, limit in (
            ("texts", len(texts), self.limits.max_texts),
            ("characters", sum(map(len, texts)), self.limits.max_characters),
        ):
            if number > limit:
                raise ValueError(f"texts has {number} {name}, but the limit is {limit}: split it into several calls")

    def _predict(self, texts: list[str], threshold: Any, propagate: bool, relations: bool | None = None) -> list[Any]:
        with self._lock:
            return self.model.predict(
                texts,
                is_split_into_words=False,
                batch_size=self.batch_size,
                threshold=threshold,
                propagate=propagate,
                relations=relations,
            )

    def _keep(self, redactor: Redactor) -> str:
        mapping = secrets.token_urlsafe(16)
        self._redactors[mapping] = redactor
        if len(self._redactors) > self.limits.max_mappings:
            self._redactors.popitem(last=False)
        return mapping

    def _find(self, mapping: str) -> Redactor:
        if mapping not in self._redactors:
            raise ValueError(
                f"no mapping {mapping!r}: pass one that redact has returned since the server started. The server keeps "
                f"the {self.limits.max_mappings} most recently used"
            )
        self._redactors.move_to_end(mapping)
        return self._redactors[mapping]


def _found_entity(entity: dict[str, Any]) -> FoundEntity:
    return FoundEntity(
        text=entity["span"],
        label=entity["label"],
        score=entity["score"],
        start=entity["char_start_index"],
        end=entity["char_end_index"],
        origin=entity["origin"]["kind"] if "origin" in entity else None,
    )


def _explaining(tool: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a tool so that errors about its arguments reach the client; the SDK hides all others."""
    tool_error = import_extra("mcp.server.mcpserver.exceptions", "'mcp>=2'", "mcp").ToolError

    @functools.wraps(tool)
    def run(**arguments: Any) -> Any:
        try:
            return tool(**arguments)
        except (ImportError, TimeoutError, TypeError, ValueError) as error:
            raise tool_error(str(error)) from error

    return run


def create_server(
    model: SpanMarkerModel, *, limits: Limits | None = None, batch_size: int = 32, name: str = "span-marker"
) -> MCPServer:
    """Create a server with the tools ``extract``, ``redact``, ``restore`` and ``list_labels``.

    ``server.run()`` serves standard input and output until the client disconnects.

    Args:
        model: The model.
        limits: How much is taken in and kept. Defaults to `Limits`.
        batch_size: Maximum number of sentences in a batch.
        name: Name of the server.

    Returns:
        The server.

    Raises:
        ImportError: If the package ``mcp`` is not installed.
    """
    package = import_extra("mcp.server.mcpserver", "'mcp>=2'", "mcp", "the MCP server needs")
    session = Session(model, limits, batch_size)
    server: MCPServer = package.MCPServer(
        name, instructions=INSTRUCTIONS, version=__version__, log_level="WARNING", warn_on_duplicate_tools=True
    )
    hints = import_extra("mcp_types", "'mcp>=2'", "mcp").ToolAnnotations(
        read_only_hint=True, destructive_hint=False, open_world_hint=False
    )
    for tool in (session.extract, session.redact, session.restore, session.list_labels):
        server.add_tool(_explaining(tool), annotations=hints)
    return server
