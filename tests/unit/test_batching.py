import logging
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from helpers import approximately, check_margin
from tiny import SENTENCES, TEXT, build_model

import span_marker.preprocessing.batching
from span_marker.core.spans import num_candidates
from span_marker.preprocessing.batching import MemoryBudget, batches, run_in_batches
from span_marker.preprocessing.data_collator import SpanMarkerDataCollator
from span_marker.preprocessing.inputs import Sentences
from span_marker.preprocessing.pieces import into_pieces, tokenize

FULL = "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate"


@pytest.fixture(scope="module")
def model():
    return build_model("bert", entity_max_length=3)


@pytest.fixture(scope="module")
def rows(model):
    sentences = Sentences(SENTENCES * 4, are_texts=False)
    encodings = tokenize(sentences, model.tokenizer)
    pieces = into_pieces(sentences, encodings, model.tokenizer, model.config, model.max_text_length)
    return [piece.features() for piece in pieces]


def collator_of(model):
    return SpanMarkerDataCollator.for_model(model.tokenizer, model.config)


def num_tokens(batch):
    return int(batch["attention_mask"].sum()) + 2 * len(batch["span_tokens"])


def test_batches_are_bounded_and_the_longest_come_first():
    costs = [5, 9000, 1, 7, 8000, 200]
    groups = list(batches(costs, 2))
    assert sorted(index for group in groups for index in group) == list(range(6))
    assert groups[0] == [1]
    assert groups[1] == [4]
    assert all(len(group) <= 2 for group in groups)


@pytest.mark.parametrize("limit", [110, 300, 10_000])
def test_a_batch_that_does_not_fit_is_halved_until_it_does(model, rows, limit, caplog):
    tried = []

    def run(batch):
        tried.append(num_tokens(batch))
        if tried[-1] > limit:
            raise RuntimeError(FULL)
        return len(batch["span_counts"])

    done = list(run_in_batches(run, rows, collator_of(model), 32))
    assert sorted(index for indices, _, _ in done for index in indices) == list(range(len(rows)))
    assert all(num_tokens(batch) <= limit for _, batch, _ in done)
    assert [len(indices) for indices, _, _ in done] == [result for _, _, result in done]
    assert len(caplog.records) == (max(tried) > limit)  # one warning
    failed = [tokens for tokens in tried if tokens > limit]
    assert failed == sorted(set(failed), reverse=True)  # nothing as large is tried twice


def test_what_is_known_about_memory_lasts(model, rows):
    memory_budget, tried = MemoryBudget(), []

    def run(batch):
        tried.append(num_tokens(batch))
        if tried[-1] > 110:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    list(run_in_batches(run, rows, collator_of(model), 32, memory_budget=memory_budget))
    assert max(tried) > 110
    tried.clear()
    list(run_in_batches(run, rows, collator_of(model), 32, memory_budget=memory_budget))
    assert max(tried) <= 110


def test_a_single_text_that_does_not_fit_says_so(model, rows):
    def run(batch):
        raise RuntimeError(FULL)

    with pytest.raises(MemoryError, match=r"a single text with \d+ tokens.*lower model_max_length"):
        list(run_in_batches(run, rows[:1], collator_of(model), 32))


def test_other_errors_are_not_swallowed(model, rows):
    def run(batch):
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        list(run_in_batches(run, rows, collator_of(model), 32))


def test_predict_goes_on_when_memory_runs_out(model, monkeypatch, caplog):
    """With an allocation that really fails, and results as ever."""
    expected = model.predict(SENTENCES)
    check_margin(model, SENTENCES)  # batches of any size find the same
    original = model.score

    def score(batch, exact=None):
        if len(batch["span_counts"]) > 2:
            torch.empty(1 << 50)
        return original(batch, exact)

    monkeypatch.setattr(model, "score", score)
    with caplog.at_level(logging.WARNING):
        found = model.predict(SENTENCES)
    assert [[entity["span"] for entity in of] for of in found] == [[entity["span"] for entity in of] for of in expected]
    assert ["Out of memory" in record.getMessage() for record in caplog.records] == [True]


def test_eight_threads_find_what_one_finds():
    model = build_model("bert", entity_max_length=3, seed=9)  # without near ties
    texts = [text for line in TEXT.strip().splitlines() for text in line.split(". ")]
    inputs = [texts[index % 3 :] for index in range(24)]
    inputs += [[*SENTENCES, ["Paris"] * (index + 1)] for index in range(24)]
    # A library may run matrix products in fewer threads while others are busy.
    within = check_margin(model, texts, inputs[-1])
    expected = [approximately(model.predict(item), within) for item in inputs]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(model.predict, inputs)) == expected
        streams = pool.map(lambda item: list(model.predict_stream(item)), inputs)
        assert list(streams) == expected


def test_batches_keep_their_limits():
    costs = [words + 2 * num_candidates(words, 8) for words in (3, 50, 7, 0, 50, 2, 300)]
    found = list(batches(costs, batch_size=3))
    assert sorted(index for batch in found for index in batch) == list(range(7))
    assert found[0][0] == 6
    for batch in found:
        assert len(batch) <= 3
        assert (
            len(batch) == 1 or sum(costs[index] for index in batch) <= span_marker.preprocessing.batching.BATCH_TOKENS
        )
