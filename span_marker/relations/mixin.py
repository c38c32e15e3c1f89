"""The methods of a model for relations: adding a relation head, and scoring pairs of entities."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from span_marker.configuration import PairFilterConfig, SpanMarkerConfig
from span_marker.core.arrays import Batch, as_array
from span_marker.core.relations import PAIRS_AT_ONCE, relation_classes
from span_marker.core.spans import IntArray
from span_marker.core.wrong_pairs import LabelledPairs, add_wrong_pairs
from span_marker.encoders.engines import EncodedTexts, EngineInput, StagedEngine
from span_marker.encoders.graph_engine import Backend
from span_marker.heads import PairFilter, RelationHead, summed_loss, token_states
from span_marker.preprocessing.processes import evaluating

logger = logging.getLogger(__name__)

FindPairs = Callable[[Any, Any], tuple[IntArray, IntArray]]
"""Function that finds the pairs of a batch from its class scores and the indices of the kept candidates, see
`SpanMarkerModel.score`. It returns the tokens that the markers of each pair observe, ``(num_pairs, 4)``: first and last
token of the head, then those of the tail; and the number of pairs per sentence, ``(batch,)``."""

PAIR_FILTER = "Pair filter"
"""Subject of changes on the model card that concern the pair filter."""

RELATION_SUBJECTS = ("Relations", "Thresholds of relations", PAIR_FILTER)
"""Subjects of changes on the model card that concern relations."""

RELATION_LOSS_WEIGHT = 1.0
"""Weight of a pair in the loss, relative to that of a candidate."""


class RelationMixin(nn.Module):
    """Mixin for the relations of a model. Pairs of entities get their own markers, which read the same encoded texts.

    The class that it is mixed into has an encoder, an engine and a classifier, see `span_marker.SpanMarkerModel`.

    Attributes:
        relation_head: Classifies pairs of entities; None if the model has no relations.
    """

    relation_head: RelationHead | None

    if TYPE_CHECKING:
        config: SpanMarkerConfig
        encoder: Any
        device: torch.device
        dtype: torch.dtype
        engine: Any
        dropout: nn.Dropout
        _engine_input: Any
        _init_weights: Any
        _inputs: Any
        _marker_ids: Any
        _staged_engine: Any
        get_input_embeddings: Any
        card_text: str | None
        card_changes: dict[str, str]
        note_change: Any
        training_record: Any

        @property
        def backend(self) -> Backend:
            """See `SpanMarkerPreTrainedModel`."""

    def _new_relation_head(self) -> RelationHead | None:
        """A new head according to the configuration, or None if it has no relations."""
        labels, encoder = self.config.relation_labels, self.config.encoder
        if labels is None:
            return None
        embed_dim = self.get_input_embeddings().embedding_dim
        filter_size = None if self.config.pair_filter is None else self.config.pair_filter.input_size
        return RelationHead(encoder.hidden_size, embed_dim, len(labels), self.config.token_state_size or 0, filter_size)

    def add_relations(
        self,
        labels: Sequence[str],
        symmetric: Sequence[str] | None = None,
        types: Sequence[Sequence[str]] | Literal["any"] | None = None,
    ) -> None:
        """Give the model a new relation head, to be trained. The markers of pairs start as copies of those of entities.

        Args:
            labels: The labels of relations.
            symmetric: See ``symmetric_relations`` of `SpanMarkerConfig`.
            types: See ``relation_types`` of `SpanMarkerConfig`.

        Raises:
            TypeError: If the labels are not lists of strings.
            ValueError: If a label is unknown, repeated, or also a label of entities; or if the model runs on the dense
                engine or on exported graphs. The model is then unchanged.
        """
        self.check_relations_possible()
        if self.backend != "torch":
            raise ValueError(
                f"relations cannot be added to exported graphs (backend={self.backend!r}): add them to the checkpoint "
                "that the model was exported from, and export the result"
            )
        settings: dict[str, Any] = {
            "relation_labels": relation_classes(labels),
            "symmetric_relations": symmetric if isinstance(symmetric, str | None) else list(symmetric),
            "relation_types": types if isinstance(types, str | None) else [list(triple) for triple in types],
            "relation_thresholds": None,
            "pair_filter": None,
        }
        before = {name: getattr(self.config, name) for name in settings}
        try:
            for name, value in settings.items():
                setattr(self.config, name, value)
            self.config.check_relations()
        except (TypeError, ValueError):
            for name, value in before.items():
                setattr(self.config, name, value)
            raise
        is_described = self.card_text is not None or self.training_record is not None or bool(self.card_changes)
        if self.relation_head is not None:
            self._forget_relations_in_card()
        if is_described:
            self.note_change("Relations", f"{', '.join(settings['relation_labels'][1:])}: added, and not yet trained.")
        head = self._new_relation_head()
        assert head is not None
        self._init_weights(head)
        with torch.no_grad():
            entity_markers = self.get_input_embeddings()(self._marker_ids(self.device))
            head.markers.copy_(entity_markers.repeat(2, 1))
        self.relation_head = head.to(self.device, self.dtype)

    def _forget_relations_in_card(self) -> None:
        """Remove former relations from the card."""
        self.card_text = None  # it lists them
        for subject in RELATION_SUBJECTS:
            self.card_changes.pop(subject, None)
        if self.training_record is not None:
            self.training_record.forget("relation_")

    def _drop_relation_types(self) -> None:
        """Drop the types of relations whose entity labels no longer exist."""
        types, classes = self.config.relation_types, set(self.config.classes)
        if isinstance(types, list):
            kept = [triple for triple in types if {triple[0], triple[2]} <= classes]
            if opened := sorted({triple[1] for triple in types} - {triple[1] for triple in kept}):
                logger.warning(
                    "All relation_types of the relations %s have a label that is dropped, so they may join any "
                    "entities: set model.config.relation_types, or set it to None to use the types in the training "
                    "data.",
                    opened,
                )
            self.config.relation_types = kept
        self.config.check_relations()

    def check_relations_possible(self) -> None:
        """Check that pairs of entities can be scored.

        Raises:
            ValueError: If the model runs on the dense engine.
        """
        if not isinstance(self.engine, StagedEngine):
            raise ValueError(
                f"relations need the fast engine, but the model has a {type(self.engine).__name__}: load it with "
                "engine='auto', or predict entities only, with predict(..., relations=False)"
            )

    def use_pair_filter(self, pair_filter: PairFilter, settings: PairFilterConfig) -> None:
        """Give the relation head a fitted pair filter, see `span_marker.fit_pair_filter`.

        Args:
            pair_filter: The filter.
            settings: Its settings.
        """
        assert self.relation_head is not None
        self.relation_head.pair_filter = pair_filter.to(self.device, self.dtype)
        self.config.pair_filter = settings

    def reset_pair_filter(self) -> None:
        """Remove the pair filter. Called before training, which changes the states that it was fitted to."""
        if self.config.pair_filter is None or self.relation_head is None:
            return
        for module in self.relation_head.modules():
            if isinstance(module, RelationHead):  # an adapter wraps several
                module.pair_filter = None
        self.config.pair_filter = None
        self.note_change(PAIR_FILTER, "None: it was removed when the model was changed.")
        logger.info("The pair filter is removed: all pairs of entities get markers until another one is fitted.")

    def pair_states(self, batch: Batch, pair_tokens: IntArray, pair_counts: IntArray) -> tuple[Tensor, Tensor]:
        """Encode texts for the pair filter.

        Args:
            batch: See `score_pairs`.
            pair_tokens: See `_relation_logits`.
            pair_counts: See `_relation_logits`.

        Returns:
            States of the tokens of all texts, ``(num_tokens, size)``, and the rows of those that the markers of each
            pair observe, ``(num_pairs, 4)``.
        """
        inputs = {name: values for name, values in self._inputs(batch).items() if name != "span_words"}
        with evaluating(self), torch.inference_mode():
            texts = self._staged_engine().encode_texts(self.encoder, self._engine_input(**inputs))
            tokens = torch.as_tensor(pair_tokens, device=self.device)
            pairs = replace(self._engine_input(**inputs), span_tokens=tokens, span_counts=pair_counts.tolist())
            return texts.states, texts.span_rows(pairs)

    def _relation_logits(
        self,
        batch: EngineInput,
        texts: EncodedTexts,
        pair_tokens: Tensor,
        pair_counts: Tensor,
        least: float | None = None,
    ) -> Tensor:
        """Score pairs of spans against encoded texts.

        A sentence with 45 entities has 1,980 pairs, whose markers need as much memory as many sentences. They are
        therefore scored in chunks; in training, activations for the backward pass are then recomputed rather than
        stored.

        Args:
            batch: The batch of the texts, with any candidates.
            texts: The encoded texts.
            pair_tokens: First and last token of each head, and those of its tail, ``(num_pairs, 4)``, sentence after
                sentence.
            pair_counts: Number of pairs per sentence, ``(batch,)``.
            least: The minimum score by the pair filter of pairs that get markers; None for all pairs.

        Returns:
            Class scores, ``(num_pairs, num_relations)``. Pairs without markers have no relation: its score is 0, and
            that of every other class ``-inf``.
        """
        head = self.relation_head
        if head is None:
            raise ValueError("the model has no relations: make it with relation_labels=, or call add_relations")
        pairs = replace(batch, span_tokens=pair_tokens, span_counts=pair_counts.tolist(), marker_embeds=head.markers)
        if least is None or head.pair_filter is None:
            return self._score_all_pairs(pairs, texts)
        scores = head.pair_filter(texts.states, texts.span_rows(pairs), pair_tokens[:, 2] - pair_tokens[:, 0])
        kept = (scores >= least).nonzero()[:, 0]
        of_kept = self._score_all_pairs(pairs.take(kept), texts)
        logits = of_kept.new_full((len(pair_tokens), of_kept.shape[1]), -torch.inf)
        logits[:, 0] = 0
        logits[kept] = of_kept
        return logits

    def _score_all_pairs(self, pairs: EngineInput, texts: EncodedTexts) -> Tensor:
        """Score pairs, in chunks if there are many."""
        if len(pairs.span_tokens) <= PAIRS_AT_ONCE:
            return self._score_some_pairs(pairs, texts)
        indices = torch.arange(len(pairs.span_tokens), device=pairs.span_tokens.device)
        parts = [pairs.take(some) for some in indices.split(PAIRS_AT_ONCE)]
        if not torch.is_grad_enabled():
            return torch.cat([self._score_some_pairs(part, texts) for part in parts])
        return torch.cat([checkpoint(self._score_some_pairs, part, texts, use_reentrant=False) for part in parts])

    def _score_some_pairs(self, pairs: EngineInput, texts: EncodedTexts) -> Tensor:
        """Score a chunk of pairs, see `_relation_logits`."""
        features = self._staged_engine().encode_markers(self.encoder, pairs, texts).flatten(1)
        if self.config.token_state_size is not None:
            tokens = token_states(texts.states, texts.span_rows(pairs)).flatten(1)
            features = torch.cat([features, tokens], dim=1)
        assert self.relation_head is not None
        logits: Tensor = self.relation_head(self.dropout(features))
        return logits

    def _add_wrong_pairs(
        self, batch: EngineInput, logits: Tensor, is_gold: Tensor, pairs: tuple[Tensor, Tensor, Tensor]
    ) -> tuple[Tensor, ...]:
        """Add pairs with wrong spans to the pairs of gold entities, see `span_marker.core.wrong_pairs`.

        Args:
            batch: The batch, with the candidates that got markers.
            logits: Class scores of these, ``(num_kept, num_labels)``.
            is_gold: True for gold entities, ``(num_kept,)``.
            pairs: ``pair_tokens``, ``pair_counts`` and ``pair_labels`` of ``forward``.

        Returns:
            The same for all pairs.
        """
        outside = self.config.outside_id
        others = torch.cat([logits[:, :outside], logits[:, outside + 1 :]], dim=1)
        scores = others.amax(dim=1) - logits[:, outside]
        of_gold, counts = LabelledPairs(*map(as_array, pairs)), np.array(batch.span_counts)
        found = add_wrong_pairs(of_gold, as_array(is_gold), as_array(scores), as_array(batch.span_tokens), counts)
        return tuple(torch.from_numpy(array).to(logits.device) for array in found)

    def _relation_loss(self, logits: Tensor, pair_tokens: Tensor, pair_labels: Tensor) -> Tensor:
        """Compute the summed cross-entropy of pairs. As in prediction, symmetric relations count in one order only."""
        is_symmetric = torch.from_numpy(self.config.relation_rules.is_symmetric).to(logits.device)
        place = pair_tokens[:, 0::2] * 2**31 + pair_tokens[:, 1::2]  # first token, then last token
        is_ruled_out = (place[:, :1] > place[:, 1:]) & is_symmetric
        # Words without tokens use those of other words, so the tokens of a pair may be in another order.
        is_ruled_out.scatter_(1, pair_labels[:, None], False)
        logits = logits.float().masked_fill(is_ruled_out, -torch.inf)
        return summed_loss(logits, pair_labels, multi_label=False)

    def score_pairs(
        self, batch: Batch, find_pairs: FindPairs, exact: bool | None = None
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Score the candidates of a batch, and then pairs of them, for prediction. The texts are encoded once.

        Args:
            batch: The batch, from `SpanMarkerDataCollator`, in arrays or tensors on any device.
            find_pairs: Function that finds the pairs from the scores of the candidates.
            exact: Whether to score all candidates and pairs, rather than only those that the filters keep. Defaults to
                ``config.exact``.

        Returns:
            The two results of `SpanMarkerModel.score`, and the class scores of the pairs, ``(num_pairs,
            num_relations)``.

        Raises:
            ValueError: If the model has no relations, or runs on the dense engine.
        """
        self.check_relations_possible()

        def find_tensors(*scores: Any) -> tuple[Tensor, ...]:
            return tuple(torch.as_tensor(array, device=self.device) for array in find_pairs(*scores))

        with evaluating(self), torch.inference_mode():
            output = self(**self._inputs(batch), exact=exact, find_pairs=find_tensors)
        return output.logits, output.kept, output.relation_logits
