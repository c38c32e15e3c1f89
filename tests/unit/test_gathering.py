"""The figures at all thresholds, which are read from one selection, against a selection at each threshold."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from span_marker.core.decoding import DECODINGS, RULES, Decoder
from span_marker.core.labels import LabelledSpan
from span_marker.core.metrics import NO_BEST_THRESHOLD, compute_metrics, threshold_metrics
from span_marker.core.spans import enumerate_spans
from span_marker.preprocessing.data_collator import IGNORE_INDEX, pad_entities
from span_marker.training.gathering import (
    Gathered,
    merge_ranked,
    pad_spans,
    proposal_limits,
    right_spans,
)

CLASSES = ["O", "X", "Y"]


@st.composite
def scored_sentences(draw, longest):
    """Candidates of sentences with class scores, many of them equal, the rows they come in, and gold entities."""
    num_words = np.array(draw(st.lists(st.integers(0, 6), min_size=1, max_size=3)))
    spans = enumerate_spans(num_words, longest)
    size = len(spans.starts) * len(CLASSES)
    values = draw(st.lists(st.sampled_from([-1.0, 0.0, 0.25, 2.0]), min_size=size, max_size=size))
    rows: list[tuple[int, int, bool]] = []  # sentence, number of candidates, whether it is the whole sentence
    for sentence, count in enumerate(spans.counts.tolist()):
        first = draw(st.integers(0, count))
        windows = [first, count - first] if draw(st.booleans()) else [count]
        rows += [(sentence, window, len(windows) == 1) for window in windows]
    entity = st.tuples(st.integers(1, 2), st.integers(0, 5), st.integers(1, 4))
    gold = [
        [(label, start, start + length) for label, start, length in draw(st.lists(entity, max_size=3, unique=True))]
        + [(1, -1, -1)] * draw(st.integers(0, 1))  # within a word
        for _ in num_words
    ]
    words = torch.from_numpy(np.stack([spans.starts, spans.ends], axis=1))
    return torch.tensor(values).reshape(-1, len(CLASSES)), words, spans.counts, rows, gold


def decoders(multi_label, decoding):
    greedy = RULES[decoding].greedy
    return lambda threshold: Decoder(
        0, multi_label, thresholds=np.full(len(CLASSES), threshold, dtype=np.float32), decoding=greedy
    )


def ranked_spans(logits, words, rows, decoder):
    """What evaluation makes of the rows."""
    counts = torch.tensor([count for _, count, _ in rows])
    limits = proposal_limits(words.numpy(), counts.numpy())
    proposed = decoder.propose(logits, words, counts, limits)
    spans = [decoder.select(row) if whole else row for row, (_, _, whole) in zip(proposed, rows, strict=True)]
    assert all(len(row) <= limit for row, limit in zip(spans, limits, strict=True))
    entities, scores = pad_spans(spans)
    sentences = np.array([sentence for sentence, _, _ in rows])
    blank = np.full((len(rows), 0, 2), IGNORE_INDEX)
    gathered = Gathered(entities[:, :0], scores[:, :0], entities, scores, sentences, blank, counts)
    return merge_ranked(gathered, decoder)


def labeled(spans):
    return [[LabelledSpan(CLASSES[label], start, end) for label, start, end, *_ in row] for row in spans]


@pytest.mark.parametrize("decoding", DECODINGS)
@pytest.mark.parametrize(("multi_label", "longest"), [(False, 4), (True, 2)])
@given(data=st.data())
def test_one_selection_gives_what_a_selection_at_each_threshold_does(multi_label, longest, decoding, data):
    logits, words, counts, rows, gold = data.draw(scored_sentences(longest))
    decoder = decoders(multi_label, decoding)
    ranked = ranked_spans(logits, words, rows, decoder(0.0))
    padded = pad_entities([np.array(row, dtype=np.int64).reshape(-1, 3) for row in gold])
    metrics = threshold_metrics(*right_spans(ranked, padded), sum(map(len, gold)))

    everything = decoder(0.0).propose(logits, words, torch.from_numpy(counts))
    f1, recall, average = {0.0: 0.0}, 0.0, 0.0
    for threshold in sorted({span.score for row in everything for span in row}, reverse=True):
        at_threshold = decoder(threshold)
        proposed = at_threshold.propose(logits, words, torch.from_numpy(counts))
        found = labeled(map(at_threshold.select, proposed))
        figures = compute_metrics(labeled(gold), found, [9] * len(gold))
        f1[threshold] = figures["overall_f1"]
        average += (figures["overall_recall"] - recall) * figures["overall_precision"]
        recall = figures["overall_recall"]
    assert metrics["overall_best_f1"] == max(f1.values())
    assert metrics["overall_average_precision"] == pytest.approx(average)
    if metrics["overall_best_f1"]:
        at_best = decoder(metrics["overall_best_threshold"])
        found = labeled(map(at_best.select, at_best.propose(logits, words, torch.from_numpy(counts))))
        assert compute_metrics(labeled(gold), found, [9] * len(gold))["overall_f1"] == max(f1.values())
    else:
        assert metrics["overall_best_threshold"] == NO_BEST_THRESHOLD


@pytest.mark.parametrize("decoding", DECODINGS)
def test_few_spans_are_kept_however_many_candidates_there_are(decoding):
    """With equal scores, they are the first; with others, the most probable of each sentence."""
    num_words = np.array([40, 0, 3])
    spans = enumerate_spans(num_words, 30)
    words = torch.from_numpy(np.stack([spans.starts, spans.ends], axis=1))
    rows = [(sentence, count, True) for sentence, count in enumerate(spans.counts.tolist())]
    logits = torch.randn(len(words), 3, generator=torch.Generator().manual_seed(0))
    decoder = decoders(multi_label=True, decoding=decoding)(0.0)
    entities, scores = ranked_spans(logits, words, rows, decoder)
    num_spans = (entities[..., 0] != IGNORE_INDEX).sum(axis=1)
    assert (num_spans <= 4 * num_words).all()
    proposed = decoder.propose(logits, words, torch.from_numpy(spans.counts))
    for limit, row, found in zip(4 * num_words, proposed, scores, strict=True):
        most_probable = sorted(row, key=lambda span: -span.score)[:limit]
        expected = [np.float32(span.score) for span in decoder.select(most_probable)]
        assert found[found >= 0].tolist() == expected


def test_spans_out_of_annotated_sentences_are_never_right():
    ranked = pad_spans(
        [[], decoders(False, "flat")(0.0).propose(torch.zeros(1, 3), torch.tensor([[0, 1]]), torch.tensor([1]))[0]]
    )
    scores, is_right = right_spans(ranked, pad_entities([np.array([[1, 0, 1]]), np.zeros((0, 3), dtype=np.int64)]))
    assert scores.tolist() == [pytest.approx(1 / 3)]
    assert not is_right.any()
