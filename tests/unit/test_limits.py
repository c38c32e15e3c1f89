from collections import Counter

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from tiny import SENTENCES, build_tokenizer

from span_marker.validation.limits import SHARES, entity_limits, suggest_entity_max_length, suggest_limits, text_limits

KEEP = st.sampled_from([0.001, 0.07, 0.5, 0.9, 0.995, 1.0])


@given(st.lists(st.integers(1, 12), min_size=1, max_size=60), KEEP)
def test_the_suggested_limit_is_the_shortest_that_keeps_enough(lengths, keep):
    limit = suggest_entity_max_length(np.array(lengths), keep)

    def kept(longest):
        return sum(length <= longest for length in lengths) / len(lengths)

    assert kept(limit) >= keep
    assert kept(limit - 1) < keep
    assert suggest_entity_max_length(Counter(lengths), keep) == limit


def test_a_share_that_is_met_exactly_is_enough():
    for kept in range(1, 101):
        assert (
            suggest_entity_max_length(Counter({1: kept, 9: 100 - kept}), float(f"0.{kept:02}") if kept < 100 else 1)
            == 1
        )


@pytest.mark.parametrize("keep", [0, -0.1, 1.01, 99.5])
def test_a_share_out_of_range_is_refused(keep):
    with pytest.raises(ValueError, match="must be above 0 and at most 1"):
        suggest_entity_max_length(np.array([1]), keep)


@pytest.mark.parametrize("lengths", [np.array([], dtype=np.int64), Counter()])
def test_without_entities_there_is_no_limit(lengths):
    with pytest.raises(ValueError, match="there are no entities"):
        suggest_entity_max_length(lengths)


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=20),
    st.lists(st.integers(0, 15), min_size=1, max_size=8),
    st.integers(1, 99),
)
def test_entity_limits_are_those_of_counting(lengths, num_words, num_tokens):
    def candidates(limit):
        return sum(1 for words in num_words for i in range(words) for j in range(i + 1, words + 1) if j - i <= limit)

    rows = entity_limits(np.array(lengths), np.array(num_words), num_tokens)
    assert [row.entity_max_length for row in rows] == sorted(set(lengths))
    slowest = num_tokens + 2 * candidates(max(lengths))
    for row in rows:
        limit = row.entity_max_length
        assert row.share_kept == pytest.approx(sum(length <= limit for length in lengths) / len(lengths))
        assert row.num_candidates == pytest.approx(candidates(limit) / len(num_words))
        assert row.speed_up == pytest.approx(slowest / (num_tokens + 2 * candidates(limit)))


@given(st.lists(st.integers(0, 40), min_size=1, max_size=50))
def test_text_limits_are_the_shortest_that_read_enough_sentences_whole(num_tokens):
    def whole(limit):
        return sum(tokens <= limit for tokens in num_tokens) / len(num_tokens)

    rows = text_limits(np.array(num_tokens))
    assert [row.share for row in rows] == list(SHARES)
    for row in rows:
        assert row.share_whole == whole(row.num_tokens)
        assert row.num_tokens == min(tokens for tokens in num_tokens if whole(tokens) >= row.share)


def entity(start, end):
    return {"label": "X", "start": start, "end": end}


WORDS = Dataset.from_dict(
    {
        "tokens": SENTENCES[:3],
        "entities": [[entity(0, 2), entity(1, 2)], [entity(0, 1)], [entity(0, 3), entity(5, 7), entity(8, 9)]],
    }
)
TAGS = Dataset.from_dict({"tokens": [["Paris", "New", "York"]], "ner_tags": [["B-LOC", "B-LOC", "I-LOC"]]})
TEXTS = Dataset.from_dict(
    {"text": ["Amelia Earhart flew"], "entities": [[entity(0, 14), entity(0, 3), entity(14, 19)]]}
)


