"""The law: span markers as the description has them, with loops, one sentence at a time, in one dense call.

Nothing of the engines is used here: the encoder runs with the attention that ``transformers`` ships, under a mask
that is filled entry by entry.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from span_marker import SpanMarkerModel


def candidates(num_words: int, entity_max_length: int) -> list[tuple[int, int]]:
    """All spans of at most ``entity_max_length`` words, by start, then end."""
    spans = []
    for start in range(num_words):
        for end in range(start + 1, num_words + 1):
            if end - start <= entity_max_length:
                spans.append((start, end))
    return spans


def may_attend(query: int, key: int, num_text: int) -> bool:
    """The rule of the description. Tokens are text first, then start and end of each candidate in turn."""
    if key < num_text:
        return True  # everything attends to all text
    if query < num_text:
        return False  # text attends to text only
    return (query - num_text) // 2 == (key - num_text) // 2  # a marker attends to itself and to its partner


def sentence_logits(model: SpanMarkerModel, words: list[str]) -> Tensor:
    """Class scores of all candidates of one sentence, ``(num_spans, num_labels)``, without dropout."""
    backend = model.tokenizer.tokenizer
    encoding = backend(words, is_split_into_words=True, truncation=True, max_length=model.max_text_length)
    text_ids, word_ids = encoding["input_ids"], encoding.word_ids()
    num_words = max((word for word in word_ids if word is not None), default=-1) + 1
    first, last = {}, {}
    for index, word in enumerate(word_ids):
        if word is not None:
            first.setdefault(word, index)
            last[word] = index

    ids, positions = list(text_ids), [index + 2 for index in range(len(text_ids))]
    spans = candidates(num_words, model.config.entity_max_length)
    for start, end in spans:
        ids += [model.tokenizer.start_marker_id, model.tokenizer.end_marker_id]
        positions += [first.get(start, 0) + 2, last.get(end - 1, 0) + 2]
    mask = torch.full((1, 1, len(ids), len(ids)), torch.finfo(torch.float32).min)
    for query in range(len(ids)):
        for key in range(len(ids)):
            if may_attend(query, key, len(text_ids)):
                mask[0, 0, query, key] = 0.0

    encoder = model.encoder
    implementation = encoder.config._attn_implementation
    encoder.set_attn_implementation("eager")
    try:
        output = encoder(
            input_ids=torch.tensor([ids]), position_ids=torch.tensor([positions]), attention_mask=mask
        ).last_hidden_state[0]
    finally:
        encoder.set_attn_implementation(implementation)
    rows = []
    for index in range(len(spans)):
        start = output[len(text_ids) + 2 * index]
        end = output[len(text_ids) + 2 * index + 1]
        rows.append(model.classifier(torch.cat([start, end])))
    return torch.stack(rows) if rows else torch.empty(0, model.config.num_labels)


def as_double(model: SpanMarkerModel) -> SpanMarkerModel:
    """A copy in double precision, in which rounding does not hide mistakes."""
    return copy.deepcopy(model).double()
