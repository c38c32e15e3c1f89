"""Relations of rows become features of their windows, and those that are lost are counted."""

import logging
from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from datasets import Dataset
from tiny import SENTENCES, build_model

import span_marker.core.relations
import span_marker.preprocessing.relation_features
from span_marker.preprocessing.features import prepare

RELATIONS = ["knows", "lives in"]
LABELS = ["PER", "LOC", "ORG"]


def relation_model(**options):
    return build_model("bert", relation_labels=RELATIONS, entity_max_length=4, **options)


def row(words, entities, relations):
    return {
        "tokens": words,
        "entities": [{"label": label, "start": start, "end": end} for label, start, end in entities],
        "relations": relations
        if relations is None
        else [{"label": label, "head": head, "tail": tail} for label, head, tail in relations],
    }


def prepared(model, rows):
    return prepare(Dataset.from_list(rows), model.preprocessor, "training")


def warnings(model, rows, caplog):
    summary = prepared(model, rows)[1].relations
    caplog.clear()
    with caplog.at_level(logging.INFO, "span_marker"):
        summary.settle(model.config, "training")
        summary.warn(model.config, "training")
    return summary


@pytest.mark.parametrize("max_length", [None, 12])
def test_each_pair_is_in_the_window_with_the_most_context(max_length):
    """Relations and pairs, found again in features and batches by a search through all windows."""
    model = relation_model(model_max_length=max_length, symmetric_relations=["knows"])
    rng = np.random.default_rng(0)
    words = [word for words in SENTENCES for word in words]
    rows = []
    for _ in range(6):
        starts = np.sort(rng.choice(len(words) - 4, size=10, replace=False)).tolist()
        entities = [(LABELS[start % 3], start, start + 1 + start % 2) for start in starts]
        relations = {pair: (RELATIONS[index % 2], *pair) for index, pair in enumerate(permutations(range(10), 2))}
        chosen = [pair for pair in relations if pair[0] < pair[1] and rng.random() < 0.5]
        order = rng.permutation(10).tolist()  # relations count entities in any order
        rows.append(
            row(
                words,
                [entities[place] for place in order],
                [(relations[h, t][0], order.index(h), order.index(t)) for h, t in chosen],
            )
        )
    features, summary = prepared(model, rows)
    assert (len(features) > len(rows)) == (max_length is not None)
    found_pairs, found_relations = Counter(), Counter()
    for feature in features:
        batch = model.preprocessor.collator.collate([feature])
        first_words = {token: word for word, token in reversed(list(enumerate(feature["word_starts"])))}
        last_words = {token - 1: word for word, token in enumerate(feature["word_ends"])}
        for tokens, label in zip(batch["pair_tokens"].tolist(), batch["pair_labels"].tolist(), strict=True):
            head, tail = (
                (feature["first_word"] + first_words[a], feature["first_word"] + last_words[b] + 1)
                for a, b in (tokens[:2], tokens[2:])
            )
            found_pairs[feature["row"], feature["first_word"], head, tail] += 1
            if label:
                found_relations[feature["row"], label, head, tail] += 1
    windows = {(feature["row"], feature["first_word"]): len(feature["word_starts"]) for feature in features}
    expected_pairs, expected_relations, num_apart = Counter(), Counter(), 0
    for index, one in enumerate(rows):
        spans = [(entity["start"], entity["end"]) for entity in one["entities"]]
        labels = {(spans[r["head"]], spans[r["tail"]]): r["label"] for r in one["relations"]}
        for head, tail in permutations(spans, 2):
            start, end = min(head[0], tail[0]), max(head[1], tail[1])
            context = {
                first: min(start - first, first + size - end)
                for (number, first), size in sorted(windows.items())
                if number == index
            }
            best = max(context, key=context.get)
            if context[best] < 0:
                num_apart += (head, tail) in labels
                continue
            expected_pairs[index, best, head, tail] += 1
            if (head, tail) in labels:
                label = 1 + RELATIONS.index(labels[head, tail])
                is_turned = label == 1 and head > tail
                expected_relations[(index, label, *((tail, head) if is_turned else (head, tail)))] += 1
    assert found_pairs == expected_pairs
    assert found_relations == expected_relations
    assert (summary.relations.apart, num_apart > 0) == (num_apart, max_length is not None)


