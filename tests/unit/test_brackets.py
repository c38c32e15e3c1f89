"""Columns of brackets: nested entities are read back, and brackets that do not match are errors."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from span_marker.core.brackets import are_brackets, brackets_to_entities
from span_marker.core.labels import LabelledSpan


@st.composite
def nested_entities(draw):
    """Number of words, and entities none of which crosses another, longer ones first."""
    num_words = draw(st.integers(1, 8))
    bounds = draw(st.lists(st.lists(st.integers(0, num_words), min_size=2, max_size=2, unique=True), max_size=8))
    entities = []
    for start, end in map(sorted, bounds):
        if not any(a < start < b < end or start < a < end < b for _, a, b in entities):
            entities.append(LabelledSpan(draw(st.sampled_from(["ORG", "GPE", "A-B"])), start, end))
    return num_words, sorted(entities, key=lambda entity: (entity.start, -entity.end))


def write(num_words, entities):
    """The column, as a loop over the entities of each word."""
    cells = []
    for word in range(num_words):
        opened = "".join(f"({label}" for label, start, _ in entities if start == word)
        closed = ")" * sum(end == word + 1 for _, _, end in entities)
        cells.append(f"{opened}*{closed}")
    return cells


@given(nested_entities(), st.booleans())
def test_what_is_written_is_read(sentence, has_short_cells):
    cells = write(*sentence)
    assert are_brackets(cells)
    if has_short_cells:  # (GPE) in place of (GPE*), as in OntoNotes
        cells = [re.sub(r"\*(?=\))", "", cell) if cell.startswith("(") else cell for cell in cells]
    assert brackets_to_entities(cells) == sentence[1]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["(ORG*", "*"], "bracket of 'ORG' (word 0) is not closed"),
        (["(ORG*", "(GPE*", "*)"], "bracket of 'ORG' (word 0) is not closed"),
        (["*", "*)"], "'*)' (word 1) closes a bracket that was not opened"),
        (["(ORG)", "*))"], "'*))' (word 1) closes a bracket that was not opened"),
        (["*", "O"], "'O' (word 1) must be *, or contain brackets such as (LABEL* and *)"),
        (["*", ""], "'' (word 1) must be *"),
        (["(A)(B)"], "'(A)(B)' (word 0) must be *"),
        (["()"], "'()' (word 0) must be *"),
    ],
)
def test_brackets_that_do_not_match_are_errors(cells, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        brackets_to_entities(cells)


@pytest.mark.parametrize("cells", [["O", "B-PER"], ["(PER)", "O"], ["NN", "*", "."], ["(", ")"], [], ["-", "(12"]])
def test_other_columns_are_no_brackets(cells):
    assert not are_brackets(cells)
