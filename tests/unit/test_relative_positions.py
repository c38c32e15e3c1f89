"""A marker behind the text sees it as its token would: worked examples with the published distances."""

from dataclasses import replace

import pytest
import torch
from helpers import collate, rounding
from tiny import SENTENCES, build_model
from transformers.models.mpnet.modeling_mpnet import MPNetEncoder

from span_marker.encoders.families import FAMILIES
from span_marker.encoders.families.deberta import relative_table
from span_marker.encoders.relative_positions import DisentangledScores, DistanceScores, SlidingWindow, distances

# Text of six tokens; a start marker that observes token 3, and an end marker that observes token 4.
TEXT = torch.arange(2, 8)[None]
MARKERS = torch.tensor([[5, 6]])


def test_distances_are_those_of_positions():
    assert distances(MARKERS, TEXT).tolist() == [[[3, 2, 1, 0, -1, -2], [4, 3, 2, 1, 0, -1]]]
    assert distances(MARKERS, MARKERS).tolist() == [[[0, -1], [1, 0]]]


@pytest.mark.parametrize("family", ["t5", "mt5", "mpnet"])
def test_markers_look_up_the_buckets_of_their_tokens(family):
    # Buckets as published for T5 (Raffel et al. 2020) and MPNet: 0 to 15 for keys in front, from 17 for those behind.
    expected = {"markers": [[3, 2, 1, 0, 17, 18], [4, 3, 2, 1, 0, 17]], "pair": [[0, 17], [1, 0]]}
    stack = build_model(family).encoder.encoder
    if family == "mpnet":
        embedding, bucket_of = stack.relative_attention_bias, MPNetEncoder.relative_position_bucket
    else:
        attention = stack.block[0].layer[0].SelfAttention
        embedding, bucket_of = attention.relative_attention_bias, attention._relative_position_bucket
    scores = DistanceScores.from_embedding(embedding, bucket_of, limit=6)
    nothing = torch.empty(0)
    for keys, buckets in ((TEXT, expected["markers"]), (MARKERS, expected["pair"])):
        found = scores(nothing, nothing, MARKERS, keys, 6)
        torch.testing.assert_close(found[:, 0], embedding.weight[torch.tensor(buckets)].permute(2, 0, 1))


@pytest.mark.parametrize(
    ("family", "rows"),
    [
        # Rows of distances -6 to 6: of a table of 2 x 130 relative positions, as they are.
        ("deberta", [124, 125, 126, 127, 128, 129, 130, 131, 132, 133, 134, 135, 136]),
        # Of one of 2 x 8 buckets, which count in logarithmic steps from distance 4 on (He et al. 2021, DeBERTaV3).
        ("deberta-v3", [3, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 13]),
    ],
)
def test_rows_of_the_table_of_deberta(family, rows):
    encoder = build_model(family).encoder
    table = relative_table(encoder, 6)
    assert [row + rows[0] for row in table.rows] == rows
    torch.testing.assert_close(table.embeds, encoder.encoder.get_rel_embedding()[rows[0] : rows[-1] + 1])


def test_disentangled_scores_are_products_with_the_row_of_each_distance():
    heads, dim, limit = 2, 4, 9
    rows = [max(-3, min(3, distance)) + 3 for distance in range(-limit, limit + 1)]
    table = torch.tensor(rows)
    query, key = torch.randn(heads, 1, 2, dim), torch.randn(heads, 1, 6, dim)
    keys, queries = torch.randn(2, heads, 7, dim)
    for with_keys, with_queries in ((True, True), (True, False), (False, True)):
        scores = DisentangledScores(rows, table, keys if with_keys else None, queries if with_queries else None)
        found = scores(query, key, MARKERS, TEXT, max_distance=6)
        for head in range(heads):
            for marker in range(2):
                for token in range(6):
                    row = rows[int(MARKERS[0, marker] - TEXT[0, token]) + limit]
                    expected = torch.zeros(())
                    if with_keys:
                        expected = expected + query[head, 0, marker] @ keys[head, row]
                    if with_queries:
                        expected = expected + key[head, 0, token] @ queries[head, row]
                    torch.testing.assert_close(found[head, 0, marker, token], expected)
    assert DisentangledScores(rows, table, None, None)(query, key, MARKERS, TEXT, max_distance=6) is None


def test_a_window_is_a_distance_in_positions():
    query = torch.empty(2, 1, 2, 4)
    window = SlidingWindow(2)
    assert window(query, query, MARKERS, TEXT, 2) is None
    seen = window(query, query, MARKERS, TEXT, 6) == 0
    assert seen[0].int().tolist() == [[[0, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1]]]


@pytest.mark.parametrize("family", ["deberta", "deberta-v3", "eurobert", "modernbert", "mt5", "nomic_bert", "t5"])
def test_text_is_read_as_the_encoder_itself_reads_it(family):
    # These look at distances alone, so that position IDs from 2 on make no difference.
    model = build_model(family, "dense", entity_max_length=2)
    batch = collate(model, [SENTENCES[2]])
    text_len = batch["input_ids"].shape[1]
    assert text_len > 10, "longer than the window of the local layers"
    states = []

    def recording(encoder, inputs):
        states.append(FAMILIES[encoder.config.model_type].run_dense(encoder, inputs))
        return states[-1]

    def alone(model):
        return model.encoder(input_ids=batch["input_ids"]).last_hidden_state

    within = rounding(model, alone)
    with torch.no_grad():
        expected = alone(model)
        model.engine = replace(model.engine, family=replace(model.engine.family, run_dense=recording))
        model(**{name: batch[name] for name in ("input_ids", "attention_mask", "span_tokens", "span_counts")})
    torch.testing.assert_close(states[0][:, :text_len], expected, atol=within, rtol=0)


@pytest.mark.parametrize("family", ["bert", "modernbert", "deberta-v3"])
def test_position_ids_of_the_worked_example(family):
    model = build_model(family, entity_max_length=2)
    batch = collate(model, [["Paris", "is", "Paris"]])
    seen = []

    def recording(encoder, embeds, position_ids, span_pass):
        seen.append(position_ids.tolist())
        return FAMILIES[encoder.config.model_type].run_packed(encoder, embeds, position_ids, span_pass)

    model.engine = replace(model.engine, family=replace(model.engine.family, run_packed=recording))
    with torch.no_grad():
        model(**{name: batch[name] for name in ("input_ids", "attention_mask", "span_tokens", "span_counts")})
    word_ids = model.tokenizer.tokenizer(["Paris", "is", "Paris"], is_split_into_words=True).word_ids()
    first = {word: word_ids.index(word) + 2 for word in range(3)}
    last = {word: len(word_ids) - 1 - word_ids[::-1].index(word) + 2 for word in range(3)}
    text = list(range(2, len(word_ids) + 2))
    spans = [(0, 0), (0, 1), (1, 1), (1, 2), (2, 2)]
    assert seen == [text + [position for start, end in spans for position in (first[start], last[end])]]
