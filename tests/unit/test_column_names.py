"""Names of columns are told from words and their tags."""

import pytest

from span_marker.data.column_names import tag_names


@pytest.mark.parametrize("change", [str.lower, str.upper, str.title, lambda name: name.replace("_", "-")])
def test_letter_case_and_signs_do_not_count(change):
    names = [change(name) for name in ("sentence_id", "#", "word", "pos_tag", "ner_tag", "label")]
    assert tag_names(names) == {names[4], names[5]}


@pytest.mark.parametrize("line", ["EU B-ORG", "Token O", "the label", "word pos", "tag", "Word Ann tag", "# label", ""])
def test_words_are_no_names(line):
    assert not tag_names(line.split(" "))
