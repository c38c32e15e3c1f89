"""The mask as a grid, and the attention function on its own."""

import pytest
import torch
from helpers import collate
from oracle import may_attend
from tiny import build_model

from span_marker.encoders import attention
from span_marker.encoders.attention import (
    add_partner_values,
    attend_to_text_and_partners,
    dense_attention_mask,
    partner_scores,
)
from span_marker.encoders.packing import PackedRows

ANDORRA = ["Andorra", "is", "located", "between", "France", "and", "Spain", "."]

# Three text tokens and two candidates, as drawn at the top of attention.py.
GRID = [
    [1, 1, 1, 0, 0, 0, 0],
    [1, 1, 1, 0, 0, 0, 0],
    [1, 1, 1, 0, 0, 0, 0],
    [1, 1, 1, 1, 1, 0, 0],
    [1, 1, 1, 1, 1, 0, 0],
    [1, 1, 1, 0, 0, 1, 1],
    [1, 1, 1, 0, 0, 1, 1],
]


def test_docstring_and_grid_and_code_agree():
    mask = dense_attention_mask(torch.ones(1, 3, dtype=torch.bool), torch.ones(1, 2, dtype=torch.bool))
    assert mask[0].int().tolist() == GRID
    lines = [line.split() for line in attention.__doc__.splitlines()]
    drawn = [line for line in lines if line and line[0] in {"t0", "t1", "t2", "s0", "e0", "s1", "e1"} and "1" in line]
    assert [[int(cell) for cell in line[1:]] for line in drawn] == GRID


def test_padding_attends_to_itself_alone_and_nothing_attends_to_it():
    text = torch.tensor([[True, True, True], [True, False, False]])
    pairs = torch.tensor([[True, True], [True, False]])
    mask = dense_attention_mask(text, pairs)
    assert mask[0].int().tolist() == GRID
    assert mask[1].int().tolist() == [
        [1, 0, 0, 0, 0, 0, 0],
        [0, 1, 0, 0, 0, 0, 0],
        [0, 0, 1, 0, 0, 0, 0],
        [1, 0, 0, 1, 1, 0, 0],
        [1, 0, 0, 1, 1, 0, 0],
        [0, 0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 0, 1],
    ]


def test_the_example_sentence():
    model = build_model("roberta", "dense", entity_max_length=8)
    batch = collate(model, [ANDORRA])
    assert batch["span_counts"].tolist() == [36]
    num_text, num_spans = batch["input_ids"].shape[1], 36
    mask = dense_attention_mask(batch["attention_mask"], torch.ones(1, num_spans, dtype=torch.bool))[0]
    length = num_text + 2 * num_spans
    expected = [[may_attend(query, key, num_text) for key in range(length)] for query in range(length)]
    assert mask.tolist() == expected

    word_ids = model.tokenizer.tokenizer(ANDORRA, is_split_into_words=True).word_ids()
    words = [[index for index, word in enumerate(word_ids) if word == number] for number in range(8)]
    assert max(map(len, words)) > 1, "some word needs several tokens for this test to mean something"
    starts, ends = batch["span_tokens"].T.tolist()
    assert set(starts) == {tokens[0] for tokens in words}
    assert set(ends) == {tokens[-1] for tokens in words}
    first_words, last_words = batch["span_words"].T.tolist()
    assert starts == [words[first][0] for first in first_words]
    assert ends == [words[last - 1][-1] for last in last_words]


def test_rows_of_one_sentence_are_not_copied():
    packed = torch.randn(2, 5, 3)
    rows = PackedRows.from_lengths([0], [5], packed.device)
    assert rows.pad(packed).data_ptr() == packed.data_ptr()


@pytest.mark.parametrize("lengths", [[3, 0, 5], [1, 1], [0, 2], [4]])
def test_unpad_undoes_pad(lengths):
    packed = torch.randn(2, sum(lengths), 3)
    firsts = [sum(lengths[:index]) for index in range(len(lengths))]
    rows = PackedRows.from_lengths(firsts, lengths, packed.device)
    padded = rows.pad(packed)
    assert padded.shape == (2, len(lengths), max(lengths), 3)
    torch.testing.assert_close(rows.unpad(padded), packed.transpose(0, 1))


def test_candidates_may_have_any_number_of_markers():
    for size in (1, 3, 4):
        mask = dense_attention_mask(torch.ones(1, 2, dtype=torch.bool), torch.ones(1, 3, dtype=torch.bool), size)[0]
        length = 2 + 3 * size
        expected = [[may_attend(query, key, 2, size) for key in range(length)] for query in range(length)]
        assert mask.tolist() == expected


def attend(query, key, value, text_key, text_value, dropout=0.0, size=2):
    """All of a marker's attention, ``(num_markers, heads, dim)``, for one sentence."""
    scores = partner_scores(query, key, size)
    padded = (x[:, None] for x in (query, scores, text_key, text_value))
    text_part, weights = attend_to_text_and_partners(*padded, None, None, dropout)
    return add_partner_values(text_part[:, 0].transpose(0, 1), weights[:, 0].transpose(0, 1), value)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_attention_is_softmax_over_text_and_partners(size):
    heads, spans, text_len, dim = 2, 4, 5, 6
    query, key, value = torch.randn(3, heads, size * spans, dim)
    text_key, text_value = torch.randn(2, heads, text_len, dim)
    output = attend(query, key, value, text_key, text_value, size=size)
    for marker in range(size * spans):
        first = marker - marker % size
        partners = list(range(first, first + size))
        keys = torch.cat([text_key, key[:, partners]], dim=1)
        values = torch.cat([text_value, value[:, partners]], dim=1)
        weights = (query[:, marker, None] @ keys.transpose(1, 2)).softmax(-1)  # (heads, 1, text_len + size)
        torch.testing.assert_close(output[marker], (weights @ values)[:, 0])


def test_dropout_applies_to_text_and_partner_weights():
    query, key, value = torch.randn(3, 2, 200, 4)
    text_key, text_value = torch.randn(2, 2, 7, 4)
    assert (attend(query, key, value, text_key, text_value, dropout=1.0) == 0).all()
    # Each of the nine weights is dropped alone, and the others grow to keep the mean.
    sums = attend(query, key, torch.ones_like(value), text_key, torch.ones_like(text_value), dropout=0.3)
    assert sums.std() > 0.1
    assert sums.mean().item() == pytest.approx(1.0, abs=0.1)
