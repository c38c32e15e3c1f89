"""SpanMarkerModel: build, forward, load, save, predict."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.utils.generic import ModelOutput

from span_marker import inference, loading
from span_marker.annotations import infer_labels
from span_marker.classifier import dropout_rate, initial_bias, summed_loss
from span_marker.configuration import SpanMarkerConfig
from span_marker.decoding import Decoding
from span_marker.encoders import EngineChoice, build_encoder, max_text_length, select_engine
from span_marker.engines import EngineInput
from span_marker.sentences import read_inputs
from span_marker.tokenizer import SpanMarkerTokenizer
from span_marker.version import __version__

logger = logging.getLogger(__name__)


@dataclass
class SpanMarkerOutput(ModelOutput):
    """Output of a SpanMarker model.

    Attributes:
        loss: Cross-entropy, the mean over all candidates, if there were labels. Of a multi-label model, the sum of the
            binary cross-entropies of all classes, ``O`` for "no label" among them.
        logits: Class scores, ``(num_spans, num_labels)``.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None


class SpanMarkerModel(PreTrainedModel):
    """An encoder, and one linear layer over the states of each candidate's two markers.

    Make one with `from_pretrained`, from an encoder or from a SpanMarker checkpoint.

    Args:
        config: The configuration; it holds the encoder's.
        encoder: The encoder. By default one with random weights is built from the configuration.
        engine: ``"fast"`` or ``"dense"`` to force an engine; ``"auto"`` for the fastest that the encoder can run.

    Attributes:
        tokenizer: The `SpanMarkerTokenizer`, None until it is set.

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
        self.post_init()

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
        if (gradient_checkpointing_kwargs or {}).get("use_reentrant"):
            raise ValueError("gradient_checkpointing_kwargs must not set use_reentrant=True: gradients would be wrong")
        super().gradient_checkpointing_enable(gradient_checkpointing_kwargs, *args, **kwargs)

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
        limits = (limit, self.require_tokenizer().tokenizer.model_max_length, max_text_length(self.config.encoder))
        return int(min(limit for limit in limits if limit is not None))

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        span_tokens: Tensor,
        span_counts: Tensor,
        labels: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
    ) -> SpanMarkerOutput:
        """Score the candidates of a batch.

        Args:
            input_ids: Token IDs of the text, ``(batch, seq_len)``.
            attention_mask: True for text, False for padding, ``(batch, seq_len)``.
            span_tokens: First and last token of each candidate, ``(num_spans, 2)``, sentence after sentence.
            span_counts: Candidates of each sentence, ``(batch,)``.
            labels: Class ID of each candidate, ``(num_spans,)``; for a multi-label model ``(num_spans, num_labels)``
                with 1 for each label that it has, or for ``O`` alone.
            num_items_in_batch: Candidates that the loss is the mean over; by default those of this batch. ``Trainer``
                passes the number of a whole optimizer step when it accumulates gradients.

        Returns:
            The class scores, and the loss if there are labels.

        Raises:
            ValueError: If the number of candidates is not the sum of ``span_counts``.
        """
        counts = span_counts.tolist()
        if sum(counts) != len(span_tokens) or len(counts) != len(input_ids):
            raise ValueError(
                f"{len(span_tokens)} candidates of {len(counts)} sentences with {sum(counts)} candidates in a batch of "
                f"{len(input_ids)}: a batch must stay in one piece; use torchrun rather than DataParallel"
            )
        inputs = EngineInput(
            input_ids=input_ids,
            attention_mask=attention_mask.bool(),
            span_tokens=span_tokens,
            span_counts=counts,
            marker_ids=self._marker_ids(input_ids.device),
        )
        states = self.run_engine(self.encoder, inputs)  # (num_spans, 2, hidden)
        features = self.dropout(states).flatten(1)  # (num_spans, 2 * hidden)
        logits = self.classifier(self.dropout(features))
        loss = None
        if labels is not None:
            num_items = torch.as_tensor(len(labels) if num_items_in_batch is None else num_items_in_batch)
            # A batch of empty sentences has no candidates, and a loss of zero.
            loss = summed_loss(logits.float(), labels) / num_items.clamp(min=1).to(logits.device)
        return SpanMarkerOutput(loss=loss, logits=logits)

    def _marker_ids(self, device: torch.device) -> Tensor:
        tokenizer = self.require_tokenizer()
        return torch.tensor([tokenizer.start_marker_id, tokenizer.end_marker_id], device=device)

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

    def predict(
        self,
        inputs: Any,
        batch_size: int = 32,
        show_progress_bar: bool = False,
        *,
        threshold: float | dict[str, float] | None = None,
        decoding: Decoding | None = None,
        top_k: int | None = None,
        return_coverage: bool = False,
    ) -> Any:
        """Read the entities out of text.

        Text beyond the limit is read in windows that overlap, cut where sentences begin if possible; each span is
        scored in the window that gives it the most context.

        Args:
            inputs: One sentence: a string, or a list of words. Or several: a list of strings of which at least one has
                a space, a list of lists of words, or a `Dataset` with a column ``tokens`` or ``text`` and, for document
                context, ``document_id`` and ``sentence_id``.
            batch_size: The most sentences of a batch.
            show_progress_bar: Whether to show a progress bar.
            threshold: The least probability of an entity, or a dict with that of each label. With it, a span has its
                most probable label among those that reach theirs, even if ``O`` is more probable. By default the
                thresholds of the configuration, or if it has none, the most probable class decides.
            decoding: ``"flat"``, ``"flat-optimal"``, ``"nested"`` or ``"overlapping"``, see `span_marker.decoding`; by
                default that of the configuration.
            top_k: Give each entity its most probable labels, ``O`` included, as a list ``labels`` of dicts with
                ``label`` and ``score``; a number larger than that of the labels gives all.
            return_coverage: Whether to return what was read in windows, cut or left out, too.

        Returns:
            The entities of one sentence in order of their words, or a list of such lists. An entity is a dict with
            ``span``, ``label`` and ``score``, and ``char_start_index`` and ``char_end_index`` for strings, or
            ``word_start_index`` and ``word_end_index`` for words; ends are exclusive. With ``return_coverage``, also a
            `Coverage`, or a list of one for each sentence.

        Raises:
            TypeError: If the input is nothing of the kind, or a threshold is not a number.
            ValueError: If ``batch_size`` or ``top_k`` is below 1, a threshold is no probability or its labels are not
                those of the model, there is no such decoding, or a `Dataset` lacks a column.
        """
        sentences, is_single = read_inputs(inputs)
        predictor = self._predictor(batch_size, threshold, decoding, top_k)
        entities, coverages = inference.predict(sentences, predictor, show_progress_bar)
        if is_single:
            return (entities[0], coverages[0]) if return_coverage else entities[0]
        return (entities, coverages) if return_coverage else entities

    def predict_stream(
        self,
        inputs: Iterable[str | Sequence[str] | dict[str, Any]],
        batch_size: int = 32,
        show_progress_bar: bool = False,
        *,
        threshold: float | dict[str, float] | None = None,
        decoding: Decoding | None = None,
        top_k: int | None = None,
    ) -> Iterator[Any]:
        """Read the entities out of a stream of sentences, in order, holding a few thousand at a time.

        Args:
            inputs: Strings, lists of words, or dicts with ``text`` or ``tokens`` and anything else, such as an ``id``.
            batch_size: See `predict`.
            show_progress_bar: See `predict`.
            threshold: See `predict`.
            decoding: See `predict`.
            top_k: See `predict`.

        Returns:
            Yields the entities of each sentence, see `predict`; for a dict, the dict with ``entities`` besides.

        Raises:
            TypeError: If ``inputs`` is a single sentence, or an item nothing of the kind.
            ValueError: If a dict has neither ``text`` nor ``tokens``, or both; or an argument is wrong, see `predict`.
        """
        if isinstance(inputs, (str, dict)):
            raise TypeError(f"predict_stream needs an iterable of sentences, not a single {type(inputs).__name__}")
        predictor = self._predictor(batch_size, threshold, decoding, top_k)
        return inference.predict_stream(inputs, predictor, show_progress_bar)

    def _predictor(self, batch_size: int, threshold: Any, decoding: Any, top_k: int | None) -> inference.Predictor:
        return inference.Predictor(
            self.score,
            self.require_tokenizer(),
            self.config,
            self.max_text_length,
            self.config.decoder(threshold, decoding, keeps_all_scores=top_k is not None),
            batch_size,
            top_k,
        )

    def score(self, batch: dict[str, Tensor]) -> Tensor:
        """Score the candidates of a batch for prediction: in evaluation mode, without gradients.

        Args:
            batch: What `SpanMarkerDataCollator` makes, on any device.

        Returns:
            Class scores, ``(num_spans, num_labels)``.
        """
        names = ("input_ids", "attention_mask", "span_tokens", "span_counts")
        in_training = [module for module in self.modules() if module.training]
        self.eval()
        try:
            with torch.inference_mode():
                logits: Tensor = self(**{name: batch[name].to(self.device) for name in names}).logits
        finally:
            for module in in_training:
                module.training = True
        return logits

    def try_cuda(self) -> SpanMarkerModel:
        """Move the model to a GPU if there is one.

        Returns:
            The model itself.
        """
        if torch.cuda.is_available():
            self.to(torch.device("cuda"))  # type: ignore[arg-type]
        else:
            logger.warning("There is no CUDA device: the model stays on %s.", self.device)
        return self

    def save_pretrained(self, save_directory: str | os.PathLike[str], *args: Any, **kwargs: Any) -> None:
        """Write a checkpoint that needs nothing else to be loaded: configuration, weights and tokenizer.

        Args:
            save_directory: The folder to write to.
            *args: Handed to ``PreTrainedModel.save_pretrained``.
            **kwargs: Likewise.
        """
        self.config.span_marker_version = __version__
        if kwargs.get("is_main_process", True):
            loading.save_code(self.encoder, save_directory)
        super().save_pretrained(save_directory, *args, **kwargs)
        if self.tokenizer is not None and kwargs.get("is_main_process", True):
            self.tokenizer.save_pretrained(save_directory)

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *model_args: Any,
        labels: Sequence[str] | Dataset | dict[str, Dataset] | None = None,
        config: PreTrainedConfig | None = None,
        engine: EngineChoice = "auto",
        **kwargs: Any,
    ) -> SpanMarkerModel:
        """Load a SpanMarker checkpoint, or make a new SpanMarker model on an encoder.

        Args:
            pretrained_model_name_or_path: A folder or the name of a repository, with an encoder or a checkpoint.
            *model_args: Handed to ``PreTrainedModel.from_pretrained``.
            labels: The labels of the data set, ``O`` included; or the data set itself, or a dict of several, to take
                them from, see `span_marker.infer_labels`. Needed for an encoder; a checkpoint has its own.
            config: The configuration of the checkpoint or of the encoder, in place of its own.
            engine: See `SpanMarkerModel`.
            **kwargs: ``model_max_length`` (tokens), ``marker_max_length`` (pairs), ``entity_max_length`` (words),
                ``max_prev_context`` and ``max_next_context`` (sentences), ``multi_label`` and ``decoding``, see
                `SpanMarkerConfig`. All others are
                handed to ``transformers``: ``revision``, ``token``, ``dtype``, ``device_map``, and so on.

        Returns:
            The model, with its tokenizer, in evaluation mode.

        Raises:
            ValueError: If an encoder comes without labels or a checkpoint with other labels, a limit is below 1 or
                beyond what the encoder can read, weights are missing or misshapen, or the encoder can't carry span
                markers.
        """
        if "attn_implementation" in kwargs:
            raise ValueError("span markers bring their own attention: use engine= rather than attn_implementation=")
        limits = {name: kwargs.pop(name) for name in loading.CONFIG_ARGUMENTS if name in kwargs}
        path = pretrained_model_name_or_path
        if isinstance(labels, (Dataset, dict)):
            labels = infer_labels(labels)
        if config is None:
            config = loading.load_config(path, kwargs)
        if isinstance(config, SpanMarkerConfig):
            tokenizer = loading.load_tokenizer(path, kwargs)
            loading.fit_checkpoint_config(config, tokenizer, labels, limits, path)
            kwargs = {**kwargs, **loading.REPORT_WEIGHTS}
            loaded: Any = super().from_pretrained(path, *model_args, config=config, engine=engine, **kwargs)
            model, info = loaded
            loading.check_weights(info, path)
        else:
            config, encoder, tokenizer = loading.load_encoder(
                path, *model_args, config=config, labels=labels, limits=limits, **kwargs
            )
            model = cls(config, encoder=encoder, engine=engine)
            model.classifier.to(device=encoder.device, dtype=encoder.dtype)
        model.tokenizer = tokenizer
        return model.eval()
