"""The candidate filter: what it scores, what it keeps, and that it changes no other score."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import collate, filter_scores, logit_rounding
from hypothesis import given
from hypothesis import strategies as st
from oracle import as_double
from tiny import ENCODERS, SENTENCES, TOKEN_STATE_SIZES, UNLIKE, build_model
from torch.utils.flop_counter import FlopCounterMode

from span_marker import SpanMarkerModel
from span_marker.candidate_filter.head import NUM_LENGTHS, RANK, SpanFilter
from span_marker.core.spans import best_candidates, enumerate_spans
from span_marker.preprocessing.data_collator import MODEL_INPUTS

ENTITIES = [
    [("PER", 0, 2), ("LOC", 5, 6)],
    [("LOC", 0, 1)],
    [("PER", 0, 3), ("LOC", 8, 9), ("LOC", 10, 11)],
    [],
    [("PER", 0, 1), ("LOC", 2, 3)],
]


def with_filter(model, share_kept=0.3):
    """Give a model a random filter that keeps about so many candidates."""
    torch.manual_seed(1)
    model.add_span_filter()
    torch.nn.init.normal_(model.span_filter.length.weight)
    scores = filter_scores(model, SENTENCES)
    threshold = float(scores.quantile(1 - share_kept))
    model.config.span_filter = replace(
        model.config.span_filter,
        threshold=threshold,
        entity_max_length=model.config.entity_max_length,
        recall=0.9,
        candidates_kept=share_kept,
    )
    return model


def best_of(batch, scores, per_word):
    lengths = batch["span_words"].diff(dim=1)[:, 0]
    arrays = (tensor.numpy() for tensor in (scores, lengths, batch["span_counts"]))
    return torch.from_numpy(best_candidates(*arrays, per_word))


def test_scores_are_those_of_the_formula():
    torch.manual_seed(0)
    span_filter = SpanFilter(8).double()
    torch.nn.init.normal_(span_filter.length.weight)
    states = torch.randn(5, 8).double()
    rows, lengths = torch.tensor([[0, 0], [1, 4], [3, 2]]), torch.tensor([1, 4, NUM_LENGTHS + 7])
    normal = (states - states.mean(1, keepdim=True)) / (states.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    for (first, last), length, score in zip(rows, lengths, span_filter(states, rows, lengths), strict=True):
        hidden = (
            span_filter.first.weight @ normal[first] + span_filter.first.bias + span_filter.last.weight @ normal[last]
        )
        hidden = hidden + span_filter.length.weight[min(int(length), NUM_LENGTHS) - 1]
        expected = span_filter.score.weight[0] @ hidden.clamp(min=0) + span_filter.score.bias[0]
        torch.testing.assert_close(score, expected)


def test_a_new_filter_expects_few_entities():
    with torch.no_grad():
        scores = SpanFilter(16)(torch.randn(50, 16), torch.randint(50, (200, 2)), torch.ones(200, dtype=torch.long))
    assert abs(float(scores.sigmoid().median()) - 0.02) < 0.01


def test_the_filter_costs_little_beside_the_texts():
    model = with_filter(build_model("bert", entity_max_length=6))
    words = ["Paris"] * 24
    batch = collate(model, [words])
    num_tokens, hidden, layers = int(batch["attention_mask"].sum()), 384, 6  # of the smallest encoder in use
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        states, rows = torch.randn(num_tokens, hidden), batch["span_tokens"]
        SpanFilter(hidden)(states, rows, torch.ones(len(rows), dtype=torch.long))
    additions = 4 * RANK * len(rows)  # for each candidate; the counter knows matrix products alone
    text = 2 * num_tokens * hidden**2 * (12 * (layers - 1) + 2)
    assert (counter.get_total_flops() + additions) / text < 0.03


@given(st.lists(st.integers(0, 9), min_size=1, max_size=5), st.sampled_from([0.25, 1, 1.5, 4]), st.integers(0, 1000))
def test_the_best_of_each_sentence_are_found(words, per_word, seed):
    spans = enumerate_spans(np.array(words), 4)
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(5, (len(spans.starts),), generator=generator).float().numpy()  # with ties
    expected, first = set(), 0
    for num_words, count in zip(words, spans.counts.tolist(), strict=True):
        order = sorted(range(first, first + count), key=lambda span: (-float(scores[span]), span))
        expected |= set(order[: math.ceil(per_word * num_words)])
        first += count
    is_best = best_candidates(scores, spans.ends - spans.starts, spans.counts, per_word)
    assert np.flatnonzero(is_best).tolist() == sorted(expected)


@pytest.mark.parametrize("family", ENCODERS)
def test_survivors_have_their_exact_scores(family):
    model = with_filter(build_model(family, "fast", entity_max_length=4))
    batch = {name: tensor for name, tensor in collate(model, SENTENCES).items() if name in MODEL_INPUTS}
    with torch.no_grad():
        filtered, exact = model(**batch), model(**batch, exact=True)
    assert exact.kept is None
    # Scores of the same texts, by the same operations on tensors of the same shapes: nothing differs, not by a bit.
    assert (
        filtered.kept.tolist()
        == (filter_scores(model, SENTENCES) >= model.config.span_filter.threshold).nonzero()[:, 0].tolist()
    )
    assert 0 < len(filtered.kept) < len(exact.logits) / 2
    torch.testing.assert_close(filtered.logits, exact.logits[filtered.kept], atol=logit_rounding(model), rtol=0)


@pytest.mark.parametrize("family", ["bert", "albert", "deberta-v3", "modernbert"])
@pytest.mark.parametrize("per_word", [4, 0.5])
def test_training_adds_both_losses(family, per_word):
    """The loss of the kept candidates and the filter's, from the exact model's scores and the text states."""
    model = as_double(with_filter(build_model(family, "fast", entity_max_length=4))).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model.config.candidates_per_word = per_word
    batch = {name: tensor for name, tensor in collate(model, SENTENCES, ENTITIES).items() if name in MODEL_INPUTS}
    output = model(**batch)
    is_gold = batch["labels"] != model.config.outside_id
    scores = filter_scores(model, SENTENCES)
    kept = (is_gold | best_of(batch, scores, per_word)).nonzero()[:, 0]
    assert output.kept.tolist() == kept.tolist()
    assert len(output.kept) == len(scores) or per_word < 4
    model.config.candidates_per_word = None
    log_odds = scores.where(is_gold, -scores)
    exact = model(**{**batch, "labels": None}).logits.log_softmax(-1)[torch.arange(len(scores)), batch["labels"]]
    expected = -(log_odds.sigmoid().log().sum() + exact[kept].sum()) / len(scores)
    torch.testing.assert_close(output.loss.double(), expected, atol=1e-5, rtol=1e-5)
    output.loss.backward()
    for name, parameter in model.named_parameters():
        if "span_filter" in name or (".embeddings.word" in name):
            assert parameter.grad.abs().sum() > 0, name


def test_a_model_of_the_best_candidates_gives_markers_to_no_others():
    model = with_filter(build_model("bert", entity_max_length=4), share_kept=0.5)
    model.config.candidates_per_word = 0.5
    batch = {name: tensor for name, tensor in collate(model, SENTENCES).items() if name in MODEL_INPUTS}
    scores, tuned_filter = filter_scores(model, SENTENCES), model.config.span_filter
    model.config.span_filter = replace(tuned_filter, threshold=None)
    is_best = best_of(batch, scores, 0.5)
    with torch.no_grad():
        untuned = model(**batch)
        model.config.span_filter = replace(tuned_filter, threshold=float(scores[is_best].median()))
        tuned = model(**batch)
    assert untuned.kept.tolist() == model.examine(batch).kept.tolist() == is_best.nonzero()[:, 0].tolist()
    assert tuned.kept.tolist() == (is_best & (scores >= scores[is_best].median())).nonzero()[:, 0].tolist()
    assert tuned_filter.threshold < model.config.span_filter.threshold
    assert len(model(**batch, exact=True).logits) == len(scores)


def test_dropped_gold_spans_cost_in_evaluation():
    model = with_filter(build_model("bert", entity_max_length=4))
    batch = {name: tensor for name, tensor in collate(model, SENTENCES, ENTITIES).items() if name in MODEL_INPUTS}
    is_gold, scores = batch["labels"] != model.config.outside_id, filter_scores(model, SENTENCES)
    model.config.span_filter = replace(model.config.span_filter, threshold=1e6)
    with torch.no_grad():
        loss = model(**batch).loss
    expected = torch.nn.functional.binary_cross_entropy_with_logits(scores, is_gold.float())
    torch.testing.assert_close(loss, expected)


def test_the_dense_engine_trains_no_filter():
    model = build_model("bert", "dense", entity_max_length=4)
    model.config.candidates_per_word = 1
    batch = {name: tensor for name, tensor in collate(model, SENTENCES, ENTITIES).items() if name in MODEL_INPUTS}
    with pytest.raises(ValueError, match="need the fast engine"):
        model.train()(**batch)


def test_a_missing_filter_says_so():
    model = build_model("bert", entity_max_length=4)
    model.config.candidates_per_word = 1
    batch = {name: tensor for name, tensor in collate(model, SENTENCES, ENTITIES).items() if name in MODEL_INPUTS}
    with pytest.raises(ValueError, match=r"candidates_per_word=1, .*add_span_filter"):
        model.train()(**batch)


def test_texts_learn_from_the_filter():
    model = with_filter(build_model("bert", entity_max_length=3)).train()
    model.config.candidates_per_word = 0.5
    batch = {name: tensor for name, tensor in collate(model, SENTENCES, ENTITIES).items() if name in MODEL_INPUTS}
    model.classifier.weight.data.zero_()  # so that nothing comes from the markers
    model(**batch).loss.backward()
    last, before = (model.encoder.encoder.layer[place] for place in (-1, -2))
    assert last.attention.self.value.weight.grad.abs().sum() > 0
    assert before.output.dense.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_rest_of_the_last_layer_is_left_out_where_it_can_be(checkpointing):
    """Gradients are those of the exact model, with and without layers that run again."""
    gradients = []
    for switched in (False, checkpointing):
        model = as_double(with_filter(build_model("bert", entity_max_length=3))).train()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        model.config.candidates_per_word = 0.5
        if switched:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        batch = {name: tensor for name, tensor in collate(model, SENTENCES, ENTITIES).items() if name in MODEL_INPUTS}
        model(**batch).loss.backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    for name, gradient in gradients[0].items():
        if gradient is None:
            assert gradients[1][name] is None or not gradients[1][name].any()
        else:
            torch.testing.assert_close(gradients[1][name], gradient, atol=1e-10, rtol=1e-8)


def test_a_filter_of_another_encoder_is_refused():
    model = with_filter(build_model("bert", entity_max_length=3))
    model.span_filter = SpanFilter(48)
    with pytest.raises(ValueError, match=r"reads text states of size 48, but those of the encoder have size 32"):
        model.predict(SENTENCES)


def test_a_filter_of_other_candidates_is_refused():
    model = with_filter(build_model("bert", entity_max_length=3))
    model.config.entity_max_length = 5
    with pytest.raises(ValueError, match=r"entity_max_length=3 .*entity_max_length=5.*exact=True"):
        model.predict(SENTENCES)
    model.config.exact = True
    assert len(model.predict(SENTENCES)) == len(SENTENCES)


@pytest.mark.parametrize("family", [*TOKEN_STATE_SIZES, *UNLIKE])
def test_a_filter_is_saved_and_loaded_whatever_the_size_of_text_states(family, tmp_path):
    model = with_filter(build_model(family, entity_max_length=4))
    model.save_pretrained(tmp_path)
    loaded = SpanMarkerModel.from_pretrained(tmp_path)
    assert loaded.config.span_filter == model.config.span_filter
    assert loaded.predict(SENTENCES) == model.predict(SENTENCES)


def test_the_dense_engine_scores_all_candidates():
    model = with_filter(build_model("bert", "fast", entity_max_length=3))
    dense = build_model("bert", "dense", entity_max_length=3)
    with pytest.raises(ValueError, match="engine='auto'"):
        dense.add_span_filter()
    dense.span_filter, dense.config.span_filter = model.span_filter, model.config.span_filter
    exact, found = (some.predict(SENTENCES, exact=True) for some in (model, dense))
    assert [[(e["span"], e["label"]) for e in row] for row in found] == [
        [(e["span"], e["label"]) for e in row] for row in exact
    ]
    assert dense.predict(SENTENCES) == found


def test_training_without_span_words_is_refused():
    model = with_filter(build_model("bert", entity_max_length=3))
    batch = {name: tensor for name, tensor in collate(model, SENTENCES).items() if name in MODEL_INPUTS}
    del batch["span_words"]
    with pytest.raises(ValueError, match="span_words"):
        model(**batch)
