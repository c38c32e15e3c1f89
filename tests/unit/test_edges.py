"""An entity has the same edges wherever gold and predicted entities are compared."""

import unicodedata
from collections import Counter

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import TOKENIZERS, build_model

from span_marker import Trainer, TrainingArguments, analyze_errors, analyze_predictions, tune_thresholds, validate
from span_marker.core.alignment import align, blank_words, trim, trim_entities, trim_words
from span_marker.core.decoding import Decoder
from span_marker.core.graphemes import whole_spans
from span_marker.core.labels import LabelledSpan
from span_marker.preprocessing.data_collator import IGNORE_INDEX
from span_marker.training.gathering import Gathered, merge_windows

FAMILY = {"wordpiece": "bert", "bytelevel": "roberta", "unigram": "xlm-roberta"}

WORDS = ["Paris", "Ann", "x", "New", "7", "Beyonce\u0301", "שָׁלוֹם", "مُحَمَّد", "กรุงเทพฯ", "น้ำ", "ที่", "Zoe\u0308", "don't"]
GAPS = [
    " ", "  ", "\n", "\t ", "\u00a0", "\u3000", ".", ", ", " (", ") ", "-",
    "\u200d", "\u200c", "\ufeff", "\u00ad", "\u200b", " \u200d ", "\u0301", " \u0301 ", "\u05bc", " \u064e", "\u0e49 ",
]  # fmt: skip
TEXTS = st.lists(st.sampled_from([*WORDS, *GAPS]), min_size=1, max_size=9).map("".join)

FIGURES = ("precision", "recall", "f1")

MODELS = {kind: build_model(family, entity_max_length=3, model_max_length=40) for kind, family in FAMILY.items()}


def is_ignored(character):
    return character.isspace() or unicodedata.category(character) in ("Mn", "Cf")


@given(TEXTS, st.data())
def test_an_edge_is_the_first_character_that_counts(text, data):
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    ((start, end),) = whole_spans(text, [(start, end)])
    counting = [place for place in range(start, end) if not is_ignored(text[place])]
    first, last = trim(text, start, end, keep_marks=True)
    expected = whole_spans(text, [(counting[0], counting[-1] + 1)])[0] if counting else (first, last)
    assert trim(text, start, end) == expected
    assert text[first:last] == text[start:end].strip()
    assert start <= first <= last <= end


@given(TEXTS, st.data())
def test_words_are_trimmed_as_their_characters_are(text, data):
    drawn = {0, len(text), *data.draw(st.sets(st.integers(0, len(text))))}
    cuts = sorted({start for start, _ in whole_spans(text, [(place, place) for place in drawn])})
    starts, ends = np.array(cuts[:-1]), np.array(cuts[1:])  # all characters are in a word
    blank = blank_words(text, starts, ends)
    for start in range(len(starts)):
        for end in range(start + 1, len(starts) + 1):
            chars = trim(text, cuts[start], cuts[end])
            first, last = trim_words(start, end, blank)
            assert start <= first <= last <= end
            assert (first == last) == (chars[0] == chars[1])
            if first < last:
                assert trim(text, cuts[first], cuts[last]) == chars
                assert trim(text, cuts[first], cuts[first + 1])[0] == chars[0]
                assert trim(text, cuts[last - 1], cuts[last])[1] == chars[1]
            aligned, _ = align([LabelledSpan("X", cuts[start], cuts[end])], text, starts, ends)
            assert aligned == ([LabelledSpan("X", first, last)] if first < last else [])


def test_trimmed_entities_are_different():
    spans = [LabelledSpan("X", 0, 3), LabelledSpan("X", 0, 4), LabelledSpan("Y", 0, 4), LabelledSpan("X", 3, 5)]
    assert trim_entities(spans, "Ann  \u0301") == [("X", 0, 3), ("Y", 0, 3), ("X", 3, 5)]
    assert trim_entities([*spans, *spans], ["a", " ", "b", "c", "d"]) == spans


