"""Redaction: everything that was found is replaced, and comes back."""

import json
import pickle
import re
from itertools import groupby

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from span_marker.core.names import name_key
from span_marker.redaction import RedactionMap, Redactor, redact, restore
from span_marker.redaction.placeholders import NAMED_WAYS, PLACEHOLDER, WAYS, fill_in
from span_marker.redaction.redactor import merge_overlaps

KEY = "0123456789abcdef"
LABELS = ["person", "ORG", "first name", "[x]", "a_1"]


def key_for(how):
    return KEY if how == "hash" else None


def entity(text, part, label="person", **more):
    start = text.index(part)
    return {"label": label, "start": start, "end": start + len(part), **more}


tricky = st.lists(
    st.sampled_from("[ ] _ 1 2 PERSON TEXT [PERSON_1] [TEXT_1] Ann ann Ann's \u0301 \U0001f1e9 \r\n * é".split(" "))
)
texts = st.text(min_size=1) | tricky.map("".join).filter(bool)
plain_texts = st.text("abc '[]_1*\n", min_size=1)


@st.composite
def rows(draw, texts=texts):
    text = draw(texts)
    places = st.tuples(st.integers(0, len(text) - 1), st.integers(1, len(text))).filter(lambda p: p[0] < p[1])
    found = draw(st.lists(st.tuples(places, st.sampled_from(LABELS), st.floats(0, 1)), max_size=6))
    return text, [
        {"label": label, "char_start_index": start, "char_end_index": end, "score": score}
        for (start, end), label, score in found
    ]


def covered(text, entities):
    """Whether each character is within an entity, character by character."""
    return [any(e["char_start_index"] <= at < e["char_end_index"] for e in entities) for at in range(len(text))]


WAYS_AND_A_FUNCTION = [*WAYS, lambda text, label: f"<{label}>"]


@pytest.mark.parametrize("how", WAYS_AND_A_FUNCTION)
@given(rows())
@example(("[PERSON_1]", []))
@example(("Ann [PERSON_1]", [{"label": "person", "char_start_index": 0, "char_end_index": 3}]))
def test_what_was_redacted_is_restored(how, row):
    redacted = redact(*row, how, key=key_for(how))
    assert restore(redacted) == row[0]
    stored = RedactionMap.from_dict(json.loads(json.dumps(redacted.map.to_dict())))
    assert restore(redacted.text, stored) == row[0]


@given(rows(plain_texts))
def test_no_character_of_an_entity_is_left_and_no_other_is_touched(row):
    text, entities = row
    inside = covered(text, entities)
    masked = "".join("*" if is_in else character for character, is_in in zip(text, inside, strict=True))
    assert redact(text, entities, "mask").text == masked
    removed = "".join(character for character, is_in in zip(text, inside, strict=True) if not is_in)
    assert redact(text, entities, "remove").text == removed


@given(rows())
def test_entities_have_all_of_a_grapheme(row):
    text, entities = row
    masked = redact(text, entities, "mask").text
    assert all(masked[at] == "*" for at, is_in in enumerate(covered(text, entities)) if is_in)


def test_accents_go_with_their_letter():
    assert redact("Zoe\u0308!", [{"label": "person", "start": 0, "end": 3}]).text == "[PERSON]!"


@given(rows(plain_texts))
def test_overlapping_entities_are_one_span(row):
    text, entities = row
    spans = redact(text, entities).spans
    kinds = {(e["label"], e["char_start_index"], e["char_end_index"], e["score"]) for e in entities}
    joints = {at for at in range(1, len(text)) if not any(start < at < end for _, start, end, _ in kinds)}
    runs, start = [], 0
    for at in [*sorted(joints), len(text)]:
        if covered(text, entities)[start]:
            runs.append((start, at))
        start = at
    assert [(span.start, span.end) for span in spans] == runs
    for span in spans:
        inner = [kind for kind in kinds if span.start <= kind[1] and kind[2] <= span.end]
        longest = max(end - start for _, start, end, _ in inner)
        best = max(score for _, start, end, score in inner if end - start == longest)
        assert span.label in {kind[0] for kind in inner if (kind[2] - kind[1], kind[3]) == (longest, best)}


@pytest.mark.parametrize("how", NAMED_WAYS)
@given(st.lists(rows(), min_size=1, max_size=4), st.randoms())
def test_placeholders_of_a_stream_are_restored_wherever_they_stand(how, stream, rng):
    redactor = Redactor(how, key=key_for(how))
    results = [redactor.redact(*row) for row in stream]
    parts = []
    for (text, _), redacted in zip(stream, results, strict=True):
        last = 0
        for span in redacted.spans:
            parts += [(text[last : span.start],) * 2, (redacted.text[span.new_start : span.new_end], redactor)]
            last = span.end
        parts.append((text[last:],) * 2)
    rng.shuffle(parts)
    names = redactor.names
    parts = [(new, names[new] if old is redactor else old) for new, old in parts if new]
    # What stood apart may look like a placeholder together.
    parts = [pair for part in parts for pair in (part, (" \n", " \n"))]
    assert restore("".join(new for new, _ in parts), names) == "".join(old for _, old in parts)


