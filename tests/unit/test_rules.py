"""Rules beside a model: what they find, which entities stay, how they are saved, and that none runs for long."""

import copy
import json
import pickle
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import build_model

from span_marker.prediction.propagation import Propagation
from span_marker.rules import ListRule, RegexRule, Rules, TokenRule
from span_marker.rules.rules import PRIORITIES

PLACES = ("char_start_index", "char_end_index")
IBAN = r"\b[A-Z]{2}\d{2}(?: ?[A-Z\d]{4}){2,7}(?: ?[A-Z\d]{1,3})?\b"
RULES = Rules(
    [
        RegexRule("IBAN", IBAN, name="iban"),
        ListRule("LOC", ["Paris", "New York"], ignore_case=True),
        ListRule("ORG", ["New York Times"], score=0.8),
        TokenRule("PER", [{"LOWER": "ann"}, {"TEXT": {"REGEX": "^L"}}]),
    ],
    validators={"IBAN": "iban"},
)


def place(entity):
    return tuple(entity[name] for name in PLACES)


def as_entity(text, start, end, label="X", score=0.5):
    return {"span": text[start:end], "label": label, "score": score, **dict(zip(PLACES, (start, end), strict=True))}


def test_kinds_of_rules():
    text = "ann Lee at the New York Times, new  york, paid GB82 WEST 1234 5698 7654 32 or GB83 WEST 1234 5698 7654 32."
    found = [(e["span"], e["label"], e["score"], e["origin"]) for e in RULES.find(text)]
    assert found == [
        ("ann Lee", "PER", 1.0, {"kind": "rule", "rule": "PER"}),
        ("New York Times", "ORG", 0.8, {"kind": "rule", "rule": "ORG"}),
        ("New York", "LOC", 1.0, {"kind": "rule", "rule": "LOC"}),
        ("new  york", "LOC", 1.0, {"kind": "rule", "rule": "LOC"}),
        ("GB82 WEST 1234 5698 7654 32", "IBAN", 1.0, {"kind": "rule", "rule": "iban"}),
    ]
    for entity in RULES.find(text):
        assert text[slice(*place(entity))] == entity["span"]


@st.composite
def two_sides(draw):
    text = "abcdefghij"
    bounds = st.tuples(st.integers(0, 9), st.integers(1, 10)).filter(lambda pair: pair[0] < pair[1])
    patterns = draw(st.lists(st.tuples(bounds, st.sampled_from([0.2, 0.5, 0.9])), max_size=4))
    rules = [RegexRule(f"R{at}", text[s:e], score=score) for at, ((s, e), score) in enumerate(patterns)]
    model = [
        as_entity(text, *place, f"M{at}", draw(st.sampled_from([0.2, 0.5, 0.9])))
        for at, place in enumerate(draw(st.lists(bounds, max_size=4)))
    ]
    return text, rules, model


def overlap(one, two):
    return place(one)[0] < place(two)[1] and place(two)[0] < place(one)[1]


@pytest.mark.parametrize("priority", PRIORITIES)
@given(two_sides())
def test_the_side_that_comes_first_stays(priority, sides):
    text, rules, model = sides
    kept = Rules(rules, priority).apply(text, model)
    of_rules = [entity for entity in kept if "origin" in entity]
    of_model = [entity for entity in kept if "origin" not in entity]
    assert not any(overlap(one, two) for one in of_rules for two in of_model)
    assert all(entity in model for entity in of_model)
    alone = Rules(rules).apply(text, [])
    dropped_model = [entity for entity in model if entity not in of_model]
    dropped_rules = [entity for entity in alone if entity not in of_rules]
    if priority == "rules first":
        assert of_rules == alone
        assert all(any(overlap(entity, other) for other in of_rules) for entity in dropped_model)
    if priority == "model first":
        assert sorted(of_model, key=str) == sorted(model, key=str)
        assert all(any(overlap(entity, other) for other in of_model) for entity in dropped_rules)
    if priority == "best score":
        for entity in dropped_model:
            assert any(overlap(entity, other) and other["score"] >= entity["score"] for other in of_rules)
        for entity in dropped_rules:
            assert any(overlap(entity, other) and other["score"] > entity["score"] for other in of_model)
    assert [place(entity)[0] for entity in kept] == sorted(place(entity)[0] for entity in kept)


