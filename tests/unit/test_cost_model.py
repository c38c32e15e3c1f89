"""The counts of benchmarks/cost_model.py are those of what runs."""

from dataclasses import replace

import pytest
from cost_model import HOST_TERMS, KINDS, Encoder, Kind, Text, Work, fit, seconds_of, work_of, work_of_batch
from tiny import build_model
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

MAX_LENGTH = 3
TEXTS = [" ".join(["Paris"] * 9)] * 4


def counted(exact):
    """A model's own count of operations for a batch, and that of the model of costs."""
    model = build_model(entity_max_length=MAX_LENGTH, candidates_per_word=1)
    model.add_span_filter()
    model.engine = replace(model.engine, max_markers=64)  # few enough that texts do not run in the same pass
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        _, coverages = model.predict(TEXTS, 4, is_split_into_words=False, exact=exact, return_coverage=True)
    per_word = None if exact else 1
    texts = [Text.from_lengths(c.num_words, c.num_tokens + 2, MAX_LENGTH, per_word) for c in coverages]
    assert [text.kept for text in texts] == [c.num_scored - c.num_dropped for c in coverages]
    encoder = Encoder.from_config(model.config.encoder, len(model.config.classes))
    return counter.get_total_flops(), work_of(encoder, texts, not exact, 4), encoder, texts


@pytest.mark.parametrize("exact", [True, False])
def test_operations_are_those_that_torch_counts(exact):
    total, work, encoder, texts = counted(exact)
    markers = [2 * text.kept for text in texts]
    # Products of a marker and its pair are no matrix products, and the filter's last layer has a single row.
    partners = 4 * encoder.hidden * encoder.num_layers * sum(2 * number for number in markers)
    scores = 0 if exact else 2 * 64 * sum(text.candidates for text in texts)
    unread = 2 * 2 * encoder.hidden * encoder.num_labels * work.kept  # states of tokens, which this classifier lacks
    assert total == pytest.approx(work.operations - partners - unread + scores, rel=1e-9)


def test_one_text_is_worth_as_many_operations_in_any_batch():
    encoder = Encoder(6, 384, 4 * 384**2 + 2 * 384 * 1536, 1536, 12, 5)
    texts = [Text.from_lengths(words, words + 2, 8, per_word) for words in (1, 7, 40) for per_word in (None, 1)]
    alone = sum((work_of_batch(encoder, [text], True) for text in texts), Work())
    together = work_of_batch(encoder, texts, True)
    assert together.operations == pytest.approx(alone.operations)
    assert together.bytes < alone.bytes  # weights are read once
    assert together.layer_runs < alone.layer_runs
    assert work_of(encoder, texts, True, 1) == alone


def test_the_filter_keeps_no_more_than_there_are():
    assert Text.from_lengths(3, 5, 8, 4.0) == Text(5, 6, 6)
    assert Text.from_lengths(3, 5, 8, 0.5) == Text(5, 6, 2)
    assert Text.from_lengths(0, 2, 8, None) == Text(2, 0, 0)


def test_units_that_were_put_in_come_out():
    rates = {"documents": 1e-4, "batches": 3e-4, "tokens": 1e-6, "candidates": 0.0, "kept": 5e-7}
    works = [
        Work(documents=d, batches=b, tokens=t, candidates=c, kept=k)
        for d, b, t, c, k in [
            (1, 1, 9, 90, 9),
            (32, 1, 500, 900, 80),
            (4, 4, 80, 10, 9),
            (9, 1, 70, 7, 7),
            (5, 2, 1, 1, 0),
            (7, 7, 700, 9, 1),
        ]
    ]
    found = fit(HOST_TERMS, works, [seconds_of(rates, work) for work in works])
    assert found == pytest.approx(rates, rel=1e-6, abs=1e-12)


def test_a_document_costs_as_much_as_its_sentences():
    encoder = Encoder(2, 32, 4 * 32**2 + 2 * 32 * 64, 64, 2, 3)
    one, many = (Kind("x", sentences, 20).work(encoder, 8, 1.0, 32) for sentences in (1, 30))
    assert many.operations == pytest.approx(30 * one.operations)
    assert many.documents == pytest.approx(30)


def test_kinds_read_and_write_their_text():
    for kind in KINDS:
        assert kind.bytes_written > kind.bytes_read == 6 * kind.words * kind.sentences
