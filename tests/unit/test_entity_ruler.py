"""Patterns of spaCy: what its EntityRuler finds, or a refusal that names what is not supported."""

import json

import pytest
import spacy
from hypothesis import given
from hypothesis import strategies as st

from span_marker.rules import ListRule, Rules, TokenRule, read_entity_ruler

PATTERNS = [
    {"label": "ORG", "pattern": "Apple"},
    {"label": "GPE", "pattern": "San Jose", "id": "sj"},
    {"label": "GPE", "pattern": [{"LOWER": "san"}, {"LOWER": "francisco"}]},
    {"label": "GPE", "pattern": [{"TEXT": "Paris"}, {"ORTH": "Texas"}]},
    {"label": "PER", "pattern": [{"TEXT": {"REGEX": "^[Dd]r$"}}, {"LOWER": {"REGEX": "^[a-z]+$"}}]},
    {"label": "PER", "pattern": [{"LOWER": "mister"}, {"TEXT": "Bo"}, {}]},
    {"label": "PER", "pattern": [{"LOWER": "ann", "TEXT": {"REGEX": "^A"}}, {"TEXT": "Lee"}]},
]
WORDS = "Apple apple San san SAN Jose Francisco francisco Paris Texas Dr dr Who 12 , Mister Bo Ann ANN ann Lee".split()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("patterns") / "patterns.jsonl"
    path.write_text("".join(json.dumps(pattern) + "\n" for pattern in PATTERNS), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def nlp(path):
    nlp = spacy.blank("en")
    nlp.add_pipe("entity_ruler").from_disk(path)
    return nlp


@given(words=st.lists(st.sampled_from(WORDS), max_size=8))
def test_it_finds_what_spacy_finds(path, nlp, words):
    text = " ".join(words)
    found = Rules(read_entity_ruler(path)).apply(text, [])
    wanted = [(entity.text, entity.start_char, entity.label_) for entity in nlp(text).ents]
    assert [(entity["span"], entity["char_start_index"], entity["label"]) for entity in found] == wanted


def test_phrases_are_lists(path):
    rules = read_entity_ruler(path)
    assert [type(rule) for rule in rules] == [ListRule] * 4 + [TokenRule] * 3
    assert [(rule.label, rule.name, rule.phrases, rule.ignore_case) for rule in rules[:4]] == [
        ("ORG", "", ("Apple",), False),
        ("GPE", "sj", ("San Jose",), False),
        ("GPE", "", ("san francisco",), True),
        ("GPE", "", ("Paris Texas",), False),
    ]


def test_tokens_of_several_words():
    rule = TokenRule("GPE", [{"TEXT": "U.S."}, {"TEXT": {"REGEX": "^A"}}])
    assert list(rule.find("The U.S. Army")) == [(4, 13)]


@pytest.mark.parametrize(
    ("pattern", "error", "message"),
    [
        ([{"LOWER": "a", "OP": "+"}], ValueError, "line 1: token 0 has 'OP', but only .*'TEXT', 'ORTH', 'LOWER'"),
        ([{"LOWER": "a"}, {"POS": "NOUN"}], ValueError, "token 1 has 'POS'"),
        ([{"LOWER": {"IN": ["a"]}}], ValueError, r"'LOWER' has \['IN'\], but only \['REGEX'\]"),
        ([{"TEXT": {"REGEX": "("}}], ValueError, "not a valid regular expression"),
        ([{"TEXT": "U.S.", "LOWER": "u.s."}], ValueError, "which is several words"),
        ([{"TEXT": 1}], TypeError, "must be a word or"),
        (["a"], TypeError, "must be a dict such as"),
        ([], TypeError, "'pattern' must be a string or a list of dicts"),
        (None, TypeError, "'pattern' must be a string or a list of dicts"),
        (" ", ValueError, "line 1: 'pattern' is ' ', which contains no word"),
    ],
)
def test_what_is_refused(tmp_path, pattern, error, message):
    path = tmp_path / "patterns.jsonl"
    path.write_text(json.dumps({"label": "X", "pattern": pattern}), encoding="utf-8")
    with pytest.raises(error, match=message):
        read_entity_ruler(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2 is not JSON"),
        ("[]", "'label' and 'pattern'"),
        ('{"label": "X", "pattern": "a", "kb_id": "Q1"}', "kb_id"),
        ('{"label": "O", "pattern": "a"}', "line 2: 'label' must be a string other than '' and 'O', not 'O'"),
        ('{"label": null, "pattern": [{"LOWER": "a"}]}', "line 2: 'label' must be a string"),
    ],
)
def test_wrong_lines(tmp_path, line, message):
    path = tmp_path / "patterns.jsonl"
    path.write_text("\n" + line, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_entity_ruler(path)


def test_a_wrong_id_is_named_with_its_line(tmp_path):
    path = tmp_path / "patterns.jsonl"
    path.write_text('\n{"label": "X", "pattern": "a", "id": 5}', encoding="utf-8")
    with pytest.raises(TypeError, match="line 2: 'id' must be a string, not 5"):
        read_entity_ruler(path)


def test_only_line_ends_end_lines(tmp_path):
    path = tmp_path / "patterns.jsonl"
    lines = ['{"label": "X", "pattern": "New\u2028York"}', '{"label": "Y", "pattern": "Ann\x85Lee"}', ""]
    path.write_bytes("\r\n".join(lines).encode())
    found = Rules(read_entity_ruler(path)).find("New York, Ann Lee")
    assert [(entity["span"], entity["label"]) for entity in found] == [("New York", "X"), ("Ann Lee", "Y")]