@given(two_sides())
def test_of_overlapping_rules_the_best_stays(sides):
    text, rules, _ = sides
    everything, kept = Rules(rules).find(text), Rules(rules).apply(text, [])
    assert len(everything) == len(rules)
    assert not any(overlap(one, two) for one in kept for two in kept if one is not two)
    for entity in everything:
        rank = (entity["score"], len(entity["span"]))
        assert entity in kept or any(overlap(entity, k) and (k["score"], len(k["span"])) >= rank for k in kept)


def test_validators_confirm_or_drop_what_the_model_found_too():
    text = "GB82WEST12345698765432 GB83WEST12345698765432"
    model = [as_entity(text, 0, 22, "IBAN"), as_entity(text, 23, 45, "IBAN"), as_entity(text, 23, 25, "LOC")]
    kept = Rules([], validators={"IBAN": "iban"}).apply(text, model)
    assert kept == [model[0], model[2]]


def test_words_stay_words():
    found = RULES.apply(["In", "Paris,", "GB82", "WEST", "1234", "5698", "7654", "32"], [])
    assert [(e["span"], e["word_start_index"], e["word_end_index"]) for e in found] == [
        (["Paris,"], 1, 2),
        (["GB82", "WEST", "1234", "5698", "7654", "32"], 2, 8),
    ]
    model = [{"span": ["Paris,"], "label": "PER", "score": 0.9, "word_start_index": 1, "word_end_index": 2}]
    assert Rules(RULES.rules, "model first").apply(["In", "Paris,"], model) == model
    assert RULES.apply([], []) == RULES.apply("", []) == []


def test_matches_are_trimmed_and_have_whole_graphemes():
    text = " x Zoe\u0308 \n"
    found = Rules([RegexRule("A", r" x "), RegexRule("B", "Zoe"), RegexRule("C", r"(?= )|\s+$")]).find(text)
    assert [(e["label"], e["span"]) for e in found] == [("A", "x"), ("B", "Zoe\u0308")]


def test_rules_are_saved_as_data(tmp_path):
    RULES.save(tmp_path / "rules.json")
    values = json.loads((tmp_path / "rules.json").read_text(encoding="utf-8"))
    assert values == json.loads(json.dumps(RULES.to_dict()))
    text = "Ann Lee in PARIS paid GB82WEST12345698765432"
    loaded = Rules.load(tmp_path / "rules.json")
    for other in (loaded, pickle.loads(pickle.dumps(loaded)), copy.deepcopy(loaded)):
        assert other.to_dict() == RULES.to_dict()
        assert other.apply(text, []) == RULES.apply(text, []) != []
        assert len(pickle.loads(pickle.dumps(other)).find(text)) == 3


def test_a_list_may_be_long():
    phrases = [f"name{number} of{number % 7}" for number in range(100_000)]
    rules = Rules([ListRule("X", phrases)])
    [found] = rules.find("this is name99999 of4 and name99999 of5")
    assert found["span"] == "name99999 of4"
    assert "name99999" not in repr(rules)


def test_a_phrase_may_be_on_several_lists_and_twice_on_one():
    rules = Rules([ListRule("A", ["x y", "x  y", "x y"]), ListRule("B", ["x y"], score=0.5), ListRule("A", ["X Y"])])
    assert [(entity["label"], entity["score"]) for entity in rules.find("x y")] == [("A", 1.0), ("B", 0.5)]
    assert [rule.label for rule, _ in rules._find("x y")] == ["A", "B"]


def test_an_expression_that_would_hang_is_stopped():
    rules = Rules([RegexRule("X", r"(a|aa)+$", name="slow")], timeout=0.1)
    start = time.monotonic()
    with pytest.raises(TimeoutError, match=r"rule 'slow' took longer than 0\.1 seconds on a text of 61 characters"):
        rules.find("a" * 60 + "b")
    assert time.monotonic() - start < 30
    with pytest.raises(TimeoutError, match="regex timed out"):
        list(TokenRule("X", [{"TEXT": {"REGEX": r"(a|aa)+$"}}]).find("a" * 60 + "b", timeout=0.1))


