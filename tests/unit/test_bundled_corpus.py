"""The bundled corpus: all of it can be read, its splits do not overlap, and it is as varied as it says."""

import re
from collections import Counter

import pytest
from bundled_corpus import CORPUS, SPLITS, read_split, read_words, to_words

from span_marker.core.labels import LabelledSpan, entities_to_tags

TYPES = {"person", "organization", "place", "work", "product", "event", "date"}


@pytest.fixture(scope="module")
def words():
    return {split: list(read_words(split)) for split in SPLITS}


def test_a_sentence_is_split_into_words():
    text = "don't ask  Amelia Earhart (1897)."
    entities = [{"label": "person", "start": 11, "end": 25}, {"label": "date", "start": 27, "end": 31}]
    expected = [{"label": "person", "start": 4, "end": 6}, {"label": "date", "start": 7, "end": 8}]
    tokens = ["don", "'", "t", "ask", "Amelia", "Earhart", "(", "1897", ")", "."]
    assert to_words({"text": text, "entities": entities}) == {"tokens": tokens, "entities": expected}


@pytest.mark.parametrize("place", [(0, 2), (1, 5), (0, 4)])
def test_an_entity_that_cuts_a_word_is_refused(place):
    entities = [{"label": "X", "start": place[0], "end": place[1]}]
    with pytest.raises(KeyError):
        to_words({"text": "Ann Lee", "entities": entities})


def test_all_of_it_is_read(words):
    assert sum(map(len, words.values())) >= 800
    for split in SPLITS:
        texts = read_split(split)
        for row, text in zip(words[split], texts, strict=True):
            assert "".join(row["tokens"]) == "".join(text["text"].split())
            assert not re.search(r"\s\s|^\s|\s$", text["text"])
        assert {entity["label"] for row in words[split] for entity in row["entities"]} == TYPES


def test_splits_do_not_overlap(words):
    seen = Counter()
    for rows in words.values():
        for row in rows:
            seen[" ".join(re.findall(r"\w+", " ".join(row["tokens"]).lower()))] += 1
    assert [sentence for sentence, count in seen.items() if count > 1] == []


def test_no_sentence_is_another_with_other_names(words):
    seen = Counter()
    for rows in words.values():
        for row in rows:
            spans = [LabelledSpan(**entity) for entity in row["entities"]]
            tags = entities_to_tags(spans, len(row["tokens"]))
            names = {"B": "_", "I": ""}
            frame = [word if tag == "O" else names[tag[0]] for word, tag in zip(row["tokens"], tags, strict=True)]
            if sum(word.isalpha() for word in frame) >= 3:
                seen[" ".join(filter(None, frame)).lower()] += 1
    assert [frame for frame, count in seen.items() if count > 1] == []


def test_some_sentences_have_no_entity_and_some_no_capitals(words):
    assert sum(not row["entities"] for row in words["train"]) >= 50
    assert sum(" ".join(row["tokens"]).islower() for row in words["train"]) >= 30


def test_its_page_counts_right(words):
    page = (CORPUS / "README.md").read_text(encoding="utf-8")
    for split, rows in words.items():
        entities = sum(len(row["entities"]) for row in rows)
        assert f"| `{split}.txt` | {len(rows)} | {entities} |" in page
