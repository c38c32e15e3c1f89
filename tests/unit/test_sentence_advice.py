"""Advice on sentence boundaries goes by what a model was trained on."""

import pytest

from span_marker.core.word_splitters import TrainedOn
from span_marker.integrations.sentence_advice import advise_on_sentences

TEXTS = TrainedOn(unit="text", num_rows=100, mean_words=80.0, max_words=150)
SENTENCES = TrainedOn(unit="words", num_rows=100, mean_words=15.0, max_words=40)
ADD = 'add a component that sets sentence boundaries, such as nlp.add_pipe("sentencizer", before="ner")'


@pytest.mark.parametrize(
    ("documents", "is_split", "trained_on", "advice"),
    [
        ([[90]], [False], TEXTS, None),
        (
            [[151]],
            [False],
            TEXTS,
            f"one text of 151 words, but the model was trained on texts of at most 150 words: {ADD}.",
        ),
        ([[90]], [False], SENTENCES, f"one text of 90 words, but .* of at most 40 words: {ADD}."),
        ([[12]], [False], SENTENCES, None),
        ([[12, 12, 12]], [True], SENTENCES, None),
        ([[1, 2, 3]], [True], SENTENCES, None),
        (
            [[12, 14, 16], [10, 8]],
            [True, True],
            TEXTS,
            "sentence by sentence, 12 words each, but .* texts of 80 ",
        ),
        ([[80, 81]], [True], TEXTS, None),
        ([[79]], [True], TEXTS, None),
        ([[5], [12, 12, 12], []], [True, True, False], TEXTS, "or add it after 'ner'."),
        ([[90]], [False], None, f"suits a model trained on whole texts. .* single sentences, {ADD}."),
        ([[5, 6]], [True], None, None),
        ([[]], [False], None, None),
        ([[]], [False], TEXTS, None),
        ([], [], TEXTS, None),
    ],
)
def test_texts_are_compared_with_those_of_the_training(documents, is_split, trained_on, advice):
    found = advise_on_sentences("ner", documents, is_split, trained_on)
    if advice is None:
        assert found is None
    else:
        beginning, _, end = advice.partition(" .* ")
        assert beginning in found
        assert end in found