WRONG = [
    (lambda: RegexRule("X", "("), ValueError, r"pattern of rule 'X' is '\(', which is not a valid regular expression"),
    (lambda: RegexRule("X", "(" * 4000 + ")" * 4000), ValueError, "not a valid regular expression"),
    (lambda: RegexRule("X", "(?:(?:a{1000}){1000}){1000}"), ValueError, "which repeats too often"),
    (lambda: RegexRule("X", "a{99999999}"), ValueError, "which repeats too often"),
    (lambda: RegexRule("X", "a" * 10_001), ValueError, "has 10,001 characters, but the limit is 10,000"),
    (lambda: RegexRule("X", None), TypeError, "pattern of rule 'X' must be a string, not None"),
    (lambda: RegexRule("O", "a"), ValueError, "label='O' of a rule must be a string other than"),
    (lambda: RegexRule("X", "a", score=2), ValueError, "score of rule 'X'=2 must be from 0 to 1"),
    (lambda: RegexRule("X", "a", name=1), TypeError, "name=1 of a rule must be a string"),
    (lambda: ListRule("X", "Paris"), TypeError, "must be a list of strings, not a string"),
    (lambda: ListRule("X", ["a", 1]), TypeError, r"phrases\[1\] of rule 'X' must be a string, not 1"),
    (lambda: ListRule("X", ["a", "\n"], name="cities"), ValueError, r"phrases\[1\] of rule 'cities' is '\\n'"),
    (lambda: TokenRule("X", []), TypeError, "must be a non-empty list of dicts"),
    (lambda: Rules(["a"]), TypeError, r"rules\[0\] must be one of \['RegexRule', 'ListRule', 'TokenRule'\], not 'a'"),
    (lambda: Rules([], "rules"), ValueError, "priority='rules' must be one of"),
    (lambda: Rules([], validators={"X": "isbn"}), ValueError, r"validators\['X'\]='isbn' must be one of \['iban'"),
    (lambda: Rules([], validators=["iban"]), TypeError, "must be a dict from labels to names"),
    (lambda: Rules([], timeout=0), ValueError, "timeout=0 must be above 0"),
    (lambda: Rules([], timeout="1"), TypeError, "timeout='1' must be a number of seconds"),
]


@pytest.mark.parametrize(("make", "error", "message"), WRONG)
def test_what_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"rules": 1},
        {"rules": [{"kind": "code", "label": "X"}]},
        {"rules": [{"kind": "regex", "label": "X"}]},
        {"rules": [{"kind": "regex", "label": "X", "pattern": "a", "run": "b"}]},
        {"rules": [{"kind": "list", "label": "X", "phrases": [1]}]},
        {"rules": [["kind", "regex"]]},
        {"priority": None},
        {"more": 1},
    ],
)
def test_broken_files(tmp_path, change):
    path = tmp_path / "rules.json"
    path.write_text(json.dumps(RULES.to_dict() | change), encoding="utf-8")
    with pytest.raises(ValueError, match=f"cannot read rules from {re.escape(str(path))}: "):
        Rules.load(path)


def test_files_that_are_no_json(tmp_path):
    for text in ("", "[" * 100_000, "\xff"):
        (tmp_path / "rules.json").write_bytes(text.encode("latin-1"))
        with pytest.raises(ValueError, match="cannot read rules from"):
            Rules.load(tmp_path / "rules.json")


@pytest.fixture(scope="module")
def model():
    return build_model("bert", entity_max_length=4)


def test_a_model_has_its_rules_wherever_it_is_loaded(model, tmp_path):
    text = "Amelia Earhart flew to Paris. GB82WEST12345698765432"
    usual = model.predict(text)
    model.rules = RULES
    found = model.predict(text)
    assert found == RULES.apply(text, usual)
    assert {entity["label"] for entity in found if "origin" in entity} == {"LOC", "IBAN"}
    assert [row["entities"] for row in model.predict_stream([{"text": text}])] == [found]
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    assert loaded.rules.to_dict() == RULES.to_dict()
    assert loaded.predict(text) == found
    assert model.predict([text.split()])[0] == RULES.apply(text.split(), model.predict([text.split()])[0])
    loaded.rules = None
    loaded.save_pretrained(tmp_path)
    assert not (tmp_path / "rules.json").exists()
    assert type(model).from_pretrained(tmp_path).rules is None
    model.rules = None
    assert model.predict(text) == usual


def test_what_rules_find_is_found_everywhere(model):
    model.rules = Rules([RegexRule("CODE", r"(?<=code: )\w+")], "rules first")
    found = model.predict("code: x17 and x17", threshold=1.0, propagate=Propagation())
    model.rules = None
    assert [(e["span"], e["label"], e["origin"]["kind"]) for e in found] == [
        ("x17", "CODE", "rule"),
        ("x17", "CODE", "mention"),
    ]
