"""The network of a SpanMarker model: from batches of text and candidates to class scores and a loss."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils.generic import ModelOutput

from span_marker.candidate_filter.head import FILTER_LOSS_WEIGHT, Choice, Examined, SpanFilter, filter_loss
from span_marker.configuration import SpanMarkerConfig
from span_marker.encoders.engines import Choose, EngineInput, encode_fast
from span_marker.encoders.support import EngineChoice, build_encoder, max_positions, select_engine
from span_marker.heads import dropout_rate, initial_bias, summed_loss
from span_marker.preprocessing.tokenizer import SpanMarkerTokenizer


@dataclass
class SpanMarkerOutput(ModelOutput):
    """Output of a SpanMarker model.

    Attributes:
        loss: Cross-entropy, the mean over all candidates, if there were labels. Of a multi-label model, the sum of the
            binary cross-entropies of all classes, ``O`` for "no label" among them. Of candidates that the filter chose,
            with the filter's own loss of all candidates, see `span_marker.candidate_filter.head`.
        logits: Class scores of the candidates that got markers, ``(num_kept, num_labels)``.
        kept: Indices of these candidates, ascending, ``(num_kept,)``; None if no filter was asked.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    kept: Tensor | None = None


class SpanMarkerNetwork(PreTrainedModel):
    """An encoder, one linear layer over the states of each candidate's two markers, and maybe a candidate filter.

    Args:
        config: The configuration; it holds the encoder's.
        encoder: The encoder. By default one with random weights is built from the configuration.
        engine: ``"fast"`` or ``"dense"`` to force an engine; ``"auto"`` for the fastest that the encoder can run.

    Attributes:
        tokenizer: The `SpanMarkerTokenizer`, None until it is set.
        span_filter: The `SpanFilter`, None if there is none.

    Raises:
        ValueError: If the configuration has no encoder or no labels, or the encoder can't carry span markers.
    """

    config_class = SpanMarkerConfig
    base_model_prefix = "encoder"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = True
    config: SpanMarkerConfig
    _keys_to_ignore_on_load_unexpected = [r"^encoder\.pooler\.", r"position_ids$"]  # noqa: RUF012

    def __init__(
        self, config: SpanMarkerConfig, encoder: PreTrainedModel | None = None, engine: EngineChoice = "auto"
    ) -> None:
        super().__init__(config)
        if config.encoder is None:
            raise ValueError("the configuration has no encoder: use SpanMarkerModel.from_pretrained(..., labels=...)")
        config.check_labels()
        self.tokenizer: SpanMarkerTokenizer | None = None
        self.encoder = build_encoder(config.encoder) if encoder is None else encoder
        self.run_engine = select_engine(self.encoder, engine, config.marker_max_length)
        self.dropout = nn.Dropout(dropout_rate(config.encoder))
        self.classifier = nn.Linear(2 * config.encoder.hidden_size, len(config.reduced_labels))
        self.span_filter = None if config.span_filter is None else SpanFilter(config.span_filter["input_size"])
        self.post_init()

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
    ) -> SpanMarkerOutput:
        """Score the candidates of a batch.

        Args:
            input_ids: Token IDs of the text, ``(batch, seq_len)``.
            attention_mask: True for text, False for padding, ``(batch, seq_len)``.
            span_tokens: First and last token of each candidate, ``(num_spans, 2)``, sentence after sentence.
            span_counts: Candidates of each sentence, ``(batch,)``.
            span_words: First word of each candidate and the one behind its last, ``(num_spans, 2)``; the candidate
                filter needs it.
            labels: Class ID of each candidate, ``(num_spans,)``; for a multi-label model ``(num_spans, num_labels)``
                with 1 for each label that it has, or for ``O`` alone.
            num_items_in_batch: Candidates that the loss is the mean over; by default those of this batch. ``Trainer``
                passes the number of a whole optimizer step when it accumulates gradients.
            exact: Whether to score all candidates, rather than those that the filter keeps; by default what the
                configuration says. In training, ``candidates_per_word`` decides.

        Returns:
            The class scores, and the loss if there are labels.

        Raises:
            ValueError: If the number of candidates is not the sum of ``span_counts``, or a filter is asked that is not
                there, fits other candidates, or lacks ``span_words``.
        """
        inputs = self._engine_input(input_ids, attention_mask, span_tokens, span_counts)
        is_gold = None if labels is None else self._is_gold(labels)
        choice = self._choice(span_words, span_counts, is_gold, exact)
        logits = self._classify(inputs, choice)
        kept = None if choice is None else choice.kept
        loss = None
        if labels is not None:
            num_items = torch.as_tensor(len(labels) if num_items_in_batch is None else num_items_in_batch)
            loss = summed_loss(logits.float(), labels if kept is None else labels[kept])
            if choice is not None and is_gold is not None:
                loss = loss + FILTER_LOSS_WEIGHT * filter_loss(choice.scores, is_gold)
            # A batch of empty sentences has no candidates, and a loss of zero.
            loss = loss / num_items.clamp(min=1).to(logits.device)
            if len(labels) == 0 and self.training:  # processes wait for each other's gradients of all parameters
                loss = loss + sum(0 * parameter.sum() for parameter in self.parameters() if parameter.requires_grad)
        return SpanMarkerOutput(loss=loss, logits=logits, kept=kept)

    def _engine_input(
        self, input_ids: Tensor, attention_mask: Tensor, span_tokens: Tensor, span_counts: Tensor
    ) -> EngineInput:
        counts = span_counts.tolist()
        if sum(counts) != len(span_tokens) or len(counts) != len(input_ids):
            raise ValueError(
                f"{len(span_tokens)} candidates of {len(counts)} sentences with {sum(counts)} candidates in a batch of "
                f"{len(input_ids)}: a batch must stay in one piece; use torchrun rather than DataParallel"
            )
        return EngineInput(
            input_ids=input_ids,
            attention_mask=attention_mask.bool(),
            span_tokens=span_tokens,
            span_counts=counts,
            marker_ids=self._marker_ids(input_ids.device),
        )

    def _classify(self, inputs: EngineInput, choose: Choose | None) -> Tensor:
        """Class scores of the chosen candidates, ``(num_kept, num_labels)``."""
        arguments = {} if choose is None else {"choose": choose}
        states = self.run_engine(self.encoder, inputs, **arguments)  # (num_kept, 2, hidden)
        features = self.dropout(states).flatten(1)  # (num_kept, 2 * hidden)
        logits: Tensor = self.classifier(self.dropout(features))
        return logits

    def add_span_filter(self) -> None:
        """Give the model a new candidate filter, to be trained beside the markers; `Trainer` does so where it is due.

        Raises:
            ValueError: If the model runs on the dense engine.
        """
        no_candidates = torch.zeros(0, 2, dtype=torch.long)
        seen = self.examine(
            {
                "input_ids": self._marker_ids(self.device)[None],
                "attention_mask": torch.ones(1, 2, dtype=torch.bool),
                "span_tokens": no_candidates,
                "span_counts": torch.zeros(1, dtype=torch.long),
                "span_words": no_candidates,
            }
        )
        self.span_filter = SpanFilter(seen.text_states.shape[1]).to(self.device, self.dtype)
        self.config.span_filter = {"input_size": self.span_filter.input_size}

    @property
    def candidates_kept(self) -> float:
        """Share of the candidates that the filter keeps, about; 1 if nothing is filtered, as on the dense engine."""
        if self._filter_settings is None:
            return 1.0
        per_word, longest = self.best_per_word, self.config.require("entity_max_length")
        kept: float = self._filter_settings.get("candidates_kept", 1.0 if per_word is None else per_word / longest)
        return kept

    @property
    def _filter_settings(self) -> dict[str, Any] | None:
        """What the configuration says about the filter; None if there is none, or the engine can't use it."""
        return self.config.span_filter if self.span_filter is not None and self.can_filter else None

    @property
    def can_filter(self) -> bool:
        """Whether the model runs on the fast engine, which a candidate filter needs."""
        return getattr(self.run_engine, "func", None) is encode_fast

    def _check_engine(self) -> None:
        if not self.can_filter:
            raise ValueError(
                "a candidate filter needs the fast engine, since it looks at texts before there are markers: load the "
                "model with engine='auto', or with candidates_per_word=None if its encoder can't run it"
            )

    def _is_gold(self, labels: Tensor) -> Tensor:
        """Which candidates have a label other than ``O``, ``(num_spans,)``."""
        outside_id = self.config.outside_id
        return labels != outside_id if labels.dim() == 1 else labels[:, outside_id] == 0

    def _choice(
        self,
        span_words: Tensor | None,
        span_counts: Tensor,
        is_gold: Tensor | None,
        exact: bool | None,
        is_tuned: bool = True,
    ) -> Choice | None:
        """How the filter chooses among the candidates of a batch; None if all get markers without being asked.

        ``is_tuned`` is False before there is a threshold.
        """
        settings, threshold = self._filter_settings, None
        if self.training:
            if self.config.candidates_per_word is None or is_gold is None:
                return None
            self._check_engine()
        else:
            if settings is None or (self.config.exact if exact is None else exact):
                return None
            is_gold, threshold = None, settings.get("threshold") if is_tuned else None
            if threshold is not None:
                self.config.check_filter_length()
            elif self.best_per_word is None:
                return None
        if self.span_filter is None:
            raise ValueError(
                f"candidates_per_word={self.config.candidates_per_word}, but the model has no candidate filter: call "
                "add_span_filter() before you make an optimizer"
            )
        if span_words is None:
            raise ValueError("the candidate filter needs span_words: pass the batch as SpanMarkerDataCollator makes it")
        span_lengths = span_words[:, 1] - span_words[:, 0]
        return Choice(self.span_filter, span_lengths, span_counts, self.best_per_word, threshold, is_gold)

    @property
    def best_per_word(self) -> float | None:
        """How many candidates may get markers for each word of a sentence; None if all may."""
        per_word, all_of_them = self.config.candidates_per_word, self.config.require("entity_max_length")
        return None if per_word is None or per_word >= all_of_them else per_word

    def examine(self, batch: dict[str, Tensor]) -> Examined:
        """Look at a batch as if the candidate filter had no threshold yet, for one to be fitted or tuned.

        A model that was trained on the best candidates gives markers to so many of them; any other one, to all.

        Args:
            batch: What `SpanMarkerDataCollator` makes, on any device.

        Returns:
            What it makes of the batch.

        Raises:
            ValueError: If the model runs on the dense engine.
        """
        self._check_engine()
        names = ("input_ids", "attention_mask", "span_tokens", "span_counts")
        inputs = [batch[name].to(self.device) for name in names]
        seen: list[tuple[Tensor, Tensor, Tensor]] = []

        def see(text_states: Tensor, span_rows: Tensor) -> Tensor:
            kept = torch.arange(len(span_rows), device=self.device)
            if choice is not None:
                kept = choice(text_states, span_rows)
            seen.append((kept, text_states, span_rows))
            return kept

        with evaluating(self), torch.no_grad():
            choice = self._choice(batch["span_words"].to(self.device), inputs[-1], None, exact=False, is_tuned=False)
            logits = self._classify(self._engine_input(*inputs), see)
        return Examined(logits, *seen[0])

    def score(self, batch: dict[str, Tensor], exact: bool | None = None) -> tuple[Tensor, Tensor | None]:
        """Score the candidates of a batch for prediction: in evaluation mode, without gradients.

        Args:
            batch: What `SpanMarkerDataCollator` makes, on any device.
            exact: Whether to score all candidates; by default what ``config.exact`` says.

        Returns:
            Class scores of the candidates that got markers, ``(num_kept, num_labels)``, and the indices of these,
            ascending, ``(num_kept,)``; None for all.
        """
        names = ("input_ids", "attention_mask", "span_tokens", "span_counts", "span_words")
        with evaluating(self), torch.inference_mode():
            output = self(**{name: batch[name].to(self.device) for name in names}, exact=exact)
        return output.logits, output.kept

    def _init_weights(self, module: nn.Module) -> None:
        # Only the classifier is this class's own; the encoder knows how to initialise itself.
        if isinstance(module, nn.Linear) and module is getattr(self, "classifier", None):
            init.normal_(module.weight, std=getattr(self.config.encoder, "initializer_range", 0.02))
            bias = initial_bias(module.out_features, self.config.outside_id, self.config.multi_label)
            init.copy_(module.bias, bias.to(module.bias))

    def gradient_checkpointing_enable(
        self, gradient_checkpointing_kwargs: dict[str, Any] | None = None, *args: Any, **kwargs: Any
    ) -> None:
        """See ``PreTrainedModel``.

        Args:
            gradient_checkpointing_kwargs: Arguments of ``torch.utils.checkpoint.checkpoint``.
            *args: Handed to ``PreTrainedModel.gradient_checkpointing_enable``.
            **kwargs: Likewise.

        Raises:
            ValueError: If ``use_reentrant`` is True: markers would send no gradient into the text. Or if the encoder
                can't run its layers again.
        """
        if not self.encoder.supports_gradient_checkpointing:
            raise ValueError(f"{type(self.encoder).__name__} does not support gradient checkpointing")
        settings = {"use_reentrant": False, **(gradient_checkpointing_kwargs or {})}  # torch's own default is True
        if settings["use_reentrant"]:
            raise ValueError("gradient_checkpointing_kwargs must not set use_reentrant=True: gradients would be wrong")
        super().gradient_checkpointing_enable(settings, *args, **kwargs)

    def get_input_embeddings(self) -> nn.Module:
        """Return the encoder's token embeddings."""
        embeddings: nn.Module = self.encoder.get_input_embeddings()
        return embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the encoder's token embeddings.

        Args:
            value: The new embeddings.
        """
        self.encoder.set_input_embeddings(value)

    @property
    def max_text_length(self) -> int:
        """Tokens of the longest text, special tokens included: the text limit in force."""
        limit = self.config.model_max_length_default
        if self.config.model_max_length is not None:
            limit = self.config.require("model_max_length")
        limits = (limit, self.require_tokenizer().tokenizer.model_max_length, max_positions(self.config.encoder))
        return int(min(limit for limit in limits if limit is not None))

    def require_tokenizer(self) -> SpanMarkerTokenizer:
        """Get the tokenizer.

        Returns:
            The tokenizer.

        Raises:
            ValueError: If there is none.
        """
        if self.tokenizer is None:
            raise ValueError("the model has no tokenizer: load it with from_pretrained, or set model.tokenizer")
        return self.tokenizer

    def _marker_ids(self, device: torch.device) -> Tensor:
        tokenizer = self.require_tokenizer()
        return torch.tensor([tokenizer.start_marker_id, tokenizer.end_marker_id], device=device)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode for a while."""
    in_training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in in_training:
            module.training = True