@pytest.mark.parametrize("how", NAMED_WAYS)
@given(st.lists(rows(), min_size=1, max_size=4))
def test_one_placeholder_is_one_name(how, stream):
    redactor = Redactor(how, key=key_for(how))
    seen = {}
    for text, entities in stream:
        redacted = redactor.redact(text, entities)
        for span in redacted.spans:
            old, new = text[span.start : span.end], redacted.text[span.new_start : span.new_end]
            assert PLACEHOLDER.fullmatch(new)
            seen.setdefault(new, set()).add(old if PLACEHOLDER.fullmatch(old) else name_key(old))
    assert all(len(names) == 1 for names in seen.values())
    again = Redactor(how, key=key_for(how), names=json.loads(json.dumps(redactor.names)))
    assert [again.redact(*row).text for row in stream] == [redactor.redact(*row).text for row in stream]


@given(rows(plain_texts), st.data())
def test_places_are_found_in_the_new_text(row, data):
    text, entities = row
    redacted = redact(text, entities, "numbered")
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(text))] * 2)))
    first, last = redacted.new_span(start, end)
    touched = [span for span in redacted.spans if span.start < end and start < span.end]
    old_start, old_end = min([start, *(s.start for s in touched)]), max([end, *(s.end for s in touched)])
    part = text[old_start:old_end] if start < end else ""
    if start < end:
        for span in reversed(touched):
            new = redacted.text[span.new_start : span.new_end]
            part = part[: span.start - old_start] + new + part[span.end - old_start :]
    assert redacted.text[first:last] == part
    assert redacted.new_span(0, len(text)) == (0, len(redacted.text)) or not text


def test_a_changed_text_is_restored_by_its_placeholders():
    text = "Ann Lee's boss met ANN  LEE and Bo."
    found = [entity(text, "Ann Lee's"), entity(text, "ANN  LEE"), entity(text, "Bo", "org")]
    redacted = redact(text, found, "numbered")
    assert redacted.text == "[PERSON_1] boss met [PERSON_1] and [ORG_1]."
    assert restore("Did [ORG_1] meet [PERSON_1]? [PERSON_2]", redacted.map) == "Did Bo meet ANN  LEE? [PERSON_2]"
    assert restore(redacted) == text


@pytest.mark.parametrize("how", ["label", "mask", "remove", lambda text, label: label])
def test_a_changed_text_needs_names(how):
    redacted = redact("Ann left.", [{"label": "person", "start": 0, "end": 3}], how)
    with pytest.raises(ValueError, match="how='numbered' or how='hash'"):
        restore(redacted.text + "!", redacted.map)


def test_a_text_without_entities_may_be_changed():
    assert restore("b", redact("a", []).map) == "b"


def test_one_name_in_many_forms():
    forms = ["Ann Lee", "ANN LEE", "Ann\n Lee", "Ann Lee's", "ann lee\u2019s", " Ann\u00a0Lee ", "\uff21nn Lee"]
    assert len({name_key(form) for form in forms}) == 1
    assert len({name_key(name) for name in ("James", "James'", "James's")}) == 1
    assert len({name_key(name) for name in ("Ann", "Anna", "An n", "Zoë", "Zoe", "'s", "s'")}) == 7


def test_a_hash_depends_on_the_key_and_on_nothing_else():
    text = "Ann saw Bo."
    ann, bo = entity(text, "Ann"), entity(text, "Bo")
    both = redact(text, [ann, bo], "hash", key=KEY)
    assert redact(text, [ann], "hash", key=KEY.encode()).text.split()[0] == both.text.split()[0]
    assert redact(text, [ann, bo], "hash", key=KEY + "x").text != both.text
    assert re.fullmatch(r"\[PERSON_[0-9a-f]{16}\] saw \[PERSON_[0-9a-f]{16}\]\.", both.text)


def name_in_two_forms(redactor):
    text = "Ann's boss is Ann."
    return redactor.redact(text, [entity(text, "Ann's"), {"label": "person", "start": 14, "end": 17}]).text


@pytest.mark.parametrize("how", WAYS_AND_A_FUNCTION[:-1])
def test_a_redactor_may_be_sent_to_another_process(how):
    redactor = Redactor(how, key=key_for(how))
    name_in_two_forms(redactor)
    copy = pickle.loads(pickle.dumps(redactor))
    assert (copy.report, copy.names) == (redactor.report, redactor.names)
    assert name_in_two_forms(copy) == name_in_two_forms(redactor)


@pytest.mark.parametrize("how", NAMED_WAYS)
def test_a_name_may_have_several_labels(how):
    redactor = Redactor(how, key=key_for(how))
    labels = ("person", "ORG", "person")
    new = [redactor.redact("Ann", [entity("Ann", "Ann", label)]).text for label in labels]
    assert new[0] == new[2] != new[1]
    assert redactor.report.names == {"person": 1, "ORG": 1}
    if how == "hash":
        assert new[0].split("_")[1] == new[1].split("_")[1]


