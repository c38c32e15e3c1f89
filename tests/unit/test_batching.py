import itertools
import logging
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import pytest
import torch
from helpers import approximately, check_margin, score_rounding
from tiny import SENTENCES, TEXT, build_model

import span_marker.preprocessing.batching
from span_marker import SpanMarkerModel
from span_marker.core.spans import num_candidates
from span_marker.preprocessing.batching import MemoryBudget, batches, in_turn, run_in_batches
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


@pytest.mark.usefixtures("four_threads")
def test_batches_that_run_at_the_same_time_come_in_order(model, rows):
    """However long each takes, and whichever do not fit into memory."""
    number, together, threads = itertools.count(), threading.Barrier(2), set()

    def run(batch):
        threads.add(threading.get_ident())
        if next(number) < 2:
            together.wait(timeout=30)  # or they don't run at the same time
        if num_tokens(batch) > 600:
            raise MemoryError
        time.sleep(0.01 / len(batch["span_counts"]))
        return batch["rows"].tolist()

    many = rows * 20
    with model.hire_workers(4) as workers:
        done = list(run_in_batches(run, many, collator_of(model), 8, hire=lambda count: nullcontext(workers)))
    assert sorted(index for indices, _, _ in done for index in indices) == list(range(len(many)))
    assert all([many[index]["row"] for index in indices] == found for indices, _, found in done)
    assert threading.get_ident() not in threads


@pytest.mark.usefixtures("four_threads")
def test_what_does_not_run_yet_is_left_when_nobody_waits_for_it(model, rows):
    begun, number = [], itertools.count()

    def run(batch):
        begun.append(batch)
        if next(number) == 2:
            raise ZeroDivisionError
        time.sleep(0.01)

    with pytest.raises(ZeroDivisionError):
        list(run_in_batches(run, rows * 40, collator_of(model), 2, hire=model.hire_workers))
    assert 3 <= len(begun) <= 12
    del begun[:]
    results = run_in_batches(run, rows * 40, collator_of(model), 2, hire=model.hire_workers)
    next(results)
    results.close()
    assert len(begun) <= 8


@pytest.mark.usefixtures("four_threads")
def test_what_does_not_fit_beside_others_is_tried_alone(model, rows):
    """When the others are done, and their failed attempts are forgotten."""
    collator, many = collator_of(model), rows * 20
    limit = max(num_tokens(collator.collate([row])) for row in many)
    sizes, lock = weakref.WeakKeyDictionary(), threading.Lock()

    class Attempt:
        """Takes memory until nothing refers to it: if it fails, until nothing refers to its error."""

        def __init__(self, batch):
            with lock:
                sizes[self] = num_tokens(batch)
                is_full = sum(sizes.values()) > limit
            if is_full:
                raise MemoryError

    def run(batch):
        attempt = Attempt(batch)
        time.sleep(0.001)
        del attempt

    done = list(run_in_batches(run, many, collator, 8, hire=model.hire_workers))
    assert sorted(index for indices, _, _ in done for index in indices) == list(range(len(many)))


@pytest.mark.usefixtures("four_threads")
def test_threads_find_what_one_finds(monkeypatch):
    model = build_model("bert", entity_max_length=3, seed=9)
    texts = [text for line in TEXT.strip().splitlines() for text in line.split(". ")] * 12
    texts.append(" ".join(texts[:8]))  # windows
    within = check_margin(model, texts)
    found, coverages = model.predict(texts, return_coverage=True)
    monkeypatch.setattr(SpanMarkerModel, "hire_workers", lambda self, count: in_turn(count))
    expected, expected_coverages = model.predict(texts, return_coverage=True)
    assert found == approximately(expected, within)
    assert coverages == expected_coverages
    assert torch.get_num_threads() == 4


@pytest.mark.usefixtures("four_threads")
def test_a_model_in_training_mode_predicts_in_evaluation_mode_until_the_last_batch(model):
    texts = [TEXT.strip().splitlines()[0]] * 100
    expected = model.predict(texts)
    model.train()
    try:
        assert model.predict(texts) == approximately(expected, score_rounding(model))
        assert model.training
    finally:
        model.eval()


@pytest.mark.parametrize("num_workers", [1, 2, 3, 8])
@pytest.mark.parametrize("num_sentences", [1, 2, 9, 32, 100])
def test_each_worker_gets_a_share(num_workers, num_sentences):
    costs = [7 * number % 90 + 10 for number in range(num_sentences)]
    totals = [sum(costs[index] for index in batch) for batch in batches(costs, 1000, num_workers)]
    assert len(totals) <= num_workers
    assert max(totals) <= sum(costs) / num_workers + max(costs)


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
