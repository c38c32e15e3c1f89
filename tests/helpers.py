"""Steps that several tests take."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from span_marker import SpanMarkerModel
from span_marker.preprocessing.data_collator import SpanMarkerDataCollator
from span_marker.preprocessing.inputs import Sentences
from span_marker.preprocessing.pieces import into_pieces, tokenize


def collate(model: SpanMarkerModel, sentences: list[list[str]], entities: Any = None) -> dict[str, Tensor]:
    """Bring sentences into a batch the way the library does."""
    inputs = Sentences(sentences, False)
    pieces = into_pieces(
        inputs, tokenize(inputs, model.tokenizer), model.tokenizer, model.config, model.max_text_length
    )
    features = [piece.features() for piece in pieces]
    if entities is not None:
        for feature in features:
            row, (above, up_to) = feature["row"], feature["bounds"]
            own = [entity for entity in entities[row] if above < entity[1] + entity[2] <= up_to]
            feature["entities"] = [[model.config.label2id[label], start, end] for label, start, end in own]
            feature["num_words"] = 0 if feature["first_word"] else len(sentences[row])
    return SpanMarkerDataCollator.for_model(model.tokenizer, model.config)(features)


def batch_logits(model: SpanMarkerModel, sentences: list[list[str]]) -> list[Tensor]:
    """Class scores of each sentence's candidates, from one batch."""
    batch = collate(model, sentences)
    names = ("input_ids", "attention_mask", "span_tokens", "span_counts")
    logits = model(**{name: batch[name] for name in names}).logits
    return list(torch.split(logits, batch["span_counts"].tolist()))
