"""Errors in context: the text is shown as it is, the most frequent error first."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reports import NUM_WORDS, entities, few, report_on

from span_marker.core.labels import LabelledSpan
from span_marker.error_analysis.examples import TextFragment, in_context, list_examples
from span_marker.error_analysis.matching import KINDS, JudgedSentence, match


def test_an_error_in_context():
    words = "In 1937 Amelia Earhart flew her Lockheed Vega over the Atlantic Ocean once more".split()
    outcomes = match(
        [LabelledSpan("PER", 2, 4), LabelledSpan("ART", 6, 8), LabelledSpan("LOC", 10, 12)],
        [LabelledSpan("PER", 3, 4), LabelledSpan("ART", 7, 9), LabelledSpan("PER", 0, 1)],
    )
    sentence = JudgedSentence(words, outcomes, "dev", 5)
    lines = {kind: [example.as_line(8) for example in list_examples([sentence], kind)] for kind in KINDS}
    assert lines["wrong-boundaries"] == [
        "PER 'Amelia Earhart' -> PER 'Earhart'; row 5 of the dev data: In 1937 [Amelia {Earhart}] flew ...",
        "ART 'Lockheed Vega' -> ART 'Vega over'; row 5 of the dev data: ... her [Lockheed {Vega] over} the ...",
    ]
    assert lines["missed"] == ["LOC 'Atlantic Ocean'; row 5 of the dev data: ... the [Atlantic Ocean] once ..."]
    assert lines["spurious"] == ["PER 'In'; row 5 of the dev data: {In} 1937 ..."]


def test_texts_are_quoted_as_they_are_and_terminals_obey_nothing():
    text = "a\n\tb \x1b[31mred  c"
    sentence = JudgedSentence(text, match([LabelledSpan("X", 3, 13)], []))
    [example] = list_examples([sentence], "missed")
    assert example.gold == ("X", "b \x1b[31mred")
    assert example.as_line(40) == "X 'b \\x1b[31mred'; row 0 of the annotated data: a [b [31mred] c"


@given(entities, entities, st.integers(0, 30))
@few
def test_pieces_are_the_text(gold, predicted, num_characters):
    words = ["a", "bc", "", "def", "é", "gh", "i", "jkl"]
    for item in (words, "".join(words)[:NUM_WORDS]):
        for outcome in match(gold, predicted):
            pieces = in_context(JudgedSentence(item, [outcome]), outcome, num_characters)
            shown = "".join(piece.text for piece in pieces)
            text = item if isinstance(item, str) else " ".join(item)
            assert re.sub(r"^\.\.\. | \.\.\.$", "", shown) in text
            for place, span in ((1, outcome.gold), (2, outcome.predicted)):
                part = item[span.start : span.end] if span else ""
                expected = part if isinstance(part, str) else " ".join(part)
                assert "".join(piece.text for piece in pieces if piece[place]) == expected


def test_pieces_know_where_they_belong():
    assert in_context(
        JudgedSentence("ab cd", []), match([LabelledSpan("X", 0, 4)], [LabelledSpan("X", 3, 5)])[0], 9
    ) == [TextFragment("ab ", True, False), TextFragment("c", True, True), TextFragment("d", False, True)]


def test_the_most_frequent_error_comes_first():
    rare, frequent = LabelledSpan("X", 0, 1), LabelledSpan("Y", 1, 3)
    report = report_on([([rare], []), ([frequent], []), ([frequent], [])], num_examples=1)
    assert [(example.number, example.gold) for example in report.by_kind("missed")] == [
        (2, ("Y", "w1 w2")),
        (1, ("X", "w0")),
    ]
    assert "2x  Y 'w1 w2'; row 1" in str(report)
    assert "1x  X 'w0'" not in str(report)
    assert "1x  X 'w0'" in str(report_on([([rare], []), ([frequent], [])], num_examples=2))
    assert "2x" not in str(report_on([([frequent], []), ([frequent], [])], num_examples=0))
    with pytest.raises(ValueError, match="kind='wrong' must be one of"):
        report.by_kind("wrong")
