"""Pairs of known entities are scored as ``predict`` scores those of the entities that it finds."""

import numpy as np
import pytest
import torch
from helpers import relation_model, rounding
from oracle import as_double, relation_logits
from tiny import SENTENCES

from span_marker.preprocessing.inputs import Sentences
from span_marker.preprocessing.pieces import into_pieces, tokenize
from span_marker.relations.pair_scores import KnownEntities, rank_pairs

NO_ENTITIES = np.empty((0, 3), dtype=np.int64)


def pieces_of(model):
    inputs = Sentences(SENTENCES, False)
    encodings = tokenize(inputs, model.tokenizer)
    rows = [[] for _ in SENTENCES]
    for piece in into_pieces(inputs, encodings, model.tokenizer, model.config, model.max_text_length):
        rows[piece.row].append(piece.features())
    return rows


def arrays_of(model, results):
    return [
        np.array(
            [
                (model.config.label2id[e["label"]], e["word_start_index"], e["word_end_index"])
                for e in result["entities"]
            ],
            dtype=np.int64,
        ).reshape(-1, 3)
        for result in results
    ]


@pytest.mark.parametrize("thresholds", [None, {"knows": 0.1}, {"lives in": 0.9, "knows": 0.2, "works for": 0.3}])
@pytest.mark.parametrize("max_length", [512, 12])
def test_relations_are_those_of_predict(max_length, thresholds):
    model = relation_model(reads_tokens=True, model_max_length=max_length)
    model.config.relation_thresholds = thresholds
    results = model.predict(SENTENCES, relations=True)
    found = arrays_of(model, results)
    pieces = pieces_of(model)
    assert (max(map(len, pieces)) > 1) == (max_length == 12)
    sentences = [KnownEntities(*row) for row in zip(pieces, ([some, NO_ENTITIES] for some in found), strict=True)]
    num_found = num_most_probable = 0
    for result, (ranked, nothing) in zip(results, rank_pairs(model, sentences, batch_size=2), strict=True):
        assert len(nothing.pairs) == len(nothing.scores) == 0
        labels = [model.config.relation_labels[label] for label in ranked.predicted]
        predicted = {(label, *pair) for label, pair in zip(labels, ranked.pairs.tolist(), strict=True)}
        expected = {(one["label"], one["head"], one["tail"]): one["score"] for one in result["relations"]}
        assert {one for one in predicted if one[0] != "no relation"} == set(expected)
        rows = zip(ranked.pairs.tolist(), ranked.labels.tolist(), ranked.scores.tolist(), strict=True)
        best = {(model.config.relation_labels[label], *pair): score for pair, label, score in rows}
        for relation in best.keys() & expected.keys():
            assert best[relation] == pytest.approx(expected[relation], abs=1e-4)
        num_most_probable += len(best.keys() & expected.keys())
        num_found += len(expected)
    assert num_found >= num_most_probable > 3


def test_pairs_of_several_sets_are_scored_once(monkeypatch):
    model = relation_model(reads_tokens=True)
    first = np.array([[1, 0, 2], [2, 5, 6]])
    second = np.array([[3, 5, 6], [1, 0, 2], [1, 2, 3]])
    num_scored = []
    score_pairs = model.score_pairs

    def count(batch, find_pairs, exact):
        num_scored.append(len(find_pairs(None, None)[0]))
        assert len(batch["span_tokens"]) == 0
        return score_pairs(batch, find_pairs, exact)

    monkeypatch.setattr(model, "score_pairs", count)
    pieces = pieces_of(model)
    [[one, other]] = rank_pairs(model, [KnownEntities(pieces[0], [first, second])])
    assert (len(one.pairs), len(other.pairs), sum(num_scored)) == (2, 6, 6)
    monkeypatch.undo()
    [piece] = pieces[0]

    def probabilities(model):
        """Of the relations of the first pair of the first set, which all are possible."""
        tokens = [
            [piece["word_starts"][0], piece["word_ends"][1] - 1, piece["word_starts"][5], piece["word_ends"][5] - 1]
        ]
        return relation_logits(model, torch.tensor(piece["input_ids"]), tokens).softmax(dim=1)[0]

    with torch.no_grad():
        expected = probabilities(as_double(model))
    assert one.pairs[0].tolist() == [0, 1]
    assert one.labels[0] == 1 + int(expected[1:].argmax())
    assert one.scores[0] == pytest.approx(float(expected[1:].max()), abs=rounding(model, probabilities))
    assert rank_pairs(model, []) == []
