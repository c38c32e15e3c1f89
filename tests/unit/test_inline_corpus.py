"""The bundled corpus: all of it can be read, its splits do not overlap, and it is as varied as it says."""

import re
from collections import Counter

import pytest
from inline_annotation import CORPUS, label_list, parse_sentence, read_split

from span_marker.core.labels import tags_to_entities

SPLITS = ("train", "dev", "test")
TYPES = {"person", "organization", "place", "work", "product", "event", "date"}


def test_a_sentence_is_parsed():
    words, tags = parse_sentence("[Amelia Earhart](person) flew to [Paris](place).")
    assert words == ["Amelia", "Earhart", "flew", "to", "Paris", "."]
    assert tags == ["B-person", "I-person", "O", "O", "B-place", "O"]


def test_adjacent_entities_stay_apart():
    assert parse_sentence("[Tuesday](date) [Napoli](organization)")[1] == ["B-date", "B-organization"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a [b", "bracket belongs to no entity"),
        ("[b] c", "bracket belongs to no entity"),
        ("[ b](person)", "white space at its edges"),
        ("[b](person)c", "cuts a word"),
        ("a[b](person)", "cuts a word"),
    ],
)
def test_broken_annotation_is_refused(line, message):
    with pytest.raises(ValueError, match=message):
        parse_sentence(line)


def test_all_of_it_is_read():
    total = 0
    for split in SPLITS:
        columns = read_split(split)
        total += len(columns["tokens"])
        for words, tags in zip(columns["tokens"], columns["ner_tags"], strict=True):
            assert len(words) == len(tags) > 0
            assert {entity.label for entity in tags_to_entities(tags, "IOB")} <= TYPES
        assert label_list(columns["ner_tags"])[0] == "O"
        assert {label[2:] for label in label_list(columns["ner_tags"])[1:]} == TYPES
    assert total >= 800


def test_splits_do_not_overlap():
    seen = Counter()
    for split in SPLITS:
        for words in read_split(split)["tokens"]:
            seen[" ".join(re.findall(r"\w+", " ".join(words).lower()))] += 1
    assert [sentence for sentence, count in seen.items() if count > 1] == []


def test_no_sentence_is_another_with_other_names():
    seen = Counter()
    for split in SPLITS:
        columns = read_split(split)
        for words, tags in zip(columns["tokens"], columns["ner_tags"], strict=True):
            names = {"B": "_", "I": ""}
            frame = [word if tag == "O" else names[tag[0]] for word, tag in zip(words, tags, strict=True)]
            if sum(word.isalpha() for word in frame) >= 3:
                seen[" ".join(filter(None, frame)).lower()] += 1
    assert [frame for frame, count in seen.items() if count > 1] == []


def test_some_sentences_have_no_entity_and_some_no_capitals():
    columns = read_split("train")
    assert sum(set(tags) == {"O"} for tags in columns["ner_tags"]) >= 50
    lower = [words for words in columns["tokens"] if " ".join(words).islower()]
    assert len(lower) >= 30


def test_its_page_counts_right():
    page = (CORPUS / "README.md").read_text(encoding="utf-8")
    for split in SPLITS:
        columns = read_split(split)
        entities = sum(len(tags_to_entities(tags, "IOB")) for tags in columns["ner_tags"])
        assert f"| `{split}.txt` | {len(columns['tokens'])} | {entities} |" in page