def test_two_names_with_one_hash_are_an_error(monkeypatch):
    monkeypatch.setattr("span_marker.redaction.placeholders.DIGEST_LENGTH", 0)
    monkeypatch.setattr("span_marker.redaction.placeholders.hmac.digest", lambda *_: b"")
    text = "Ann Bo"
    with pytest.raises(ValueError, match="two names have the same placeholder '\\[PERSON_\\]': choose another key"):
        redact(text, [entity(text, "Ann"), entity(text, "Bo")], "hash", key=KEY)


@given(st.lists(rows(), max_size=4), st.sampled_from(WAYS))
def test_the_report_counts(stream, how):
    redactor = Redactor(how, key=key_for(how))
    results = [redactor.redact(*row) for row in stream]
    report = redactor.report
    spans = [span for redacted in results for span in redacted.spans]
    assert (report.num_texts, report.num_characters) == (len(stream), sum(len(text) for text, _ in stream))
    assert report.num_entities == sum(len(entities) for _, entities in stream)
    assert report.num_redacted == sum(span.end - span.start for span in spans)
    labels = sorted(span.label for span in spans)
    assert report.spans == {label: len(list(group)) for label, group in groupby(labels)}
    assert sum(report.names.values()) == len(redactor.names)


def test_neither_reports_nor_results_show_names():
    redactor = Redactor("numbered")
    redacted = redactor.redact("Ann left.", [{"label": "person", "start": 0, "end": 3}])
    for shown in (str(redactor.report), repr(redactor.report), repr(redacted), repr(redactor), str(redacted.map)):
        assert "Ann" not in shown
    assert redactor.report.names == {"person": 1}


def test_merging_keeps_what_touches_apart():
    assert redact("AnnBo", [entity("AnnBo", "Ann"), entity("AnnBo", "Bo")]).text == "[PERSON][PERSON]"
    assert merge_overlaps([]) == []


def test_unknown_placeholders_stay():
    assert fill_in("[A_1] [A_2] [A_1_1]", {"[A_1]": "x"}) == "x [A_2] [A_1_1]"


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (["Ann", []], {"how": "star"}, r"how='star' must be one of \['label', 'numbered'"),
        (["Ann", []], {"how": "hash"}, "needs a secret key"),
        (["Ann", []], {"how": "hash", "key": "short"}, "key has 5 bytes, but needs at least 16"),
        (["Ann", []], {"key": KEY}, "key is only used with how='hash'"),
        (["Ann", [{"label": "x", "start": 0, "end": 4}]], {}, "the text: entity 'x' ends at character 4"),
        (["Ann", [{"label": "x", "start": 2, "end": 2}]], {}, "is empty"),
    ],
)
def test_wrong_values(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        redact(*arguments, **options)


def test_wrong_types():
    with pytest.raises(TypeError, match="how must return a string, but returned None for an entity 'x'"):
        redact("Ann", [{"label": "x", "start": 0, "end": 1}], lambda text, label: None)
    with pytest.raises(TypeError, match="key must be a string or bytes, not int"):
        redact("Ann", [], "hash", key=1)
    with pytest.raises(TypeError, match="the text: 'text' must be a string, not list"):
        redact(["Ann"], [])
    with pytest.raises(TypeError, match="restore needs the map"):
        restore("Ann")


def test_wrong_maps_and_names():
    with pytest.raises(ValueError, match=r"RedactionMap\.to_dict"):
        RedactionMap.from_dict({"pieces": []})
    with pytest.raises(ValueError, match="its keys must be placeholders such as"):
        Redactor("numbered", names={"PERSON 1": "Ann"})
    with pytest.raises(ValueError, match="end in a number"):
        Redactor("numbered", names={"[PERSON_ab]": "Ann"})
    with pytest.raises(ValueError, match="not the hash of its name: pass the earlier key"):
        Redactor("hash", key=KEY[::-1], names=redact("Ann", [entity("Ann", "Ann")], "hash", key=KEY).map.names)
    with pytest.raises(ValueError, match="names needs how= to be one of"):
        Redactor("mask", names={"[PERSON_1]": "Ann"})
    with pytest.raises(ValueError, match="must satisfy 0 <= start <= end"):
        redact("Ann", []).new_span(2, 1)


def test_places_that_count_something_else_are_refused():
    text = "\U0001f642 Amelia Earhart flew."
    entity = {"span": "Amelia Earhart", "label": "person", "score": 1.0, "char_start_index": 3, "char_end_index": 17}
    with pytest.raises(ValueError, match="the offsets count UTF-16 units, not characters"):
        redact(text, [entity])
    with pytest.raises(ValueError, match="but the annotation says 'Amelia Earhart'"):
        redact("Another text of this length.", [entity])


def test_entities_may_come_in_any_iterable_or_beside_relations():
    text = "Ann met Bo."
    entities = [entity(text, "Ann"), entity(text, "Bo")]
    relations = [{"label": "met", "score": 0.5, "head": 0, "tail": 1}]
    for found in (tuple(entities), iter(entities), {"entities": entities, "relations": relations}):
        assert redact(text, found).text == "[PERSON] met [PERSON]."
    for found in ("Ann", {"relations": []}, None):
        with pytest.raises(TypeError, match="'entities' must be a list"):
            redact(text, found)