def test_relations_follow_entities_that_are_repeated_or_trimmed():
    model = relation_model()
    text = "Amelia flew to Paris ."
    entities = [("LOC", 14, 20), ("PER", 0, 6), ("LOC", 15, 20), ("PER", 1, 3)]
    relations = [("lives in", 1, 2), ("lives in", 1, 0), ("knows", 0, 2), ("knows", 3, 1)]
    one = {**row(text, entities, relations), "text": text}
    del one["tokens"]
    features, summary = prepared(model, [one])
    label = [model.config.label2id[name] for name in ("LOC", "PER")]
    spans = {tuple(entity): place for place, entity in enumerate(features[0]["entities"])}
    assert features[0]["relations"] == [[2, spans[label[1], 0, 1], spans[label[0], 3, 4]]]
    counts = summary.relations
    assert (counts.num_relations, counts.without_entity, counts.same_words) == (3, 1, 1)  # one is repeated
    place, person = [label[0], 3, 4], [label[1], 0, 1]
    lost = [label[1], -4, -4]
    lives_in = [2, *person, *place]
    assert features[0]["gold_relations"] == [lives_in, lives_in, [1, *place, *place], [1, *lost, *person]]


def test_everything_that_is_lost_is_reported(caplog):
    model = relation_model()
    words = SENTENCES[2]
    entities = [("PER", 0, 3), ("ORG", 5, 7), ("LOC", 8, 9), ("LOC", 5, 7), ("LOC", 0, 6)]
    relations = [("lives in", 0, 2), ("knows", 0, 2), ("knows", 1, 3), ("knows", 4, 2)]
    warnings(model, [row(words, entities, relations), row(words, entities, None)], caplog)
    assert "1 of the 2 rows of the training data have no value for 'relations'" in caplog.text
    assert (
        "Some of the 4 gold relations of the training data cannot be predicted: 1 have an entity that cannot be "
        "predicted; 1 are between entities with the same words; 1 join two entities that already have another relation"
    ) in caplog.text
    assert "cannot be predicted" not in warnings_of_plain_rows(caplog)


def warnings_of_plain_rows(caplog):
    warnings(relation_model(), [row(SENTENCES[2], [("PER", 0, 3), ("LOC", 8, 9)], [("lives in", 0, 1)])], caplog)
    return caplog.text


def test_types_that_are_not_allowed_are_reported(caplog):
    model = relation_model(relation_types=[["PER", "knows", "PER"]], symmetric_relations=[])
    warnings(model, [row(SENTENCES[2], [("PER", 0, 3), ("LOC", 8, 9)], [("knows", 0, 1)])], caplog)
    message = "1 join entities whose labels relation_types does not allow (set model.config.relation_types to 'any', or"
    assert message in caplog.text


def test_a_model_without_relations_says_that_it_uses_none(caplog):
    model = build_model("bert")
    rows = [row(SENTENCES[2], [("PER", 0, 3), ("LOC", 8, 9)], [("lives in", 0, 1)])]
    warnings(model, rows, caplog)
    assert "The model has no relations, so the 1 relations of the training data are not used" in caplog.text
    assert "relations" not in prepared(model, rows)[0].column_names