@st.composite
def annotated(draw, model):
    """Texts with entities of which the model finds some, with untidy edges."""
    texts = draw(st.lists(TEXTS, min_size=1, max_size=3))
    rows = []
    for text, predicted in zip(texts, model.predict(texts, is_split_into_words=False), strict=True):
        spans = [(entity["label"], entity["char_start_index"], entity["char_end_index"]) for entity in predicted]
        place = st.integers(0, len(text))
        spans += draw(st.lists(st.tuples(st.sampled_from(["PER", "LOC"]), place, place), max_size=2))
        entities = []
        for label, start, end in spans:
            start += draw(st.sampled_from([0, 0, 0, 0, -1]))
            while draw(st.booleans()) and start > 0 and is_ignored(text[start - 1]):
                start -= 1
            while draw(st.booleans()) and end < len(text) and is_ignored(text[end]):
                end += 1
            while draw(st.booleans()) and start < end and is_ignored(text[end - 1]):
                end -= 1
            label = draw(st.sampled_from([label] * 5 + ["PER"]))
            if 0 <= start < end and draw(st.integers(0, 4)):
                entities.append({"label": label, "start": start, "end": end})
        rows.append(entities)
    return texts, rows


@pytest.fixture(scope="module")
def trainers(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("evaluated"))
    arguments = TrainingArguments(folder, report_to="none", use_cpu=True, disable_tqdm=True)
    return {kind: Trainer(model, arguments) for kind, model in MODELS.items()}


@pytest.fixture(scope="module")
def right():
    """How many entities were right, so that the comparison below compares something."""
    counts = Counter()
    yield counts
    assert all(number > 10 for number in counts.values())


@pytest.mark.parametrize("kind", TOKENIZERS)
@settings(max_examples=25)
@given(decoding=st.sampled_from(["flat", "overlapping"]), data=st.data())
def test_evaluation_tuning_and_analysis_agree(kind, decoding, data, trainers, right):
    model = MODELS[kind]
    model.config.decoding, model.config.thresholds = decoding, None
    texts, rows = data.draw(annotated(model).filter(lambda pair: any(pair[1])))
    dataset = Dataset.from_dict({"text": texts, "entities": rows})
    metrics = trainers[kind].evaluate(dataset)
    report = analyze_errors(model, dataset, num_resamples=2)
    again = analyze_predictions(dataset, model.predict(texts, is_split_into_words=False), num_resamples=2)
    tuned = tune_thresholds(model, dataset)
    expected = [metrics[f"eval_overall_{name}"] for name in FIGURES]
    assert [figure.value for figure in report.overall[2:]] == expected
    assert [figure.value for figure in again.overall[2:]] == expected
    assert list(tuned.before) == expected
    numbers = {
        name.removeprefix("eval_"): value["number"] for name, value in metrics.items() if isinstance(value, dict)
    }
    assert {label: figures.num_gold for label, figures in report.labels.items()} == numbers
    assert {label: number for label, number in tuned.num_gold.items() if number} == +Counter(numbers)
    num_right = report.kinds["correct"]
    assert metrics["eval_overall_recall"] == num_right / report.overall.num_gold
    right[kind] += num_right
    tuned_metrics = trainers[kind].evaluate(dataset)
    assert list(tuned.after) == [tuned_metrics[f"eval_overall_{name}"] for name in FIGURES]
    repeated = validate(dataset, model).by_kind("repeated-entity")
    assert report.overall.num_gold == sum(map(len, rows)) - len(repeated)


def test_predictions_that_differ_in_blank_words_alone_count_once():
    spans = [(1, 0, 1, 0.5), (1, 0, 2, 0.75), (2, 1, 2, 0.5), (1, 1, 4, 0.5), (1, 2, 3, 0.5), (1, 2, 4, 0.25)]
    entities, scores = np.array([[span[:3] for span in spans]]), np.array([[span[3] for span in spans]])
    blank = np.array([[[1, 0], [2, 1], [IGNORE_INDEX, IGNORE_INDEX]]])  # a joiner, and white space
    decoder = Decoder(outside_id=0, decoding="overlapping")
    gathered = Gathered(entities, scores, entities, scores, np.array([0]), blank, None)
    (entities, scores), _ = merge_windows(gathered, None, decoder)
    assert entities.tolist() == [[[1, 0, 1], [2, 1, 2], [1, 3, 4]]]
    assert scores.tolist() == [[0.75, 0.5, 0.5]]
