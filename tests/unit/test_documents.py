"""Documents: their sentences are predicted one by one, and indices refer to the document."""

import subprocess
import sys

import pytest
from datasets import Dataset
from helpers import approximately, check_margin, score_rounding
from hypothesis import given
from hypothesis import strategies as st
from tiny import SENTENCES, build_model

from span_marker.core.offsets import convert_offsets
from span_marker.prediction.documents import sentence_splitter, split_documents
from span_marker.preprocessing.inputs import Sentences

PARTS = ["Amelia Earhart flew across the Atlantic.", "Paris", "Cleopatra ruled Egypt \N{PARTY POPPER}!", "Tokyo"]

DOCUMENT = "\n " + "  ".join(PARTS) + "\n"


def lines(text):
    """Sentences that end before two spaces, with the white space around them."""
    bounds, start = [], 0
    for part in text.split("  "):
        bounds.append((start, start + len(part)))
        start += len(part) + 2
    return bounds


@pytest.fixture(scope="module")
def model():
    model = build_model("bert", entity_max_length=4)
    check_margin(model, PARTS)
    return model


@pytest.fixture(scope="module")
def expected(model):
    """The entities of each sentence alone, moved to where the sentence is."""
    return approximately([move(model.predict(part), DOCUMENT.index(part)) for part in PARTS], score_rounding(model))


def move(entities, by):
    return [
        {**e, "char_start_index": e["char_start_index"] + by, "char_end_index": e["char_end_index"] + by}
        for e in entities
    ]


def test_a_document_has_the_entities_of_its_sentences(model, expected):
    whole = [entity for entities in expected for entity in entities]
    assert model.predict(DOCUMENT, split_sentences=lines) == whole
    assert model.predict([DOCUMENT, "", DOCUMENT], split_sentences=lines, batch_size=2) == [whole, [], whole]
    rows = list(model.predict_stream([{"id": 1, "text": DOCUMENT}, ""], split_sentences=lines))
    assert rows == [{"id": 1, "text": DOCUMENT, "entities": whole}, []]
    for entity in whole:
        assert DOCUMENT[entity["char_start_index"] : entity["char_end_index"]] == entity["span"]


def test_a_list_of_documents_without_a_space_is_no_list_of_words(model):
    assert len(model.predict(["Paris", "Tokyo"], split_sentences=lines)) == 2


def test_coverage_is_that_of_all_sentences(model):
    _, coverage = model.predict(DOCUMENT, split_sentences=lines, return_coverage=True)
    _, alone = model.predict(PARTS, return_coverage=True)
    for name in ("num_words", "num_tokens", "num_windows", "num_candidates", "num_scored"):
        assert getattr(coverage, name) == sum(getattr(part, name) for part in alone)
    assert [DOCUMENT[start:end] for start, end in coverage.windows] == [part.strip() for part in PARTS if part.strip()]
    small = build_model("bert", entity_max_length=4, model_max_length=20)
    text = f"Paris  Amélie {'x' * 50}"
    for unit in ("codepoint", "utf-8"):
        _, coverage = small.predict(text, split_sentences=lines, return_coverage=True, offsets=unit)
        assert coverage.cut_words == [tuple(convert_offsets(text, (14, 64), unit))]
        assert coverage.windows[-1] == coverage.cut_words[0]
        assert coverage.windows[0][0] == 0


def test_sentences_are_context_of_each_other_if_the_model_was_trained_so(caplog):
    model = build_model("bert", entity_max_length=4, trained_with_document_context=True)
    text = ". ".join(" ".join(words) for words in SENTENCES[:3])
    bounds = [(text.index(words[0]), text.index(words[0]) + len(" ".join(words))) for words in SENTENCES[:3]]
    parts = [text[start:end] for start, end in bounds]
    rows = Dataset.from_dict({"text": parts, "document_id": [0] * 3, "sentence_id": [0, 1, 2]})
    check_margin(model, rows)
    moved = [move(row, start) for row, (start, _) in zip(model.predict(rows), bounds, strict=True)]
    caplog.clear()
    found = model.predict(text, split_sentences=lambda text: bounds)
    assert found == approximately([[entity for row in moved for entity in row]], score_rounding(model))[0]
    assert not caplog.text


