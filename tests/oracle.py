"""The law: span markers as the description has them, with loops, one sentence at a time, in one dense call.

Nothing of the engines is used here: the encoder runs with the attention that ``transformers`` ships, under a mask
that is filled entry by entry.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

from span_marker import SpanMarkerModel
from span_marker.core.letter_case import NO_CASE, letter_case
from span_marker.heads import CASE_SCALE


def candidates(num_words: int, entity_max_length: int) -> list[tuple[int, int]]:
    """All spans of at most ``entity_max_length`` words, by start, then end."""
    spans = []
    for start in range(num_words):
        for end in range(start + 1, num_words + 1):
            if end - start <= entity_max_length:
                spans.append((start, end))
    return spans


def may_attend(query: int, key: int, num_text: int, candidate_size: int = 2) -> bool:
    """The rule of the description. Tokens are text first, then the markers of each candidate in turn."""
    if key < num_text:
        return True  # everything attends to all text
    if query < num_text:
        return False  # text attends to text only
    # A marker attends to the markers of its candidate, itself among them.
    return (query - num_text) // candidate_size == (key - num_text) // candidate_size


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
    added = torch.zeros(len(ids), model.get_input_embeddings().embedding_dim, dtype=model.dtype)
    letters = "".join(words)
    if model.case_embedding is not None and any(map(str.isupper, letters)) and any(map(str.islower, letters)):
        for token, word in enumerate(word_ids):
            if word is not None and letter_case(words[word]) != NO_CASE:
                added[token] = CASE_SCALE * model.case_embedding.weight[letter_case(words[word])]
    with adding(model.encoder, added), last_values(model.encoder) as values:
        output = states(model.encoder, ids, positions, len(text_ids))
    rows = []
    for index, (start, end) in enumerate(spans):
        seen = [output[len(text_ids) + 2 * index], output[len(text_ids) + 2 * index + 1]]
        if model.config.token_state_size is not None:
            seen += [normalized(values[-1][token]) for token in (first.get(start, 0), last.get(end - 1, 0))]
        rows.append(model.classifier(torch.cat(seen)))
    return torch.stack(rows) if rows else torch.empty(0, model.config.num_labels)


def marker_states(model: SpanMarkerModel, text_ids: Tensor, observed: list[list[int]], embeds: Tensor) -> Tensor:
    """Last hidden states of candidates of any size, ``(num_candidates, candidate_size, hidden)``.

    Candidates have one marker for each of ``embeds``, ``(candidate_size, embed_dim)``, and ``observed`` has the text
    token of each of them.
    """
    size, stand_in = len(embeds), int(text_ids[0])
    ids = [*text_ids.tolist(), *[stand_in] * (size * len(observed))]
    positions = [token + 2 for token in [*range(len(text_ids)), *(token for tokens in observed for token in tokens)]]
    as_they_are = torch.zeros(len(text_ids), embeds.shape[1], dtype=embeds.dtype)
    changes = (embeds - model.get_input_embeddings().weight[stand_in]).repeat(len(observed), 1)
    with adding(model.encoder, torch.cat([as_they_are, changes])):
        output = states(model.encoder, ids, positions, len(text_ids), size)
    return output[len(text_ids) :].unflatten(0, (-1, size))


def relation_logits(model: SpanMarkerModel, text_ids: Tensor, observed: list[list[int]]) -> Tensor:
    """Class scores of pairs, ``(num_pairs, num_relations)``, whose markers observe the given tokens, no dropout."""
    with last_values(model.encoder) as values:
        output = marker_states(model, text_ids, observed, model.relation_head.markers)
    rows = []
    for seen, tokens in zip(output, observed, strict=True):
        parts = list(seen)
        if model.config.token_state_size is not None:
            parts += [normalized(values[-1][token]) for token in tokens]
        rows.append(model.relation_head.classifier(torch.cat(parts)))
    return torch.stack(rows)


def states(
    encoder: PreTrainedModel, ids: list[int], positions: list[int], num_text: int, candidate_size: int = 2
) -> Tensor:
    """Last hidden states of text and markers, ``(length, hidden)``, by the encoder's own code without any kernel."""
    length = len(ids)
    seen = [[may_attend(query, key, num_text, candidate_size) for key in range(length)] for query in range(length)]
    distance = [[positions[query] - positions[key] for key in range(length)] for query in range(length)]
    implementation = encoder.config._attn_implementation
    encoder.set_attn_implementation("eager")
    try:
        run = BY_TYPE.get(encoder.config.model_type, absolute)
        return run(encoder, torch.tensor([ids]), torch.tensor([positions]), seen, distance, num_text)[0]
    finally:
        encoder.set_attn_implementation(implementation)


