"""Lone surrogates are found and replaced wherever they come from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from span_marker.core.surrogates import has_surrogates, readable
from span_marker.validation import validate

CHARACTERS = st.one_of(st.characters(), st.characters(categories=["Cs"]))


@given(st.text(CHARACTERS))
def test_a_readable_text_can_be_encoded_and_has_its_length(text):
    def is_encodable(text):
        return text.encode("utf-8", "ignore").decode() == text

    assert is_encodable(readable(text))
    assert len(readable(text)) == len(text)
    assert has_surrogates(text) == (not is_encodable(text)) == (readable(text) != text)
    assert has_surrogates({"a": ["b", {text: 1}]}) == has_surrogates([[text]]) == has_surrogates(text)


def test_rows_with_surrogates_are_named():
    rows = [{"text": "a", "entities": []}, {"text": "a\ud83d", "entities": []}]
    with pytest.raises(ValueError, match="row 1 of the annotated data: 'text' has a lone surrogate, which no encoding"):
        validate(rows)
