"""SpanMarkerModel: layers and the forward pass."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedModel
from transformers.utils.generic import ModelOutput

from span_marker.candidate_filter.head import FILTER_LOSS_WEIGHT, SpanFilter, filter_loss
from span_marker.candidate_filter.mixin import SpanFilterMixin
from span_marker.checkpoints.pretrained import SpanMarkerPreTrainedModel
from span_marker.configuration import SpanMarkerConfig
from span_marker.core.arrays import Batch
from span_marker.core.word_splitters import AUTO_SPLITTER
from span_marker.encoders.engines import Engine, EngineInput, StagedEngine
from span_marker.encoders.support import EngineChoice, register_attention
from span_marker.heads import CaseEmbedding, SpanClassifier, dropout_rate, summed_loss, token_states
from span_marker.prediction.mixin import PredictionMixin
from span_marker.preprocessing.data_collator import TEXT_INPUTS
from span_marker.preprocessing.processes import evaluating
from span_marker.relations.mixin import RELATION_LOSS_WEIGHT, RelationMixin

logger = logging.getLogger(__name__)

DEFAULT_CANDIDATES_PER_WORD = 1.0
"""Number of candidates per word that get markers when a new model is trained, in addition to gold spans."""


@dataclass
class SpanMarkerOutput(ModelOutput):
    """Output of a SpanMarker model.

    Attributes:
        loss: The mean cross-entropy over all candidates, or None without labels. For multi-label models, the binary
            cross-entropies of a candidate are summed over all classes, including ``O`` for "no label". If the filter
            chose the candidates, its own loss over all candidates is added, see `span_marker.candidate_filter.head`.
            The losses of pairs, each weighted like a candidate's, are added too. In training, they include wrong pairs.
        logits: Class scores of the candidates that got markers, ``(num_kept, num_labels)``.
        kept: Indices of these candidates, ascending, ``(num_kept,)``; None if all candidates got markers.
        relation_logits: Class scores of all pairs, ``(num_pairs, num_relations)``; None without pairs.
        relation_loss: The mean cross-entropy of the pairs; None without labels of pairs.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    kept: Tensor | None = None
    relation_logits: Tensor | None = None
    relation_loss: Tensor | None = None