@contextmanager
def adding(encoder: PreTrainedModel, added: Tensor) -> Iterator[None]:
    """Add something to the token embeddings, ``(length, embed_dim)``, which an encoder may look up part by part."""
    parts = iter(added)

    def add(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output + torch.stack([next(parts) for _ in range(output.shape[1])])

    handle = encoder.get_input_embeddings().register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()


VALUES = ("value", "v_lin", "v_proj", "value_proj", "v", "in_proj", "Wqkv")
"""Names of the modules that compute the values of a layer, alone or with queries and keys."""


@contextmanager
def last_values(encoder: PreTrainedModel) -> Iterator[list[Tensor]]:
    """Keep what the last layer's attention computes as values; the last item is it, ``(length, heads * head_dim)``."""
    heads = encoder.config.num_attention_heads
    name, module = [item for item in encoder.named_modules() if item[0].split(".")[-1] in VALUES][-1]
    attention = encoder.get_submodule(name.rpartition(".")[0])
    kept: list[Tensor] = []

    def keep(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        values = output[0]
        if name.endswith("in_proj"):  # query, key and value of each head side by side, without their biases
            values = values.unflatten(-1, (heads, 3, -1))[:, :, 2].flatten(1) + attention.v_bias
        elif name.endswith("Wqkv"):
            values = values.chunk(3, dim=-1)[2]
        elif name.endswith("v_proj"):  # heads may share values
            values = values.unflatten(-1, (-1, encoder.config.hidden_size // heads))
            values = values.repeat_interleave(heads // values.shape[1], dim=1).flatten(1)
        kept.append(values)

    handle = module.register_forward_hook(keep)
    try:
        yield kept
    finally:
        handle.remove()


def normalized(state: Tensor) -> Tensor:
    """A state with mean 0 and variance 1 over its entries."""
    centered = state - state.mean()
    return centered / (centered.square().mean() + 1e-5).sqrt()


def as_mask(seen: list[list[bool]]) -> Tensor:
    """``(1, 1, length, length)`` to add to scores."""
    lowest = torch.finfo(torch.float32).min
    return torch.tensor([[[[0.0 if is_seen else lowest for is_seen in row] for row in seen]]])


def absolute(encoder, ids, positions, seen, distance, num_text):
    return encoder(input_ids=ids, position_ids=positions, attention_mask=as_mask(seen)).last_hidden_state


def modernbert(encoder, ids, positions, seen, distance, num_text):
    half = encoder.config.local_attention // 2
    near = [
        [is_seen and abs(far) <= half for is_seen, far in zip(*rows, strict=True)]
        for rows in zip(seen, distance, strict=True)
    ]
    masks = {"full_attention": as_mask(seen), "sliding_attention": as_mask(near)}
    return encoder(input_ids=ids, position_ids=positions, attention_mask=masks).last_hidden_state


def deberta(encoder, ids, positions, seen, distance, num_text):
    relative = torch.tensor([distance])
    if getattr(encoder.config, "position_buckets", -1) > 0:
        relative = make_log_bucket_position(
            relative, encoder.encoder.position_buckets, encoder.encoder.max_relative_positions
        )
    hidden = encoder.embeddings(input_ids=ids, position_ids=positions)
    return encoder.encoder(hidden, torch.tensor([seen]), relative_pos=relative).last_hidden_state


def distance_bias(embedding, bucket_of, distance):
    """``(1, heads, length, length)``: one look-up for each distance of a query from a key."""
    all_distances = sorted({far for row in distance for far in row})
    table = torch.stack([embedding(bucket_of(torch.tensor([-far])))[0] for far in all_distances])
    places = {far: place for place, far in enumerate(all_distances)}
    index = [[places[far] for far in row] for row in distance]
    return table[torch.tensor(index)].permute(2, 0, 1)[None]


def mpnet(encoder, ids, positions, seen, distance, num_text):
    hidden = encoder.embeddings(input_ids=ids, position_ids=positions)
    bias = distance_bias(encoder.encoder.relative_attention_bias, encoder.encoder.relative_position_bucket, distance)
    for layer in encoder.encoder.layer:
        hidden = layer(hidden, as_mask(seen), bias)[0]
    return hidden


def t5(encoder, ids, positions, seen, distance, num_text):
    stack = encoder.encoder
    attention = stack.block[0].layer[0].SelfAttention
    hidden = encoder.get_input_embeddings()(ids)
    bias = distance_bias(attention.relative_attention_bias, attention._relative_position_bucket, distance)
    for block in stack.block:
        hidden = block(hidden, as_mask(seen), position_bias=bias)[0]
    return stack.final_layer_norm(hidden)


def mobilebert(encoder, ids, positions, seen, distance, num_text):
    parts = [slice(num_text), *(slice(marker, marker + 1) for marker in range(num_text, ids.shape[1]))]
    hidden = [encoder.embeddings(input_ids=ids[:, part], position_ids=positions[:, part]) for part in parts]
    return encoder.encoder(torch.cat(hidden, dim=1), attention_mask=as_mask(seen)).last_hidden_state


BY_TYPE = {
    "modernbert": modernbert,
    "deberta": deberta,
    "deberta-v2": deberta,
    "mpnet": mpnet,
    "t5": t5,
    "mt5": t5,
    "mobilebert": mobilebert,
}


def as_double(model: SpanMarkerModel) -> SpanMarkerModel:
    """A copy in double precision, in which rounding does not hide mistakes."""
    return copy.deepcopy(model).double()
