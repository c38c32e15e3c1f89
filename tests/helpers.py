"""Steps that several tests take."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from span_marker import SpanMarkerModel
from span_marker.data_collator import SpanMarkerDataCollator, sentence_features
from span_marker.sentences import Sentences, encode


def collate(model: SpanMarkerModel, sentences: list[list[str]], entities: Any = None) -> dict[str, Tensor]:
    """Bring sentences into a batch the way the library does."""
    encoded = encode(Sentences(sentences, False), model.tokenizer, model.config, model.max_text_length)
    features = [sentence_features(sentence) for sentence in encoded]
    if entities is not None:
        for feature, found, words in zip(features, entities, sentences, strict=True):
            feature["entities"] = [[model.config.label2id[label], start, end] for label, start, end in found]
            feature["num_words"] = len(words)
    config = model.config
    return SpanMarkerDataCollator(model.tokenizer.pad_token_id, config.entity_max_length, config.outside_id)(features)


def batch_logits(model: SpanMarkerModel, sentences: list[list[str]]) -> list[Tensor]:
    """Class scores of each sentence's candidates, from one batch."""
    batch = collate(model, sentences)
    names = ("input_ids", "attention_mask", "span_tokens", "span_counts")
    logits = model(**{name: batch[name] for name in names}).logits
    return list(torch.split(logits, batch["span_counts"].tolist()))