@given(st.lists(st.sampled_from(["Tokyo", "Köln.", " ", "\n", "\N{PARTY POPPER}"]), max_size=8))
def test_offsets_of_documents(model, words):
    text = "  ".join(words)
    usual = model.predict(text, split_sentences=lines)
    for unit in ("utf-16", "utf-8"):
        found = model.predict(text, split_sentences=lines, offsets=unit)
        places = [(e["char_start_index"], e["char_end_index"]) for e in usual]
        assert [(e["char_start_index"], e["char_end_index"]) for e in found] == [
            tuple(convert_offsets(text, place, unit)) for place in places
        ]


def test_indices_of_words_do_not_change(model):
    words = ["\N{PARTY POPPER}", "Amelia", "Earhart"]
    assert model.predict([words], offsets="utf-8") == model.predict([words])


def test_the_sentencizer_of_spacy():
    pytest.importorskip("spacy")
    text = "Dr. Smith flew to Paris. 東京は大きい。 She stayed!\n\nThen home"
    splitter = sentence_splitter(True)
    sentences, starts = split_documents(Sentences([text, ""], True), splitter, with_context=False)
    assert sentences.items == ["Dr. Smith flew to Paris.", "東京は大きい。", "She stayed!", "Then home"]
    assert starts == [[text.index(sentence) for sentence in sentences.items], []]
    assert len(list(splitter("A sentence. " * 100_000))) == 100_000  # beyond spaCy's limit for parsers


def test_spacy_is_named_if_it_is_missing():
    code = (
        "import sys; sys.modules['spacy'] = None\n"
        "from span_marker.prediction.documents import sentence_splitter\n"
        "try: sentence_splitter(True)\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert "install the extra span_marker[spacy], or pass a function" in done.stdout


@pytest.mark.parametrize(
    ("bounds", "error", "message"),
    [
        ([(0, 3), (2, 5)], ValueError, r"the sentence \(2, 5\), which must begin at 3 or later"),
        ([(0, 900)], ValueError, "end at 5 or earlier"),
        ([(3, 1)], ValueError, r"the sentence \(3, 1\)"),
        ([(-1, 1)], ValueError, r"the sentence \(-1, 1\)"),
        ([5], TypeError, "returned 5, which must be the"),
        ([(0.0, 5)], TypeError, r"returned \(0.0, 5\)"),
        (["Paris"], TypeError, "returned 'Paris'"),
    ],
)
def test_what_a_function_must_return(model, bounds, error, message):
    with pytest.raises(error, match=message):
        model.predict("Paris", split_sentences=lambda text: bounds)


@pytest.mark.parametrize(
    ("inputs", "options", "error", "message"),
    [
        ("Paris", {"split_sentences": "en"}, TypeError, "split_sentences='en' must be True, False, or a function"),
        ([["Paris"]], {"split_sentences": lines}, ValueError, "the inputs are lists of words"),
        (["Paris"], {"split_sentences": lines, "is_split_into_words": True}, ValueError, "leave it out"),
        (
            Dataset.from_dict({"text": ["a"], "document_id": [1], "sentence_id": [0]}),
            {"split_sentences": lines},
            ValueError,
            "split_sentences is for documents",
        ),
        ("Paris", {"offsets": "bytes"}, ValueError, r"offsets='bytes' must be one of \['codepoint', 'utf-16', 'utf-8'"),
    ],
)
def test_options_that_contradict_each_other(model, inputs, options, error, message):
    with pytest.raises(error, match=message):
        model.predict(inputs, **options)
