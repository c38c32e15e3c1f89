"""Which strings are one name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from span_marker.core.names import name_key, without_possessive


@given(st.text())
def test_a_key_is_its_own_key_but_for_possessives(name):
    key = name_key(name)
    assert name_key(key) in (key, name_key(without_possessive(key)))
    assert key == " ".join(key.split())


@given(st.lists(st.text("abcé", min_size=1), min_size=1), st.lists(st.text(" \n\t\u00a0", min_size=1), min_size=9))
def test_case_and_white_space_make_no_other_name(words, spaces):
    spaced = "".join(word + spaces[at % len(spaces)] for at, word in enumerate(words))
    assert name_key(spaced) == name_key(" ".join(words)) == name_key(spaced.upper()) == name_key(spaced.strip() + "'s")


@pytest.mark.parametrize(
    ("name", "bare"),
    [
        ("Ann's", "Ann"),
        ("Ann\u2019S", "Ann"),
        ("Jones'", "Jones"),
        ("Ann'", "Ann'"),
        ("'s", "'s"),
        ("'", "'"),
        ("", ""),
    ],
)
def test_possessives(name, bare):
    assert without_possessive(name) == bare