class SpanMarkerModel(SpanFilterMixin, RelationMixin, PredictionMixin, SpanMarkerPreTrainedModel):
    """A SpanMarker model: an encoder, a linear classifier of candidates, and optionally a filter and relations.

    Create it with `from_pretrained`, from an encoder or from a SpanMarker checkpoint.

    Args:
        config: The configuration, which includes that of the encoder.
        encoder: The encoder. Defaults to one with random weights, built from the configuration.
        engine: ``"fast"`` or ``"dense"`` to force an engine, ``"auto"`` for the fastest supported one, or an engine
            object.

    Attributes:
        engine: Runs texts and markers through the encoder, see `span_marker.encoders.engines`.
        case_embedding: Letter-case embedding, added to those of the tokens; None if the tokens preserve the case.
        classifier: The linear layer that classifies candidates.
        span_filter: The candidate filter; None if the model has none.
        relation_head: Classifies pairs of entities; None if the model has no relations.

    Raises:
        ValueError: If the configuration has no encoder or no labels, or if the encoder does not support span markers.
    """

    if TYPE_CHECKING:  # transformers would take the annotation for the class itself
        config: SpanMarkerConfig

    def __init__(
        self, config: SpanMarkerConfig, encoder: PreTrainedModel | None = None, engine: EngineChoice | Engine = "auto"
    ) -> None:
        super().__init__(config, encoder, engine)
        self.case_embedding = self._new_case_embedding() if config.letter_case else None
        self.dropout = nn.Dropout(dropout_rate(config.encoder))
        self.classifier = SpanClassifier(config.encoder.hidden_size, len(config.classes), config.token_state_size or 0)
        self.span_filter = None if config.span_filter is None else SpanFilter(config.span_filter.input_size)
        self.relation_head = self._new_relation_head()
        if config.token_state_size is not None:
            self._staged_engine()  # or else refuse
        self.post_init()

    def _prepare_new(self, arguments: Mapping[str, Any], compatible_with_1x: bool) -> None:
        if compatible_with_1x and (unknown := self.config.unknown_to_1x):
            raise ValueError(
                f"{', '.join(unknown)} must be left out with compatible_with_1x=True, since 1.x does not support it"
            )
        if self.can_filter and not compatible_with_1x:
            self.config.token_state_size = self.text_state_size()
            self.classifier = SpanClassifier(
                self.config.encoder.hidden_size, len(self.config.classes), self.config.token_state_size
            )
            self._init_weights(self.classifier)
            if "candidates_per_word" not in arguments:
                self.config.candidates_per_word = DEFAULT_CANDIDATES_PER_WORD
        if "word_splitter" not in arguments and not compatible_with_1x:
            self.config.word_splitter = AUTO_SPLITTER
        drops_case = self.require_tokenizer().drops_case
        if self.config.letter_case and not drops_case:
            raise ValueError(
                "letter_case=True must be left out: the tokenizer already distinguishes upper and lower case"
            )
        if "letter_case" not in arguments and drops_case and not compatible_with_1x:
            self.config.letter_case = True
            self.case_embedding = self._new_case_embedding()
        for module in (self.classifier, self.case_embedding):
            if module is not None:
                module.to(device=self.encoder.device, dtype=self.encoder.dtype)
        if self.config.candidates_per_word is not None:
            self.add_span_filter()
        if self.config.relation_labels is not None:
            self.add_relations(self.config.relation_labels, self.config.symmetric_relations, self.config.relation_types)

    def _change_labels(self, labels: Sequence[str]) -> None:
        old, old_classes = self.classifier, self.config.classes
        self.config.set_labels(labels)
        classes = self.config.classes
        size = self.config.token_state_size or 0
        self.classifier = SpanClassifier(self.config.encoder.hidden_size, len(classes), size)
        self._init_weights(self.classifier)
        self.classifier.to(device=old.weight.device, dtype=old.weight.dtype)
        with torch.no_grad():
            for row, label in enumerate(classes):
                if label in old_classes:
                    self.classifier.weight[row] = old.weight[old_classes.index(label)]
                    self.classifier.bias[row] = old.bias[old_classes.index(label)]
        kept = {label: least for label, least in (self.config.thresholds or {}).items() if label in classes}
        self.config.thresholds = kept or None
        self._drop_relation_types()
        new, dropped = (
            [name for name in a if name not in b] for a, b in ((classes, old_classes), (old_classes, classes))
        )
        if new or dropped:
            self.card_text = None
            logger.warning(
                "Labels of the trained model: %s keep their weights, %s are new and must be trained, %s are dropped. "
                "Tune thresholds, temperature and filters again after training.",
                [label for label in classes if label in old_classes],
                new,
                dropped,
            )

    def _new_case_embedding(self) -> CaseEmbedding:
        table: Any = self.get_input_embeddings()
        return CaseEmbedding(table.embedding_dim)

    def gradient_checkpointing_enable(
        self, gradient_checkpointing_kwargs: dict[str, Any] | None = None, *args: Any, **kwargs: Any
    ) -> None:
        """See ``PreTrainedModel``.

        Args:
            gradient_checkpointing_kwargs: Arguments of ``torch.utils.checkpoint.checkpoint``.
            *args: Passed to ``PreTrainedModel.gradient_checkpointing_enable``.
            **kwargs: Passed to ``PreTrainedModel.gradient_checkpointing_enable``.

        Raises:
            ValueError: If ``use_reentrant`` is True, with which the text gets no gradient from markers; or if the
                encoder does not support gradient checkpointing.
        """
        if not self.encoder.supports_gradient_checkpointing:
            raise ValueError(f"{type(self.encoder).__name__} does not support gradient checkpointing")
        settings = {"use_reentrant": False, **(gradient_checkpointing_kwargs or {})}  # torch's own default is True
        if settings["use_reentrant"]:
            raise ValueError("gradient_checkpointing_kwargs must not set use_reentrant=True: gradients would be wrong")
        super().gradient_checkpointing_enable(settings, *args, **kwargs)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        span_tokens: Tensor,
        span_counts: Tensor,
        span_words: Tensor | None = None,
        labels: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        exact: bool | None = None,
        token_cases: Tensor | None = None,
        pair_tokens: Tensor | None = None,
        pair_counts: Tensor | None = None,
        pair_labels: Tensor | None = None,
        find_pairs: Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor]] | None = None,
    ) -> SpanMarkerOutput:
        """Score the candidates of a batch, and its pairs of spans, if any.

        Args:
            input_ids: Token IDs of the texts, ``(batch, seq_len)``.
            attention_mask: True for text, False for padding, ``(batch, seq_len)``.
            span_tokens: First and last token of each candidate, ``(num_spans, 2)``, sentence after sentence.
            span_counts: Number of candidates per sentence, ``(batch,)``.
            span_words: First word and word after the last, ``(num_spans, 2)``. Only the candidate filter needs it.
            labels: Class ID of each candidate, ``(num_spans,)``; or probabilities, ``(num_spans, num_labels)``.
                Multi-label models require probabilities: 1 for each label of a candidate, or only for ``O``.
            num_items_in_batch: Number of candidates to average the loss over. Defaults to the number in this batch.
                ``Trainer`` passes the number in a whole optimizer step when it accumulates gradients.
            exact: Whether to score all candidates, and all pairs of ``find_pairs``, rather than those that the filters
                keep. Defaults to ``config.exact``. Not used in training, where ``candidates_per_word`` decides.
            token_cases: The letter case of each token's word, see `span_marker.core.letter_case`, ``(batch, seq_len)``.
                Only models with ``config.letter_case`` need it.
            pair_tokens: First and last token of the head of each pair, and those of its tail, ``(num_pairs, 4)``,
                sentence after sentence. Only for models with relations.
            pair_counts: Number of pairs per sentence, ``(batch,)``.
            pair_labels: Class ID of each pair, ``(num_pairs,)``.
            find_pairs: Computes ``pair_tokens`` and ``pair_counts`` from ``logits`` and ``kept`` of the output.

        Returns:
            The class scores, and the loss if ``labels`` are passed.

        Raises:
            ValueError: If ``span_counts`` does not add up to the number of candidates; or if the filter is needed, but
                is missing or has a threshold for another ``entity_max_length``, or ``span_words`` is not passed.
        """
        batch = self._engine_input(input_ids, attention_mask, span_tokens, span_counts, token_cases)
        is_gold = None if labels is None else self._is_gold(labels)
        filter_scores = kept = relation_logits = relation_loss = None  # all candidates get markers
        is_filtered = self._is_filtered(labels is not None, exact)
        has_pairs = pair_tokens is not None or find_pairs is not None
        if is_filtered or has_pairs or self.config.token_state_size is not None:
            engine = self._staged_engine()
            texts = engine.encode_texts(self.encoder, batch)
            span_rows = texts.span_rows(batch)
            if is_filtered:
                filter_scores = self._filter_scores(texts.states, span_rows, span_words)
                if self.training and is_gold is not None:
                    kept = self._choose_for_training(filter_scores, span_words, span_counts, is_gold)
                else:
                    kept = self._choose_for_prediction(filter_scores, span_words, span_counts)
                batch, span_rows = batch.take(kept), span_rows[kept]
            states = engine.encode_markers(self.encoder, batch, texts)
            logits = self._classify(states, texts.states, span_rows)
            if find_pairs is not None:
                pair_tokens, pair_counts = find_pairs(logits, kept)
            if pair_tokens is not None and pair_counts is not None:
                if self.training and pair_labels is not None and is_gold is not None:
                    gold, pairs = is_gold if kept is None else is_gold[kept], (pair_tokens, pair_counts, pair_labels)
                    pair_tokens, pair_counts, pair_labels = self._add_wrong_pairs(batch, logits, gold, pairs)
                least = None if find_pairs is None else self.config.pair_threshold(exact)
                relation_logits = self._relation_logits(batch, texts, pair_tokens, pair_counts, least)
        else:
            logits = self._classify(self.engine.encode(self.encoder, batch))
        loss = None
        if labels is not None and is_gold is not None:
            chosen = labels if kept is None else labels[kept]
            loss = summed_loss(logits.float(), chosen, self.config.multi_label)
            if filter_scores is not None:
                loss = loss + FILTER_LOSS_WEIGHT * filter_loss(filter_scores, is_gold)
            num_pairs = 0 if relation_logits is None else len(relation_logits)
            if relation_logits is not None and pair_tokens is not None and pair_labels is not None:
                of_pairs = self._relation_loss(relation_logits, pair_tokens, pair_labels)
                loss, relation_loss = loss + RELATION_LOSS_WEIGHT * of_pairs, of_pairs / max(num_pairs, 1)
            has_all = len(labels) > 0 and (self.relation_head is None or num_pairs > 0)
            loss = self._mean_loss(loss, len(labels) if num_items_in_batch is None else num_items_in_batch, has_all)
        return SpanMarkerOutput(loss, logits, kept, relation_logits, relation_loss)

    def _engine_input(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        span_tokens: Tensor,
        span_counts: Tensor,
        token_cases: Tensor | None = None,
    ) -> EngineInput:
        counts = span_counts.tolist()
        if sum(counts) != len(span_tokens) or len(counts) != len(input_ids):
            raise ValueError(
                f"span_tokens has {len(span_tokens)} rows, but span_counts adds up to {sum(counts)} for {len(counts)} "
                f"sentences, and input_ids has {len(input_ids)} rows. The batch was split, as DataParallel does: "
                "launch with torchrun instead"
            )
        return EngineInput(
            input_ids=input_ids,
            attention_mask=attention_mask.bool(),
            span_tokens=span_tokens,
            span_counts=counts,
            marker_ids=self._marker_ids(input_ids.device),
            added_embeds=None if self.case_embedding is None else self._case_embeds(token_cases),
        )

    def _case_embeds(self, token_cases: Tensor | None) -> Tensor:
        """Embed letter cases, ``(batch, seq_len)`` to ``(batch, seq_len, embed_dim)``."""
        if token_cases is None:
            raise ValueError("the model needs token_cases, which SpanMarkerDataCollator adds to each batch")
        assert self.case_embedding is not None
        embeds: Tensor = self.case_embedding(token_cases)
        return embeds

    def _staged_engine(self) -> StagedEngine:
        """The engine, if texts can be read before any marker runs; a ValueError on the dense engine."""
        if not isinstance(self.engine, StagedEngine):
            raise ValueError(
                "a candidate filter, relations, and a classifier that reads token states need the fast engine, which "
                "encodes texts before any marker: load the model with engine='auto', or make it with "
                "compatible_with_1x=True if its encoder does not support the fast engine"
            )
        return self.engine

    def _marker_ids(self, device: torch.device) -> Tensor:
        tokenizer = self.require_tokenizer()
        return torch.tensor([tokenizer.start_marker_id, tokenizer.end_marker_id], device=device)

    def _classify(
        self, marker_states: Tensor, text_states: Tensor | None = None, span_rows: Tensor | None = None
    ) -> Tensor:
        """Class scores, ``(num_spans, num_labels)``, from the states of markers, ``(num_spans, 2, hidden)``.

        The other two arguments are those of `token_states`. They are needed if the classifier reads tokens, too.
        """
        features = self.dropout(marker_states).flatten(1)  # (num_spans, 2 * hidden)
        size = self.config.token_state_size
        if size is not None and text_states is not None and span_rows is not None:
            if text_states.shape[1] != size:
                raise ValueError(
                    f"token_state_size={size} in the configuration must be the size of the encoder's token states, "
                    f"which is {text_states.shape[1]}"
                )
            features = torch.cat([features, token_states(text_states, span_rows).flatten(1)], dim=1)
        logits: Tensor = self.classifier(self.dropout(features))
        return logits

    def _is_gold(self, labels: Tensor) -> Tensor:
        """Whether candidates are likely to have a label other than ``O``, ``(num_spans,)``."""
        outside_id = self.config.outside_id
        return labels != outside_id if labels.dim() == 1 else labels[:, outside_id] < 0.5

    def _mean_loss(self, total: Tensor, num_items: Tensor | int, has_all: bool) -> Tensor:
        """Divide the summed loss, given whether the batch has both candidates and, if the model reads them, pairs."""
        loss = total / torch.as_tensor(num_items).clamp(min=1).to(total.device)
        if not has_all and self.training:  # processes wait for each other's gradients, of all parameters
            loss = loss + sum(0 * parameter.sum() for parameter in self.parameters() if parameter.requires_grad)
        return loss

    def score(self, batch: Batch, exact: bool | None = None) -> tuple[Tensor, Tensor | None]:
        """Score the candidates of a batch for prediction, in evaluation mode and without gradients.

        Args:
            batch: The batch, from `SpanMarkerDataCollator`, in arrays or tensors on any device.
            exact: Whether to score all candidates, rather than only those that the filter keeps. Defaults to
                ``config.exact``.

        Returns:
            Class scores of the candidates that got markers, ``(num_kept, num_labels)``, and the indices of these
            candidates, ascending, ``(num_kept,)``, or None for all.
        """
        with evaluating(self), torch.inference_mode():
            output = self(**self._inputs(batch), exact=exact)
        return output.logits, output.kept

    def _inputs(self, batch: Batch) -> dict[str, Tensor]:
        """The parts of a batch that the model reads in prediction, on its device."""
        device = self.device  # transformers looks for it among the parameters
        return {name: torch.as_tensor(batch[name], device=device) for name in TEXT_INPUTS}

    def try_cuda(self) -> SpanMarkerModel:
        """Move the model to a GPU, or log a warning if none is available.

        Returns:
            The model itself.
        """
        if torch.cuda.is_available():
            self.to(torch.device("cuda"))  # type: ignore[arg-type]
        else:
            logger.warning("No CUDA device is available: the model stays on %s.", self.device)
        return self


def without_adapter(model: Any) -> SpanMarkerModel:
    """Unwrap a model from its PEFT adapter; other models are returned as they are.

    Args:
        model: A SpanMarker model, or a ``PeftModel`` around one.

    Returns:
        The SpanMarker model.

    Raises:
        TypeError: If ``model`` is not a SpanMarker model.
    """
    if hasattr(model, "get_base_model"):
        model = model.get_base_model()
    if not isinstance(model, SpanMarkerModel):
        advice = f": SpanMarkerModel.from_pretrained({str(model)!r})" if isinstance(model, (str, os.PathLike)) else ""
        raise TypeError(f"model must be a SpanMarkerModel, not {type(model).__name__}{advice}")
    return model


register_attention()
AutoModel.register(SpanMarkerConfig, SpanMarkerModel)
