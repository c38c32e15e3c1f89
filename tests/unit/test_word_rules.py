import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from span_marker.core.word_rules import MAX_CONTEXT, MAX_RULES, WordRules, attached_marks, detokenize

NEWS = [
    "Mr. B. Young of the U.S. said that 3,000 people did n't leave ( see page 4 ) .",
    "The U.S. and Gov. A. Collomb-Patton met on 1996-08-22 , in Oslo 's town hall .",
    '" It \'s a one-day match , " said J. Smith-Jones , at 6 p.m. in St. Louis .',
    "Rain fell in Rome . It stopped . The end : 7-5 , 6-3 .",
]
"""Sentences with the conventions of newswire: abbreviations and hyphens are kept, other marks are split off."""

TWEETS = [
    "I'm at St Pancras don't wait !",
    "RT @ann : it isn't over :) #fun ...",
    "We're here , can't say",
    "go . now .",
]

HYPHENS = ["New York - based firms", "a Franco - German plan", "Anglo - Saxon words", "the well - known man"]


def sentences(texts):
    return [text.split() for text in texts]


def split(rules, text):
    return [text[start:end] for start, end in rules.split(text)]


WORDS = st.lists(
    st.text(st.sampled_from("aB1.,'-()\"!$@\u6771\u0e2a\u0e35\u00e9:/"), min_size=1, max_size=5), min_size=1, max_size=8
)


@given(st.lists(WORDS, max_size=5), st.text(max_size=20))
def test_every_character_but_white_space_is_in_one_word(training, text):
    words = split(WordRules.fit(training), text)
    assert "".join(words) == "".join(text.split())
    assert all(word and not any(map(str.isspace, word)) for word in words)


@given(WORDS, st.sampled_from([frozenset(), frozenset("-/")]))
def test_detokenized_words_are_where_it_says(words, attached):
    text, places = detokenize(words, attached)
    assert [text[start:end] for start, end in places] == words
    assert text == " ".join(text.split())


@given(st.lists(WORDS, max_size=5))
def test_rules_depend_on_nothing_but_the_words(training):
    assert WordRules.fit(training) == WordRules.fit(tuple(tuple(words) for words in training))


@pytest.mark.parametrize("texts", [NEWS, TWEETS, HYPHENS], ids=["news", "tweets", "hyphens"])
def test_training_words_come_back(texts):
    rules = WordRules.fit(sentences(texts))
    attached = attached_marks(sentences(texts))
    for words in sentences(texts):
        assert split(rules, detokenize(words, attached)[0]) == words


def test_unseen_words_follow_their_like():
    rules = WordRules.fit(sentences(NEWS) * 3)
    text = "C. Miller-Brown wasn't in the U.N. (until 1997-01-02), but in Bonn's zoo."
    words = "C. Miller-Brown was n't in the U.N. ( until 1997-01-02 ) , but in Bonn 's zoo ."
    assert split(rules, text) == words.split()


def test_contractions_stay_whole_where_training_has_them_whole():
    assert split(WordRules.fit(sentences(TWEETS)), "I'm sure it doesn't!") == ["I'm", "sure", "it", "doesn't", "!"]


def test_hyphens_are_split_where_training_has_them_apart():
    assert attached_marks(sentences(HYPHENS)) == {"-"}
    assert attached_marks(sentences(NEWS)) == frozenset()
    assert split(WordRules.fit(sentences(HYPHENS)), "Oslo-based") == ["Oslo", "-", "based"]
    assert split(WordRules.fit(sentences(NEWS)), "Oslo-based") == ["Oslo-based"]


def test_a_capital_letter_may_begin_a_sentence():
    rules = WordRules.fit(sentences(["Gov. Lee met Day .", "He met Ann .", "St. Louis slept ."]))
    assert split(rules, "Lee met Mel. Oslo slept.") == ["Lee", "met", "Mel", ".", "Oslo", "slept", "."]
    assert split(rules, "Gov. Lee met Mel") == ["Gov.", "Lee", "met", "Mel"]


def test_scripts_without_white_space_are_split_into_characters():
    rules = WordRules.fit([[*"\u6771\u4eac\u306b"], ["BMW", *"\u304c\u884c\u304f", "\u3002"]])
    assert split(rules, "\u6771\u4eac\u306bBMW\u304c\u884c\u304f\u3002") == [
        *"\u6771\u4eac\u306b",
        "BMW",
        *"\u304c\u884c\u304f\u3002",
    ]


def test_without_training_every_mark_is_split_off():
    assert split(WordRules(), "U.S. (don't)") == ["U", ".", "S", ".", "(", "do", "n't", ")"]


def test_rules_are_few_and_survive_json():
    rules = WordRules.fit(sentences(NEWS))
    assert 0 < len(rules.breaks) < 60
    again = WordRules(json.loads(json.dumps(rules.breaks)))
    assert again == rules
    many = [[f"a{chr(0x2190 + i)}b{chr(0x2190 + j)}"] for i in range(100) for j in range(100)]
    assert len(WordRules.fit(many).breaks) <= MAX_RULES
    assert all(len(context) <= MAX_CONTEXT for context in WordRules.fit([["a" * 200 + "."]]).breaks)


@pytest.mark.parametrize(
    "breaks",
    [None, [], {"a": 1}, {1: True}, {"a" * (MAX_CONTEXT + 1): True}, {str(i): True for i in range(MAX_RULES + 1)}],
)
def test_broken_rules_are_refused(breaks):
    with pytest.raises(ValueError, match=f"word_rules must have at most {MAX_RULES} contexts"):
        WordRules(breaks)


@pytest.mark.parametrize("invisible", ["\u00ad", "\u200c", "\u200d", "\u2060", "\ufeff", "\u200e"])
def test_invisible_characters_are_within_words(invisible):
    """Soft hyphens of web pages, and the non-joiners of Persian, neither cut a word nor count as words."""
    rules = WordRules.fit(sentences(NEWS))
    word = f"Ame{invisible}lia"
    assert split(rules, f"{word} left. {word}'s") == [word, "left", ".", word, "'s"]
    assert split(rules, f"a\u200bb {invisible}") == ["a", "\u200b", "b", invisible]
