"""Which strings are one name."""

import re
import unicodedata

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


def written_out(name):
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).strip()
    bare = re.sub("(?<=\\w)['\u2019\u02bc]s$|(?<=s)['\u2019\u02bc]$", "", folded, flags=re.IGNORECASE)
    return " ".join(bare.split())


@given(st.text() | st.text("aSs'\u2019\u02bc\u0149\u017f \n\x1c") | st.text(st.characters(codec="ascii")))
def test_frequent_names_have_no_other_key(name):
    assert name_key(name) == written_out(name)


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
