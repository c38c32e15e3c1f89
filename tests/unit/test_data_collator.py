import numpy as np
import pytest
import torch
from helpers import collate
from oracle import candidates
from tiny import SENTENCES, build_model

from span_marker.preprocessing.data_collator import IGNORE_INDEX, pad_entities

ENTITIES = [[("PER", 0, 2), ("LOC", 5, 6)], [("LOC", 0, 1)], [("PER", 0, 3), ("ORG", 4, 11)], [], []]


@pytest.mark.parametrize(("entity_max_length", "num_reachable"), [(5, 4), (3, 4), (2, 3), (1, 2)])
def test_labels_stand_at_the_gold_spans(entity_max_length, num_reachable):
    model = build_model("bert", entity_max_length=entity_max_length)
    batch = collate(model, SENTENCES, ENTITIES)
    expected = []
    for words, entities in zip(SENTENCES, ENTITIES, strict=True):
        gold = {(start, end): model.config.label2id[label] for label, start, end in entities}
        expected += [gold.get(span, 0) for span in candidates(len(words), entity_max_length)]
    assert batch["labels"].tolist() == expected
    assert sum(label != 0 for label in expected) == num_reachable


def test_gold_entities_are_all_there():
    model = build_model("bert", entity_max_length=5)
    batch = collate(model, SENTENCES, ENTITIES)
    assert batch["gold_entities"].shape == (5, 2, 3)
    for rows, entities in zip(batch["gold_entities"].tolist(), ENTITIES, strict=True):
        kept = [row for row in rows if row[0] != IGNORE_INDEX]
        assert kept == [[model.config.label2id[label], start, end] for label, start, end in entities]
    assert batch["num_words"].tolist() == [len(words) for words in SENTENCES]


def test_each_candidate_of_a_long_sentence_stands_in_one_window():
    model = build_model("bert", entity_max_length=2, model_max_length=8)
    batch = collate(model, SENTENCES[:3], ENTITIES[:3])
    assert batch["input_ids"].shape[1] <= 8
    assert len(batch["rows"]) > 3
    for row, (words, entities) in enumerate(zip(SENTENCES, ENTITIES[:3], strict=False)):
        rows = np.repeat(batch["rows"], batch["span_counts"]) == row
        found = dict(zip(map(tuple, batch["span_words"][rows].tolist()), batch["labels"][rows].tolist(), strict=True))
        assert sorted(found) == candidates(len(words), 2)
        assert len(found) == int(rows.sum())
        gold = {(start, end): model.config.label2id[label] for label, start, end in entities if end - start <= 2}
        assert {span: label for span, label in found.items() if label} == gold
    gold = batch["gold_entities"][batch["gold_entities"][..., 0] != IGNORE_INDEX]
    assert len(gold) == sum(map(len, ENTITIES[:3]))
    assert sum(batch["num_words"].tolist()) == sum(map(len, SENTENCES[:3]))


def test_a_span_may_have_several_labels():
    model = build_model("bert", entity_max_length=5, multi_label=True)
    batch = collate(model, SENTENCES[:2], [[("PER", 0, 2), ("ORG", 0, 2), ("LOC", 5, 6)], []])
    assert batch["labels"].shape == (len(batch["span_tokens"]), 4)
    names = ("O", "PER", "LOC", "ORG")
    outside, per, loc, org = (batch["labels"][:, model.config.label2id[name]] for name in names)
    spans = batch["span_words"].tolist()
    assert [spans[index] for index in torch.nonzero(per * org)[:, 0]] == [[0, 2]]
    assert [spans[index] for index in torch.nonzero(loc)[:, 0]] == [[5, 6]]
    assert (outside == 1 - (per | loc | org)).all()


def test_text_is_padded_and_spans_are_not():
    model = build_model("bert", entity_max_length=5)
    batch = collate(model, SENTENCES)
    assert batch["attention_mask"].dtype == torch.bool
    assert (batch["input_ids"][~batch["attention_mask"]] == model.tokenizer.pad_token_id).all()
    assert len(batch["span_tokens"]) == int(batch["span_counts"].sum())
    assert "labels" not in batch


def test_pad_entities():
    padded = pad_entities([np.array([[1, 0, 2]]), np.empty((0, 3), dtype=np.int64)])
    assert padded.tolist() == [[[1, 0, 2]], [[IGNORE_INDEX] * 3]]