@pytest.mark.parametrize("kind", ["wordpiece", "bytelevel", "unigram"])
def test_limits_are_taken_from_all_forms_and_all_splits(kind):
    tokenizer = build_tokenizer(kind)
    report = suggest_limits({"a": WORDS, "b": TAGS, "c": TEXTS}, tokenizer, keep=0.9)
    assert (report.num_sentences, report.num_entities, report.num_cut) == (5, 11, 1)
    lengths = [2, 1, 1, 3, 2, 1, 1, 2, 2, 1]  # in words; the last two of a text, one entity of which cuts a word
    assert [row.entity_max_length for row in report.entity_limits] == [1, 2, 3]
    assert [row.share_kept for row in report.entity_limits] == [0.5, 0.9, 1.0]
    assert report.entity_max_length == suggest_entity_max_length(np.array(lengths), 0.9) == 2
    encoded = tokenizer.encode_words([*WORDS["tokens"], *TAGS["tokens"]]) + tokenizer.encode_texts(TEXTS["text"][:])
    num_tokens = [len(sentence.input_ids) + 2 for sentence in encoded]
    assert report.text_limits == text_limits(np.array(num_tokens))
    assert report.model_max_length % 8 == 0
    assert max(num_tokens) <= report.model_max_length < max(num_tokens) + 8
    same = entity_limits(np.array(lengths), np.array([s.num_words for s in encoded]), sum(num_tokens))
    assert report.entity_limits == same


def test_the_text_limit_does_not_pass_that_of_the_encoder():
    tokenizer = build_tokenizer("wordpiece")
    assert suggest_limits(WORDS, tokenizer, text_limit=20).model_max_length == 20
    assert "read in windows" in str(suggest_limits(WORDS, tokenizer, text_limit=20))
    tokenizer.tokenizer.model_max_length = 19
    assert suggest_limits(WORDS, tokenizer).model_max_length == 19
    tokenizer.tokenizer.model_max_length = 512
    assert suggest_limits(WORDS, tokenizer).model_max_length > 20
    assert "read in windows" not in str(suggest_limits(WORDS, tokenizer))


def test_the_report_is_two_tables_and_a_suggestion():
    report = suggest_limits({"words": WORDS, "texts": TEXTS}, build_tokenizer("wordpiece"), keep=0.8)
    lines = str(report).splitlines()
    assert lines[0] == "9 entities in 4 sentences"
    assert lines[1].startswith("1 of them")
    marked = [line for line in lines if line.endswith("<-")]
    assert [line.split()[0] for line in marked] == ["2"]
    assert repr(report).startswith("LimitsReport(entity_limits=(EntityLimit(")
    assert lines[-1].startswith("suggested: entity_max_length=2, model_max_length=")


def test_bad_rows_are_named():
    tokenizer = build_tokenizer("wordpiece")
    bad = Dataset.from_dict({"tokens": [["a"], ["b"]], "entities": [[entity(0, 1)], [entity(0, 2)]]})
    with pytest.raises(ValueError, match="row 1 of the test data: .* ends at word 2, but the row has only 1 word"):
        suggest_limits({"test": bad}, tokenizer)
    short = Dataset.from_dict({"tokens": [["a"]], "ner_tags": [["B-X", "O"]]})
    with pytest.raises(ValueError, match="1 'tokens' but 2 'ner_tags'"):
        suggest_limits(short, tokenizer)


def test_entities_of_which_none_has_whole_words_are_not_taken_for_missing():
    shifted = [{"text": "Paris is here.", "entities": [{"label": "LOC", "start": 0, "end": 4}]}]
    with pytest.raises(ValueError, match="none of the 1 entities of the data consists of whole words.*validate"):
        suggest_limits(shifted, build_tokenizer("wordpiece"))
    with pytest.raises(ValueError, match="there are no entities to choose entity_max_length from"):
        suggest_limits([{"text": "Paris", "entities": []}], build_tokenizer("wordpiece"))