def test_the_cut_of_pairs_is_reported_once(caplog, monkeypatch):
    for module in (span_marker.core.relations, span_marker.preprocessing.relation_features):
        monkeypatch.setattr(module, "MAX_PAIRS", 5)
    model = relation_model()
    crowded = row(SENTENCES[2], [("LOC", place, place + 1) for place in range(4)], [])
    features = prepared(model, [crowded])[0]
    assert model.preprocessor.collator.collate(list(features))["pair_counts"].tolist() == [5]
    warnings(model, [crowded, crowded], caplog)
    assert "2 sentences or windows of the training data have more than 5 pairs of entities. 14 pairs" in caplog.text


def test_pairs_of_relations_without_direction_are_half_as_many(caplog, monkeypatch):
    for module in (span_marker.core.relations, span_marker.preprocessing.relation_features):
        monkeypatch.setattr(module, "MAX_PAIRS", 5)
    model = relation_model(symmetric_relations=RELATIONS)
    for num_entities, num_cut in ((3, 0), (4, 1)):
        crowded = row(SENTENCES[2], [("LOC", place, place + 1) for place in range(num_entities)], [])
        batch = model.preprocessor.collator.collate(list(prepared(model, [crowded])[0]))
        num_pairs = num_entities * (num_entities - 1) // 2
        assert batch["pair_counts"].tolist() == [num_pairs - num_cut]
        warnings(model, [crowded], caplog)
        expected = "1 sentences or windows of the training data have more than 5 pairs of entities. 1 pairs"
        assert (expected in caplog.text) == bool(num_cut)
        assert ("are left out" in caplog.text) == bool(num_cut)


def test_rows_that_say_nothing_of_relations_have_no_pairs():
    model = relation_model()
    entities = [("PER", 0, 3), ("LOC", 8, 9)]
    rows = [row(SENTENCES[2], entities, relations) for relations in (None, [], [("knows", 0, 1)])]
    features = prepared(model, rows)[0]
    assert features["relations"][:] == [None, [], [[1, 0, 1]]]
    assert model.preprocessor.collator.collate(list(features))["pair_counts"].tolist() == [0, 2, 2]
    plain = [{name: one[name] for name in ("tokens", "entities")} for one in rows]
    assert prepared(model, plain)[0]["relations"][:] == [None] * 3


def test_a_label_that_the_model_lacks_is_named():
    rows = [row(SENTENCES[2], [("PER", 0, 3), ("LOC", 8, 9)], [("knows", 0, 1), ("owns", 1, 0)])]
    with pytest.raises(ValueError, match=r"row 0 of the training data: relation 1 \('owns'\) .* relation_labels="):
        prepared(relation_model(), rows)


def test_relations_beside_tags_are_refused():
    rows = [{"tokens": ["Paris"], "ner_tags": ["B-LOC"], "relations": []}]
    with pytest.raises(ValueError, match="the training data has 'ner_tags' and 'relations'"):
        prepared(relation_model(), rows)


def test_the_data_settles_what_the_configuration_leaves_open(caplog):
    entities = [("PER", 0, 3), ("PER", 5, 7), ("LOC", 8, 9)]
    both = [("knows", 0, 1), ("knows", 1, 0), ("lives in", 0, 2)]
    rows = [row(SENTENCES[2], entities, both)] * 20
    model = relation_model()
    warnings(model, rows, caplog)
    assert model.config.symmetric_relations == ["knows"]
    assert model.config.relation_types == [["PER", "knows", "PER"], ["PER", "lives in", "LOC"]]
    learned = "Learned from the relations of the training data: symmetric_relations=['knows']; relation_types with 2"
    assert learned in caplog.text
    given = relation_model(symmetric_relations=[], relation_types="any")
    warnings(given, rows, caplog)
    assert (given.config.symmetric_relations, given.config.relation_types) == ([], "any")
    assert caplog.text == ""
    nearly = relation_model()
    warnings(nearly, [*rows, row(SENTENCES[2], entities, both[1:])], caplog)
    assert nearly.config.symmetric_relations == []
    assert "20 of the 21 pairs of entities with the relation 'knows' in the training data have it in" in caplog.text
