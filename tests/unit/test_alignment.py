"""Entities in characters become entities in words."""

import unicodedata
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import SENTENCES, build_tokenizer

from span_marker.core.alignment import align
from span_marker.core.alignment import trim as trim_span
from span_marker.core.graphemes import graphemes
from span_marker.core.labels import LabelledSpan


@st.composite
def annotated_texts(draw):
    """A text, boundaries of words in it, and spans; words may hold white space, or nothing, or leave letters out."""
    text = draw(st.text("ab \n\u00a0", max_size=14))
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=10)))
    bounds = [bound for bound in zip(cuts, cuts[1:]) if draw(st.booleans())]  # noqa: B905, RUF007
    place = st.tuples(st.integers(0, len(text)), st.integers(0, len(text))).filter(lambda pair: pair[0] < pair[1])
    pairs = draw(st.lists(place, max_size=6)) if text else []
    return text, bounds, [LabelledSpan(f"L{index}", *pair) for index, pair in enumerate(pairs)]


def is_ignored(char):
    return char.isspace() or unicodedata.category(char) in ("Mn", "Cf")


def trim(text, start, end):
    while start < end and is_ignored(text[start]):
        start += 1
    while start < end and is_ignored(text[end - 1]):
        end -= 1
    return start, end


def naive_align(spans, text, bounds):
    """Compare each span with every pair of words."""
    words = [trim(text, *bound) for bound in bounds]
    full = [index for index, (start, end) in enumerate(words) if start < end]
    aligned, others = [], []
    for span in spans:
        wanted = trim(text, span.start, span.end)
        found = [(i, j + 1) for i in full for j in full if i <= j and (words[i][0], words[j][1]) == wanted]
        if found and wanted[0] < wanted[1]:
            aligned.append(LabelledSpan(span.label, *found[0]))
        else:
            others.append(span)
    return aligned, others


@given(annotated_texts())
def test_entities_are_aligned_as_a_naive_search_aligns_them(annotated):
    text, bounds, spans = annotated
    char_starts, char_ends = np.array(bounds, dtype=np.int64).reshape(-1, 2).T
    assert align(spans, text, char_starts, char_ends) == naive_align(spans, text, bounds)


@pytest.mark.parametrize("kind", ["wordpiece", "bytelevel", "unigram"])
@pytest.mark.parametrize("gap", [" ", "  ", "\n\t"])
def test_words_of_every_tokenizer_are_found_again(kind, gap):
    words = SENTENCES[0]
    text = gap + gap.join(words) + gap
    starts = [len(gap.join(["", *words[:index], ""])) for index in range(len(words))]
    spans = [
        LabelledSpan("X", starts[i], starts[j] + len(words[j])) for i in range(len(words)) for j in range(i, len(words))
    ]
    sentence = build_tokenizer(kind).encode_texts([text])[0]
    aligned, others = align(spans, text, sentence.char_starts, sentence.char_ends)
    assert others == []
    for span, (_, start, end) in zip(spans, aligned, strict=True):
        found = text[sentence.char_starts[start] : sentence.char_ends[end - 1]]
        assert found.strip() == text[span.start : span.end]


def test_an_entity_that_cuts_a_word_is_handed_back():
    cut = [LabelledSpan("X", 0, 2), LabelledSpan("X", 1, 3), LabelledSpan("X", 3, 4)]
    assert align(cut, "Ann Lee", np.array([0, 3]), np.array([3, 7])) == ([], cut)


def test_format_characters_that_a_tokenizer_drops_do_not_matter():
    text = "Beyonce\u0301\u200b sang"  # an accent, which belongs to its letter, and a space of no width
    starts, ends = np.array([0, 10]), np.array([8, 14])
    for end in (8, 9):
        assert align([LabelledSpan("PER", 0, end)], text, starts, ends) == ([LabelledSpan("PER", 0, 1)], [])


PARTS = ["e\u0301", "\u0301", " ", "\u200b", "\u0600", "a", "👩\u200d👧", "นี้"]


@given(st.lists(st.sampled_from(PARTS), max_size=8), st.data())
def test_edges_of_graphemes_stay_edges(parts, data):
    text = "".join(parts)
    edges = [0, *accumulate(map(len, graphemes(text)))]
    start, end = sorted(data.draw(st.tuples(st.sampled_from(edges), st.sampled_from(edges))))
    for keep_marks in (False, True):
        found = trim_span(text, start, end, keep_marks)
        assert set(found) <= set(edges)
        assert start <= found[0] <= found[1] <= end
        kept, dropped = text[slice(*found)], text[start : found[0]] + text[found[1] : end]
        assert kept == kept.strip()
        assert not dropped.strip() if keep_marks else all(map(is_ignored, dropped))
        assert kept or not text[start:end].strip(), "only white space leaves nothing"
