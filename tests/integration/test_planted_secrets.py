"""Secrets that are planted in documents are found by rules, a model, and at every mention; what is left is counted."""

import pytest
from planted_secrets import LABELS, NUMBERS, READERS, SENTENCES, Document, Secret, measure, plant_secrets, read_all

from span_marker.redaction import redact, restore
from span_marker.rules.validators import is_card_number, is_email, is_iban

FILLER = ["The committee meets in May.", "Rain is expected.", "Order 66 of 2024-05-01 was shipped."]


class ModelOfFirstNames:
    """Finds the first secret of each document, which is a whole name, and nothing else."""

    def __init__(self, documents):
        self.first = {document.text: document.secrets[0] for document in documents}

    def predict(self, texts, is_split_into_words, split_sentences):
        assert not is_split_into_words
        for text in texts:
            assert [text[start:end] for start, end in split_sentences(text)] == text.splitlines()
        return [
            [
                {
                    "span": text[start:end],
                    "label": "person",
                    "score": 0.95,
                    "char_start_index": start,
                    "char_end_index": end,
                }
            ]
            for text in texts
            for _, start, end in [self.first[text]]
        ]


@pytest.fixture(scope="module")
def documents():
    return plant_secrets(60, FILLER)


@pytest.fixture(scope="module")
def measured(documents):
    found = read_all(ModelOfFirstNames(documents), documents)
    return {
        title: measure(
            documents, [read(document.text, entities) for document, entities in zip(documents, found, strict=True)]
        )
        for title, read in READERS.items()
    }


def recalls(measured, title):
    return {kind: row["mention_recall"] for kind, row in measured[title]["kinds"].items()}


def test_documents_are_the_same_for_a_seed_and_have_all_kinds(documents):
    assert plant_secrets(60, FILLER) == documents
    assert plant_secrets(60, FILLER, seed=1) != documents
    kinds = {secret.kind for document in documents for secret in document.secrets}
    assert kinds == {*SENTENCES} - {"decoy"}
    for text, secrets in documents:
        assert [secret.start for secret in secrets] == sorted(secret.start for secret in secrets)
        for kind, start, end in secrets:
            check = {"iban": is_iban, "card": is_card_number, "email": is_email}.get(kind, str.strip)
            assert check(text[start:end])


def test_rules_find_every_number_and_no_other(measured):
    found = recalls(measured, "model, rules")
    assert {found[kind] for kind in NUMBERS} == {1.0}
    assert {recalls(measured, "model")[kind] for kind in NUMBERS} == {0.0}
    assert set(measured["model, rules"]["false_positives"].values()) == {0}


def test_a_name_is_found_at_every_mention(measured):
    """Of the whole name; the others of a list are known to nobody."""
    alone = recalls(measured, "model")
    propagated = recalls(measured, "model, rules, propagation")
    any_case = recalls(measured, "model, rules, propagation in any case from 0.5")
    assert 0.5 < alone["name"] < propagated["name"] == 1.0, "some are there twice"
    assert alone["name in a list"] == 0.0
    assert propagated["name in a list"] == any_case["name in a list"] == 0.5
    assert {propagated[kind] for kind in ("name in lower case", "name in capitals")} == {0.0}
    assert {any_case[kind] for kind in ("name in lower case", "name in capitals")} == {1.0}


def test_what_is_left_over_is_told(measured):
    row = measured["model, rules, propagation in any case from 0.5"]["kinds"]["name within a word"]
    assert row["character_recall"] == 0.0
    assert row["left"] == [left.lower() for left in row["left"]]
    assert len(row["left"]) == 3


def test_measuring_counts_mentions_and_characters():
    documents = [Document("Ann Lee met Bo.", [Secret("name", 0, 7), Secret("name", 12, 14)]), Document("No.", [])]
    entities = [
        {"label": label, "score": 1.0, "char_start_index": start, "char_end_index": end}
        for label, start, end in [("person", 0, 3), ("person", 12, 14), ("person", 8, 11), ("place", 8, 11)]
    ]
    measured = measure(documents, [entities, []])
    row = measured["kinds"]["name"]
    assert measured["kinds"]["all"] == {**row, "left": []}
    assert (row["mentions"], row["mention_recall"], row["left"]) == (2, 0.5, ["*** Lee"])
    assert row["character_recall"] == pytest.approx(5 / 9)
    assert measured["documents_without_rest"] == 0.5
    assert measured["false_positives"] == {"person": 1}


def test_redacted_documents_have_no_found_secret_and_are_restored(documents):
    found = read_all(ModelOfFirstNames(documents), documents)
    for (text, secrets), entities in zip(documents, found, strict=True):
        everything = READERS["model, rules, propagation"](text, entities)
        redacted = redact(text, [entity for entity in everything if entity["label"] in LABELS], "numbered")
        assert restore(redacted) == text
        for kind, start, end in secrets:
            assert kind not in (*NUMBERS, "name") or text[start:end] not in redacted.text
