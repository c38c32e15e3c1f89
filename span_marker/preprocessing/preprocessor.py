"""The preprocessor of a model: from sentences to tokens, pieces and batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from span_marker.core.settings import ModelSettings
from span_marker.preprocessing.data_collator import SpanMarkerDataCollator
from span_marker.preprocessing.inputs import Sentences
from span_marker.preprocessing.pieces import Piece, into_pieces, tokenize
from span_marker.preprocessing.tokenizer import EncodedSentence, SpanMarkerTokenizer


@dataclass(frozen=True)
class Preprocessor:
    """Converts sentences to the inputs of a model, see ``model.preprocessor``.

    Attributes:
        tokenizer: The model's tokenizer.
        config: The model's configuration.
        max_tokens: The text limit in force, including special tokens.
    """

    tokenizer: SpanMarkerTokenizer
    config: ModelSettings
    max_tokens: int

    def encode(self, sentences: Sentences) -> list[EncodedSentence]:
        """Tokenize sentences, see `span_marker.preprocessing.pieces.tokenize`."""
        return tokenize(sentences, self.tokenizer, self.config.split)

    def pieces(self, sentences: Sentences, encodings: Sequence[EncodedSentence]) -> list[Piece]:
        """Make pieces of encoded sentences, see `span_marker.preprocessing.pieces.into_pieces`."""
        return into_pieces(sentences, encodings, self.tokenizer, self.config, self.max_tokens)

    @property
    def collator(self) -> SpanMarkerDataCollator:
        """The collator that makes batches of pieces."""
        return SpanMarkerDataCollator.for_model(self.tokenizer, self.config)
