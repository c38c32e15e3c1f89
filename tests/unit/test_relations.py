"""Relations: settings, pairs, scores against the oracle, the loss, and what ``predict`` makes of it."""

import tracemalloc

import numpy as np
import pytest
import torch
from datasets import Dataset
from helpers import RELATIONS, approximately, check_margin, collate, relation_model, rounding
from oracle import as_double, relation_logits
from tiny import ENCODERS, LABELS, SENTENCES, build_model, encoder_config

import span_marker.core.relations
import span_marker.prediction.predictor
import span_marker.relations.mixin
from span_marker import SpanMarkerConfig, SpanMarkerModel
from span_marker.checkpoints.training_record import Spread, TrainingRecord
from span_marker.core.decoding import ScoredSpan
from span_marker.core.relations import NO_RELATION, RelationRules, ScoredRelation, labelled_pairs, nearest
from span_marker.prediction.relations import as_dicts, follow, join_relations
from span_marker.preprocessing.data_collator import MODEL_INPUTS, PAIR_INPUTS
from span_marker.preprocessing.inputs import Sentences
from span_marker.rules import ListRule, Rules

ENTITIES = [
    [("PER", 0, 2), ("LOC", 5, 6)],
    [("LOC", 0, 1)],
    [("PER", 0, 3), ("ORG", 5, 7), ("LOC", 8, 9), ("LOC", 10, 11)],
    [],
    [("PER", 0, 1), ("LOC", 2, 3)],
]
GOLD = [[(1, 0, 1)], [], [(1, 0, 3), (3, 0, 1), (2, 3, 2)], [], []]
"""Class ID, head and tail of the relations of `SENTENCES`."""


def relation_batch(model):
    """`SENTENCES` with their entities and relations."""
    batch = collate(model, SENTENCES, ENTITIES, GOLD)
    return {name: batch[name] for name in (*MODEL_INPUTS, *PAIR_INPUTS)}


def place(entity):
    return entity["word_start_index"], entity["word_end_index"]


def test_settings_are_saved_and_no_relation_comes_first(tmp_path):
    types = [["PER", "lives in", "LOC"], ["PER", "knows", "PER"]]
    config = SpanMarkerConfig(
        encoder=encoder_config("bert", 64),
        labels=LABELS,
        relation_labels=RELATIONS,
        symmetric_relations=["knows"],
        relation_types=types,
    )
    config.save_pretrained(tmp_path)
    loaded = SpanMarkerConfig.from_pretrained(tmp_path)
    assert loaded.relation_labels == config.relation_labels == [NO_RELATION, *RELATIONS]
    assert (loaded.symmetric_relations, loaded.relation_types) == (["knows"], types)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"relation_labels": ["a", "a"]}, r"must not repeat a label, but \['a'\] occur more than once"),
        ({"relation_labels": [NO_RELATION]}, "at least one label besides 'no relation'"),
        ({"relation_labels": ["PER", "a"]}, r"contains labels that entities have, too: \['PER'\]"),
        (
            {"relation_labels": ["a"], "symmetric_relations": ["b"]},
            r"symmetric_relations contains \['b'\], but .* \['a'\]",
        ),
        ({"relation_labels": ["a"], "relation_types": [["PER", "a"]]}, "the labels of a head, a relation and a tail"),
        ({"relation_types": "any"}, "relation_types='any' needs relation_labels"),
        ({"relation_labels": ["a"], "relation_types": [["PER", "b", "LOC"]]}, r"contains \['PER', 'b', 'LOC'\]"),
        ({"relation_labels": ["a"], "relation_types": [["PER", "a", "O"]]}, r"contains \['PER', 'a', 'O'\]"),
        ({"symmetric_relations": ["a"]}, r"symmetric_relations=\['a'\] needs relation_labels"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        SpanMarkerConfig(encoder=encoder_config("bert", 64), labels=LABELS, **settings)


def test_settings_of_another_type_are_refused():
    with pytest.raises(TypeError, match="relation_types='all' must be 'any', or a list of lists of three labels"):
        SpanMarkerConfig(encoder=encoder_config("bert", 64), labels=LABELS, relation_labels=["a"], relation_types="all")
    for settings in ({"relation_labels": "a"}, {"relation_labels": ["a"], "symmetric_relations": "a"}):
        name = list(settings)[-1]
        with pytest.raises(TypeError, match=f"^{name}='a' must be a list of strings"):
            SpanMarkerConfig(encoder=encoder_config("bert", 64), labels=LABELS, **settings)
    with pytest.raises(TypeError, match=r"^relation_labels=\{.* pass a list, such as infer_relation_labels\(data\)"):
        SpanMarkerConfig(encoder=encoder_config("bert", 64), labels=LABELS, relation_labels={"a"})
    with pytest.raises(TypeError, match="^relation_labels must be strings, but one of them is 1$"):
        SpanMarkerConfig(encoder=encoder_config("bert", 64), labels=LABELS, relation_labels=["a", 1])


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("relation_types", "all", "relation_types='all' must be 'any', or a list of lists of three labels"),
        ("relation_types", ["PER", "knows", "PER"], "each of relation_types='PER' must be a list of strings"),
        ("symmetric_relations", "knows", "symmetric_relations='knows' must be a list of strings"),
    ],
)
def test_settings_that_are_changed_later_are_refused_as_well(name, value, message):
    model = relation_model()
    setattr(model.config, name, value)
    with pytest.raises(TypeError, match=f"^{message}"):
        model.predict(SENTENCES[0])


@pytest.mark.parametrize("types", [None, [["PER", "lives in", "LOC"], ["ORG", "knows", "PER"]]])
def test_the_options_of_a_pair_are_those_of_its_types_and_its_order(types):
    classes = ["O", "LOC", "ORG", "PER"]
    rules = RelationRules.from_labels([NO_RELATION, *RELATIONS], classes, ["knows"], types)
    rng = np.random.default_rng(0)
    heads, tails = (
        np.column_stack([rng.integers(1, 4, 200), start := rng.integers(0, 4, 200), start + rng.integers(1, 3, 200)])
        for _ in range(2)
    )
    options = rules.options(heads, tails)
    for head, tail, found in zip(heads.tolist(), tails.tolist(), options.tolist(), strict=True):
        stands_first = head[1:] < tail[1:]
        expected = [True]
        for relation in RELATIONS:
            ends = (classes[head[0]], classes[tail[0]])
            may = types is None or relation == "works for" or [ends[0], relation, ends[1]] in types
            if relation == "knows":
                may = (may or [ends[1], relation, ends[0]] in types) and stands_first
            expected.append(may)
        assert found == expected


def test_pairs_without_an_option_are_not_scored():
    classes = ["O", "LOC", "PER"]
    rules = RelationRules.from_labels([NO_RELATION, "lives in"], classes, types=[["PER", "lives in", "LOC"]])
    spans = np.array([[2, 0, 1], [1, 2, 3], [2, 4, 5], [1, 4, 5]])
    assert rules.pairs(spans)[0].tolist() == [[0, 1], [0, 3], [2, 1]]
    assert rules.pairs(spans[:0])[0].shape == (0, 2)


def test_thousands_of_entities_do_not_fill_the_memory():
    rules = RelationRules.from_labels([NO_RELATION, "knows"], ["O", "PER"], ["knows"])
    starts = np.arange(1500)
    spans = np.stack([np.ones_like(starts), starts, starts + 1], axis=1)
    tracemalloc.start()
    try:
        pairs, num_more = rules.pairs(spans)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 60e6  # all pairs would take 150 MB and more
    assert len(pairs) + num_more == 1500 * 1499 // 2
    neighbors = [[place, place + 1] for place in range(1499)]
    assert pairs.tolist() == sorted([*neighbors, *([place, place + 2] for place in range(2048 - 1499))])


def test_looking_at_some_pairs_at_a_time_changes_nothing(monkeypatch):
    rules = RelationRules.from_labels([NO_RELATION, "lives in", "knows"], ["O", "LOC", "PER"], ["knows"])
    rng = np.random.default_rng(0)
    starts = rng.integers(0, 30, 40)
    spans = np.stack([rng.integers(1, 3, 40), starts, starts + rng.integers(1, 4, 40)], axis=1)
    monkeypatch.setattr(span_marker.core.relations, "MAX_PAIRS", 50)
    allowed = rules.allowed_pairs(spans)
    for at_a_time in (1, 100, 10**6):
        monkeypatch.setattr(span_marker.core.relations, "PAIRS_AT_A_TIME", at_a_time)
        pairs, num_more = rules.pairs(spans)
        assert pairs.tolist() == allowed[nearest(spans[:, 1:], allowed)].tolist()
        assert num_more == len(allowed) - 50


def test_a_relation_is_the_most_probable_option():
    rules = RelationRules.from_labels([NO_RELATION, "lives in", "knows"], ["O", "LOC", "PER"], ["knows"])
    first, second = ScoredSpan(2, 0, 1, 0.9), ScoredSpan(1, 3, 4, 0.8)
    logits = np.float32([[0, 1, 2], [0, 1, 9], [3, 1, 2]])
    found = rules.decode(logits, [(first, second), (second, first), (first, second)])
    assert [(relation.label_id, relation.head, relation.tail) for relation in found] == [
        (2, first, second),
        (1, second, first),
    ]
    assert found[0].score == pytest.approx(np.exp(2) / np.exp([0, 1, 2]).sum(), rel=1e-6)
    assert found[1].score == pytest.approx(np.exp(1) / np.exp([0, 1]).sum(), rel=1e-6)
    assert rules.decode(np.empty((0, 3), dtype=np.float32), []) == []


def test_the_nearest_pairs_are_kept(monkeypatch):
    monkeypatch.setattr(span_marker.core.relations, "MAX_PAIRS", 4)
    spans = np.array([[0, 1], [2, 3], [9, 12], [12, 13]])
    pairs = np.argwhere(~np.eye(4, dtype=bool))
    assert pairs[nearest(spans, pairs)].tolist() == [[0, 1], [1, 0], [2, 3], [3, 2]]
    relations = np.array([[1, 0, 3]])
    kept, labels = labelled_pairs(spans, relations, [False, False])
    assert [[0, 3], 1] in [[pair, label] for pair, label in zip(kept.tolist(), labels.tolist(), strict=True)]
    assert len(kept) == 4


def test_a_batch_has_all_pairs_of_gold_entities():
    model = relation_model()
    batch = relation_batch(model)
    assert batch["pair_counts"].tolist() == [2, 0, 12, 0, 2]
    found, row = [], 0
    for sentence, (entities, relations) in enumerate(zip(ENTITIES, GOLD, strict=True)):
        expected = {(head, tail): label for label, head, tail in relations}
        if sentence == 2:  # of a symmetric relation, the pair whose head stands first
            expected[2, 3] = expected.pop((3, 2))
        spans = batch["span_words"].split(batch["span_counts"].tolist())[sentence].tolist()
        tokens = batch["span_tokens"].split(batch["span_counts"].tolist())[sentence].tolist()
        for head in range(len(entities)):
            for tail in range(len(entities)):
                if head != tail:
                    ends = [tokens[spans.index(list(entities[end][1:]))] for end in (head, tail)]
                    found.append(ends[0] + ends[1] == batch["pair_tokens"][row].tolist())
                    assert batch["pair_labels"][row] == expected.get((head, tail), 0)
                    row += 1
    assert row == len(batch["pair_tokens"])
    assert all(found)


def test_pairs_reach_no_entity_outside_of_a_window():
    model = relation_model(model_max_length=12)
    batch = collate(model, SENTENCES, ENTITIES, GOLD)
    assert len(batch["pair_counts"]) > len(SENTENCES)
    lengths = batch["attention_mask"].sum(dim=1).repeat_interleave(batch["pair_counts"])
    assert (batch["pair_tokens"] < lengths[:, None]).all()


def logits_of(model, batch):
    return model(**{name: batch[name] for name in (*MODEL_INPUTS[:-1], "pair_tokens", "pair_counts")}).relation_logits


def oracle_logits(model, batch):
    texts = [ids[mask] for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)]
    pairs = batch["pair_tokens"].split(batch["pair_counts"].tolist())
    rows = [relation_logits(model, text, some.tolist()) for text, some in zip(texts, pairs, strict=True) if len(some)]
    return torch.cat(rows)


@pytest.mark.parametrize(("family", "reads_tokens"), [*((family, True) for family in ENCODERS), ("bert", False)])
@torch.no_grad()
def test_scores_of_pairs_agree_with_oracle(family, reads_tokens):
    model = relation_model(family, reads_tokens=reads_tokens)
    batch = relation_batch(model)
    exact = as_double(model)
    expected = oracle_logits(exact, batch)
    within = rounding(model, lambda model: oracle_logits(model, batch))
    torch.testing.assert_close(logits_of(model, batch).double(), expected.double(), atol=within, rtol=0)


def summed_by_hand(logits, tokens, labels):
    """The cross-entropies of pairs. A symmetric relation is no option if the tail stands first."""
    total = torch.zeros((), dtype=torch.float64)
    for scores, places, label in zip(logits, tokens.tolist(), labels.tolist(), strict=True):
        stands_first = places[:2] < places[2:]
        options = [option for option, name in enumerate([None, *RELATIONS]) if stands_first or name != "knows"]
        total = total - scores[options].log_softmax(dim=0)[options.index(label)]
    return total


def without_dropout(model):
    """The model in training mode, but without dropout."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model.train()


def test_training_adds_pairs_with_the_most_probable_wrong_spans():
    model = without_dropout(as_double(relation_model(reads_tokens=True)))
    batch, outside = relation_batch(model), model.config.outside_id
    output = model(**batch)
    pairs = [batch[name].split(batch["pair_counts"].tolist()) for name in ("pair_tokens", "pair_labels")]
    spans = [
        values.split(batch["span_counts"].tolist()) for values in (output.logits, batch["labels"], batch["span_tokens"])
    ]
    tokens, labels, counts = [], [], []
    for pair_tokens, pair_labels, logits, gold, places in zip(*pairs, *spans, strict=True):
        tokens += pair_tokens.tolist()
        labels += pair_labels.tolist()
        counts.append(len(pair_tokens))
        if len(pair_tokens) == 0:
            continue
        is_gold, best, wrong = [], -float("inf"), None  # one wrong span for up to four entities
        for row, label, place in zip(logits.tolist(), gold.tolist(), places.tolist(), strict=True):
            score = max(row[:outside] + row[outside + 1 :]) - row[outside]
            if label != outside:
                is_gold.append(place)
            elif score > best:
                best, wrong = score, place
        added = [place + wrong for place in is_gold] + [wrong + place for place in is_gold]
        tokens += added
        labels += [0] * len(added)
        counts[-1] += len(added)
    assert len(tokens) == len(output.relation_logits) > len(batch["pair_tokens"])
    found = output.relation_loss * len(tokens)
    of_all = {"pair_tokens": torch.tensor(tokens), "pair_labels": None, "pair_counts": torch.tensor(counts)}
    logits = model.eval()(**{**batch, **of_all}).relation_logits
    torch.testing.assert_close(found, summed_by_hand(logits, torch.tensor(tokens), torch.tensor(labels)).to(found))


@pytest.mark.parametrize("checkpointing", [False, True])
def test_many_pairs_are_scored_some_at_a_time(monkeypatch, checkpointing):
    """Neither scores nor gradients change, and the memory of a part is free before the next one runs."""
    model = without_dropout(as_double(relation_model(reads_tokens=True)))
    batch = relation_batch(model)
    at_once = model(**batch)
    at_once.loss.backward()
    expected = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    model.zero_grad()
    monkeypatch.setattr(span_marker.relations.mixin, "PAIRS_AT_ONCE", 5)
    if checkpointing:
        model.gradient_checkpointing_enable()
    sizes = []
    model.relation_head.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    in_parts = model(**batch)
    assert max(sizes) == 5
    num_parts = len(sizes)
    in_parts.loss.backward()
    assert len(sizes) == 2 * num_parts  # each part runs again
    torch.testing.assert_close(in_parts.relation_logits, at_once.relation_logits, atol=1e-9, rtol=0)
    for name, parameter in model.named_parameters():
        if name in expected:
            torch.testing.assert_close(parameter.grad, expected[name], atol=1e-9, rtol=0)


def test_a_pair_of_words_without_tokens_has_a_finite_loss():
    """Their tokens may be in another order than the words, which must not rule their relation out."""
    model = relation_model(reads_tokens=True)
    batch = relation_batch(model)
    tokens = batch["pair_tokens"]
    batch["pair_labels"] = torch.full_like(batch["pair_labels"], 1 + RELATIONS.index("knows"))
    assert (tokens[:, 0] > tokens[:, 2]).any()
    assert torch.isfinite(model(**batch).loss)


def test_entities_with_the_same_words_are_one_in_pairs():
    spans, relations = np.array([[0, 2], [0, 2], [3, 4]]), np.array([[1, 1, 2], [2, 0, 2], [1, 0, 1]])
    pairs, labels = labelled_pairs(spans, relations, [False] * 3)
    assert (pairs.tolist(), labels.tolist()) == ([[0, 2], [2, 0]], [1, 0])


def test_pairs_of_symmetric_relations_alone_have_one_order():
    spans = np.array([[3, 4], [0, 2], [5, 6]])
    pairs, labels = labelled_pairs(spans, np.array([[1, 0, 1], [2, 0, 2]]), [False, True, True])
    assert (pairs.tolist(), labels.tolist()) == ([[0, 2], [1, 0], [1, 2]], [2, 1, 0])


def test_the_loss_is_that_of_candidates_and_pairs():
    model = as_double(relation_model(reads_tokens=True))
    batch = relation_batch(model)
    entities = model(**{name: batch[name] for name in MODEL_INPUTS})
    both = model(**batch)
    expected = summed_by_hand(both.relation_logits, batch["pair_tokens"], batch["pair_labels"])
    difference = (both.loss - entities.loss) * len(batch["labels"])
    torch.testing.assert_close(difference, expected.to(difference), atol=1e-4, rtol=0)
    torch.testing.assert_close(both.relation_loss * len(batch["pair_labels"]), expected.to(both.relation_loss))
    both.loss.backward()
    assert all(parameter.grad is not None for parameter in model.relation_head.parameters())
    assert (model.relation_head.markers.grad.abs().sum(dim=1) > 0).all()


def test_a_batch_without_pairs_has_gradients_of_all_parameters():
    model = relation_model(reads_tokens=True).train()
    batch = collate(model, SENTENCES[1:2], ENTITIES[1:2], GOLD[1:2])
    model(**{name: batch[name] for name in (*MODEL_INPUTS, *PAIR_INPUTS)}).loss.backward()
    assert (model.relation_head.markers.grad == 0).all()


def test_relations_are_those_of_the_scores_of_all_pairs():
    model = relation_model(reads_tokens=True)
    plain = model.predict(SENTENCES, relations=False)
    results = model.predict(SENTENCES, relations=True)
    assert [result["entities"] for result in results] == plain
    places = [[(entity["label"], *place(entity)) for entity in entities] for entities in plain]
    batch = collate(model, SENTENCES, places, [[] for _ in SENTENCES])
    with torch.no_grad():
        scores = oracle_logits(as_double(model), batch).softmax(dim=1)
    within = rounding(model, lambda model: oracle_logits(model, batch))
    rows, num_found = iter(scores.tolist()), 0
    for entities, result in zip(plain, results, strict=True):
        found = {(one["head"], one["tail"]): one for one in result["relations"]}
        assert len(found) == len(result["relations"])
        for head in range(len(entities)):
            for tail in range(len(entities)):
                if head != tail:
                    row = dict(zip(model.config.relation_labels, next(rows), strict=True))
                    if place(entities[head]) > place(entities[tail]):
                        del row["knows"]
                    row = {label: score / sum(row.values()) for label, score in row.items()}
                    best = max(row, key=row.get)
                    assert sorted(row.values())[-1] - sorted(row.values())[-2] > 2 * within
                    one = found.pop((head, tail), {"label": NO_RELATION})
                    assert one["label"] == best
                    if best != NO_RELATION:
                        num_found += 1
                        assert one["score"] == pytest.approx(row[best], abs=within)
        assert not found
    assert num_found > 3


def test_the_text_is_encoded_once():
    model = relation_model(reads_tokens=True)
    rows = []
    layer = model.encoder.encoder.layer[0]
    handle = layer.register_forward_pre_hook(lambda module, args: rows.append(args[0].shape[1]))
    results = model.predict(SENTENCES, relations=True)
    handle.remove()
    batch = collate(model, SENTENCES)
    num_pairs = sum(len(result["entities"]) * (len(result["entities"]) - 1) for result in results)
    assert num_pairs > 0
    assert rows == [int(batch["attention_mask"].sum()), 2 * len(batch["span_tokens"]), 4 * num_pairs]


def test_types_can_be_switched_off():
    types = [["PER", "lives in", "LOC"], ["LOC", "knows", "LOC"], ["PER", "works for", "ORG"]]
    model = relation_model(reads_tokens=True, relation_types=types)
    allowed = model.predict(SENTENCES, relations=True)
    for result in allowed:
        for one in result["relations"]:
            labels = [result["entities"][one[end]]["label"] for end in ("head", "tail")]
            assert [labels[0], one["label"], labels[1]] in types
    model.config.relation_types = "any"
    assert model.predict(SENTENCES, relations=True) != allowed


def test_every_way_of_asking_gives_the_same():
    model = relation_model(reads_tokens=True)
    expected = model.predict(SENTENCES, relations=True, batch_size=1)
    assert list(model.predict_stream(SENTENCES, relations=True, batch_size=1)) == expected
    rows = [{"id": index, "tokens": words} for index, words in enumerate(SENTENCES)]
    streamed = list(model.predict_stream(rows, relations=True, batch_size=1))
    assert streamed == [{**row, **result} for row, result in zip(rows, expected, strict=True)]
    assert model.predict(SENTENCES[0], relations=True, is_split_into_words=True) == expected[0]
    result, coverage = model.predict(SENTENCES[0], relations=True, is_split_into_words=True, return_coverage=True)
    assert result == expected[0]
    assert coverage.is_complete


def test_relations_of_sentences_are_relations_of_their_document():
    model = relation_model(reads_tokens=True)
    texts = [" ".join(words) for words in SENTENCES if words]

    def split(text):
        ends = np.cumsum([len(part) + 1 for part in texts])
        return [(int(end) - len(part) - 1, int(end) - 1) for part, end in zip(texts, ends, strict=True)]

    document = model.predict(" ".join(texts), relations=True, split_sentences=split, batch_size=1)
    expected, num_before = [], 0
    for result in (model.predict(text, relations=True) for text in texts):
        expected += [
            {**one, "head": one["head"] + num_before, "tail": one["tail"] + num_before} for one in result["relations"]
        ]
        num_before += len(result["entities"])
    assert len(document["entities"]) == num_before
    assert expected
    assert document["relations"] == expected


def test_relations_follow_their_entities():
    entities = [{"label": label, "word_start_index": n, "word_end_index": n + 1} for n, label in enumerate("ABC")]
    relations = [{"label": "r", "score": 0.5, "head": 2, "tail": 0}, {"label": "s", "score": 0.5, "head": 0, "tail": 1}]
    after = [entities[0], {"label": "D", "word_start_index": 1, "word_end_index": 2}, entities[2]]
    assert follow(relations, entities, after[::-1]) == [{**relations[0], "head": 0, "tail": 2}]
    joined = join_relations([[0, 9], []], [entities, entities], [relations[:1], relations[1:]])
    assert joined == [[relations[0], {**relations[1], "head": 3, "tail": 4}], []]


def test_relations_of_entities_that_were_not_selected_are_dropped():
    spans = [ScoredSpan(1, start, start + 1, 0.5) for start in range(3)]
    ends = [(1, 0.9, spans[0], spans[2]), (1, 0.8, spans[2], spans[1]), (2, 0.7, spans[2], spans[0])]
    relations = [ScoredRelation(*one) for one in ends]
    assert as_dicts(relations, [spans[0], spans[2]], ["no", "a", "b"]) == [
        {"label": "a", "score": 0.9, "head": 0, "tail": 1},
        {"label": "b", "score": 0.7, "head": 1, "tail": 0},
    ]


def test_new_markers_begin_as_those_of_entities():
    model = build_model("bert", reads_tokens=True, entity_max_length=4)
    before = model.predict(SENTENCES)
    model.add_relations(RELATIONS, symmetric=["knows"])
    embeddings = model.get_input_embeddings().weight
    start, end = model.tokenizer.start_marker_id, model.tokenizer.end_marker_id
    assert torch.equal(model.relation_head.markers, embeddings[[start, end, start, end]])
    assert model.predict(SENTENCES, relations=False) == before
    assert not any(result["relations"] for result in model.predict(SENTENCES, relations=True))


def test_a_checkpoint_predicts_the_same_relations(tmp_path):
    model = relation_model(reads_tokens=True, relation_types=[["PER", "lives in", "LOC"], ["LOC", "knows", "LOC"]])
    expected = model.predict(SENTENCES, relations=True)
    assert any(result["relations"] for result in expected)
    model.save_pretrained(tmp_path)
    assert SpanMarkerModel.from_pretrained(tmp_path).predict(SENTENCES, relations=True) == expected
    assert SpanMarkerModel.from_pretrained(tmp_path, relation_types=None).config.relation_types is None
    for other in (["other"], RELATIONS[:2], None):
        with pytest.raises(ValueError, match=r"relation_labels=\['no relation', .* not (\[|None)"):
            SpanMarkerModel.from_pretrained(tmp_path, relation_labels=other)
    turned = SpanMarkerModel.from_pretrained(tmp_path, relation_labels=RELATIONS[::-1])
    assert turned.config.relation_labels == [NO_RELATION, *RELATIONS]  # in the order of the weights
    assert turned.predict(SENTENCES, relations=True) == expected


def test_a_checkpoint_without_relations_may_be_told_so(tmp_path):
    build_model("bert").save_pretrained(tmp_path)
    assert SpanMarkerModel.from_pretrained(tmp_path, relation_labels=None).relation_head is None
    with pytest.raises(ValueError, match=r"has relation_labels=None, not \['knows'\]: .* call model.add_relations"):
        SpanMarkerModel.from_pretrained(tmp_path, relation_labels=["knows"])


def test_wrong_relations_leave_the_model_unchanged():
    model = build_model("bert", reads_tokens=True)
    with pytest.raises(ValueError, match=r"contains labels that entities have, too: \['LOC'\]"):
        model.add_relations(["LOC"])
    assert (model.relation_head, model.config.relation_labels) == (None, None)
    with pytest.raises(ValueError, match="the model has no relations: make it with relation_labels="):
        model.predict(SENTENCES, relations=True)
    with pytest.raises(TypeError, match="symmetric_relations='knows' must be a list of strings"):
        model.add_relations(RELATIONS, symmetric="knows")
    assert (model.relation_head, model.config.relation_labels) == (None, None)
    with pytest.raises(ValueError, match="fast engine"):
        build_model("bert", "dense").add_relations(RELATIONS)


def test_new_relations_have_no_thresholds():
    model = relation_model(reads_tokens=True)
    model.config.relation_thresholds = {"knows": 0.3}
    with pytest.raises(ValueError, match="contains labels that entities have, too"):
        model.add_relations(["LOC"])
    assert model.config.relation_thresholds == {"knows": 0.3}
    model.add_relations(["sings to"])
    assert model.config.relation_thresholds is None


def test_other_labels_of_entities_take_their_types_along(caplog):
    model = relation_model(reads_tokens=True, relation_types=[["PER", "lives in", "LOC"], ["PER", "knows", "PER"]])
    model._change_labels(["O", "PER", "FOOD"])
    assert model.config.relation_types == [["PER", "knows", "PER"]]
    assert "All relation_types of the relations ['lives in'] have a label that is dropped" in caplog.text


def test_other_relations_leave_nothing_of_the_former_ones_in_the_card():
    model = build_model("bert", relation_labels=RELATIONS)
    model.note_change("Relations", "lives in, knows: fitted to 9 rows.")
    model.note_change("Thresholds of relations", "knows 0.7")
    model.note_change("Thresholds", "LOC 0.3")
    model.training_record = TrainingRecord({}, [], Spread(1, 1, 1), Spread(1, 1, 1))
    figures = {"precision": 0.5, "recall": 0.5, "f1": 0.5, "number": 2}
    results = {
        f"eval_{kind}_{metric}": 0.5 for kind in ("overall", "relation") for metric in ("precision", "recall", "f1")
    }
    model.training_record.results["eval"] = {**results, "eval_relation_knows": figures, "eval_LOC": figures}
    model.add_relations(["sings to"])
    card = model.generate_model_card()
    assert "- **Relations:** sings to: added, and not yet trained." in card
    assert "- **Thresholds:** LOC 0.3" in card
    assert "knows" not in card
    assert "Thresholds of relations" not in card
    assert sorted(model.training_record.results["eval"]) == sorted(
        ["eval_LOC", *(name for name in results if "overall" in name)]
    )
    assert model.training_record.outdated == {"eval"}


def test_a_card_says_that_relations_are_new(tmp_path):
    new = build_model("bert")
    new.add_relations(RELATIONS)
    assert "not yet trained" not in new.generate_model_card()  # as everything else of a new model
    build_model("bert").save_pretrained(tmp_path)
    model = SpanMarkerModel.from_pretrained(tmp_path)
    model.add_relations(RELATIONS)
    assert "- **Relations:** lives in, knows" in model.generate_model_card()


def test_a_model_learns_relations_by_heart():
    model = relation_model(reads_tokens=True)  # without dropout
    batch = relation_batch(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(100):
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
    for result, entities, gold in zip(model.predict(SENTENCES, relations=True), ENTITIES, GOLD, strict=True):
        assert [(entity["label"], *place(entity)) for entity in result["entities"]] == entities
        found = {(one["label"], one["head"], one["tail"]) for one in result["relations"]}
        expected = {(RELATIONS[label - 1], head, tail) for label, head, tail in gold}
        assert found == {(a, min(h, t), max(h, t)) if a == "knows" else (a, h, t) for a, h, t in expected}


LONG = [word for words in (*SENTENCES, *SENTENCES[::-1]) for word in words]
MIXED = [*SENTENCES, LONG, LONG[:9]]


def window_model():
    return relation_model(reads_tokens=True, model_max_length=12)


def pair_rounding(model):
    """How far rounding may set probabilities of relations apart."""
    batch = relation_batch(model)
    return rounding(model, lambda model: oracle_logits(model, batch)) / 2


def check_relation_margin(model, inputs, within):
    """Check that rounding does not decide which class of a pair is the most probable."""
    for result in model.predict(inputs, relation_threshold=0.0, top_k=99, is_split_into_words=None):
        for one in result["relations"]:
            first, second = (pair["score"] for pair in one["labels"][:2])
            assert first - second > 2 * within


def within_rounding(results, within):
    """To compare with the same entities and relations, up to rounding of their scores."""
    return [{name: approximately([row], within)[0] for name, row in result.items()} for result in results]


def windows_of(model, words):
    sentences = Sentences([words], are_texts=False)
    pieces = model.preprocessor.pieces(sentences, model.preprocessor.encode(sentences))
    return [(piece.first_word, piece.first_word + piece.tokens.num_words) for piece in pieces]


def test_a_pair_is_scored_in_the_window_that_gives_it_the_most_context():
    model = window_model()
    result, coverage = model.predict(
        LONG, is_split_into_words=True, return_coverage=True, relation_threshold=0.0, top_k=99
    )
    entities, windows = result["entities"], windows_of(model, LONG)
    assert len(windows) == coverage.num_windows > 3
    assert coverage.windows == windows
    found = {(one["head"], one["tail"]): one for one in result["relations"]}
    exact, within, num_separate = as_double(model), pair_rounding(model), 0
    for head in range(len(entities)):
        for tail in range(len(entities)):
            if head == tail:
                continue
            ends = [place(entities[end]) for end in (head, tail)]
            contexts = [min(min(s - first, last - e) for s, e in ends) for first, last in windows]
            assert coverage.holds(entities[head], entities[tail]) == (max(contexts) >= 0)
            if max(contexts) < 0:
                num_separate += 1
                assert (head, tail) not in found
                continue
            first, last = windows[contexts.index(max(contexts))]
            own = [(entities[end]["label"], *(word - first for word in place(entities[end]))) for end in (head, tail)]
            batch = collate(model, [LONG[first:last]], [own], [[]])
            with torch.no_grad():
                logits = oracle_logits(exact, {**batch, "pair_counts": batch["pair_counts"]})[0]
            may = [label != "knows" or ends[0] < ends[1] for label in model.config.relation_labels]
            expected = torch.where(torch.tensor(may), logits, -torch.inf).softmax(dim=0).tolist()
            scores = {pair["label"]: pair["score"] for pair in found.pop((head, tail))["labels"]}
            assert [scores[label] for label in model.config.relation_labels] == pytest.approx(expected, abs=within)
    assert not found
    assert coverage.num_separate_pairs == num_separate > 0
    assert (coverage.num_dropped_pairs, coverage.is_complete) == (0, False)


def test_entities_are_the_same_with_relations_and_without():
    model = window_model()
    assert [result["entities"] for result in model.predict(MIXED)] == model.predict(MIXED, relations=False)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_batches_streams_and_order_change_nothing(batch_size):
    model = window_model()
    within = pair_rounding(model)
    check_margin(model, MIXED)
    check_relation_margin(model, MIXED, within)
    expected = within_rounding(model.predict(MIXED), within)
    assert any(result["relations"] for result in expected)
    assert model.predict(MIXED, batch_size=batch_size) == expected
    assert model.predict(MIXED[::-1], batch_size=batch_size)[::-1] == expected
    assert list(model.predict_stream(MIXED, batch_size=batch_size)) == expected
    texts = [" ".join(words) for words in MIXED]
    for result, of_words in zip(model.predict(texts, is_split_into_words=False), expected, strict=True):
        assert result["relations"] == of_words["relations"]


def test_pairs_in_no_window_and_beyond_the_limit_are_warned_of(monkeypatch, caplog):
    model = window_model()
    allowed = [len(result["entities"]) for result in model.predict(MIXED)]
    caplog.clear()
    for module in (span_marker.core.relations, span_marker.prediction.predictor):
        monkeypatch.setattr(module, "MAX_PAIRS", 4)
    found, coverages = model.predict(MIXED, return_coverage=True)
    for result, coverage, number in zip(found, coverages, allowed, strict=True):
        if coverage.num_windows == 1:
            assert coverage.num_dropped_pairs == max(number * (number - 1) - 4, 0)
            assert len(result["relations"]) <= 4
        assert coverage.is_complete == (not coverage.num_dropped_pairs and not coverage.num_separate_pairs)
    assert any(coverage.num_separate_pairs for coverage in coverages)
    num_separate, num_dropped = (
        sum(getattr(c, name) for c in coverages) for name in ("num_separate_pairs", "num_dropped_pairs")
    )
    [message] = [record.getMessage() for record in caplog.records if "not read in full" in record.getMessage()]
    assert f"since pairs of entities are not together in any window of 12 tokens ({num_separate:,});" in message
    assert f"pairs of entities are not among the nearest 4 of a window ({num_dropped:,}):" in message
    assert "model_max_length" in message
    assert "relation_types" in message


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.9, {"knows": 0.2}, {"knows": 0.0, "lives in": 1.0}])
def test_a_threshold_decides_as_that_of_entities_does(threshold):
    model = relation_model(reads_tokens=True)
    everything = model.predict(SENTENCES, relation_threshold=0.0, top_k=99, batch_size=1)
    found = model.predict(SENTENCES, relation_threshold=threshold, batch_size=1)
    for every, result in zip(everything, found, strict=True):
        expected = []
        for one in every["relations"]:
            scores = {pair["label"]: pair["score"] for pair in one["labels"]}
            best = max(scores, key=scores.get)
            limits = threshold if isinstance(threshold, dict) else dict.fromkeys(RELATIONS, threshold)
            likely = [x for x in RELATIONS if (scores[x] >= limits[x] if x in limits else x == best) and scores[x] > 0]
            if likely:
                expected.append((max(likely, key=scores.get), one["head"], one["tail"]))
        assert [(one["label"], one["head"], one["tail"]) for one in result["relations"]] == expected
    assert sum(len(result["relations"]) for result in everything) == sum(
        len(result["entities"]) * (len(result["entities"]) - 1) for result in everything
    )


def test_labels_of_relations_are_the_most_probable_ones():
    model = relation_model(reads_tokens=True)
    for result in model.predict(SENTENCES, top_k=2):
        for one in result["relations"]:
            assert len(one["labels"]) == 2
            assert one["labels"][0] == {"label": one["label"], "score": one["score"]}
            assert one["labels"][0]["score"] >= one["labels"][1]["score"]


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"relations": "yes"}, TypeError, "relations='yes' must be True, False, or None"),
        ({"relation_threshold": 2}, ValueError, "relation_threshold"),
        ({"relation_threshold": {"PER": 0.5}}, ValueError, r"relation_threshold=.* contains the labels \['PER'\]"),
        (
            {"relation_threshold": 0.5, "relations": False},
            ValueError,
            r"no relations are predicted \(relations=False\)",
        ),
    ],
)
def test_wrong_options_are_refused(options, kind, message):
    with pytest.raises(kind, match=message):
        relation_model().predict([], **options)


def test_a_model_without_relations_has_no_threshold_of_them():
    with pytest.raises(ValueError, match=r"no relations are predicted \(the model has none\)"):
        build_model().predict([], relation_threshold=0.5)


@pytest.mark.parametrize("make", [relation_model, build_model])
def test_relations_of_rows_do_not_stay_beside_other_entities(make):
    model = make(reads_tokens=True)
    gold = [{"label": "x", "head": 0, "tail": 1}]
    rows = [{"id": n, "tokens": words, "relations": gold} for n, words in enumerate(SENTENCES)]
    found = model.predict(SENTENCES, batch_size=1)
    plain = [result if isinstance(result, dict) else {"entities": result} for result in found]
    expected = [{"id": row["id"], "tokens": row["tokens"], **result} for row, result in zip(rows, plain, strict=True)]
    assert list(model.predict_stream(rows, batch_size=1)) == expected
    dataset = Dataset.from_list(rows)
    assert model.predict(dataset, batch_size=1, keep_columns=["id", "tokens"]) == expected
    with pytest.raises(ValueError, match="'relations' has indices of entities that the result replaces"):
        model.predict(dataset, keep_columns=["id", "relations"])


PLACE = ("label", "char_start_index", "char_end_index")


def named(result):
    """Relations with the places of their entities in place of indices."""
    places = [tuple(entity[name] for name in PLACE) for entity in result["entities"]]
    return [(one["label"], places[one["head"]], places[one["tail"]]) for one in result["relations"]]


def test_relations_follow_their_entities_past_rules_and_mentions():
    model = relation_model(reads_tokens=True)
    texts = [" ".join(words) for words in SENTENCES if words]
    before = model.predict(texts, is_split_into_words=False, batch_size=1, decoding="flat")
    model.rules = Rules([ListRule("ORG", ["Amelia Earhart flew", "da Vinci"])], priority="rules first")
    after = model.predict(texts, is_split_into_words=False, batch_size=1, decoding="flat")
    assert [result["entities"] for result in after] != [result["entities"] for result in before]
    for old, new in zip(before, after, strict=True):
        there = [tuple(entity[name] for name in PLACE) for entity in new["entities"]]
        assert named(new) == [one for one in named(old) if one[1] in there and one[2] in there]
    assert any(named(new) for new in after)


@pytest.mark.parametrize("offsets", ["utf-16", "utf-8"])
def test_relations_do_not_depend_on_units(offsets):
    model = relation_model(reads_tokens=True)
    text = "\N{PARTY POPPER} Amelia flew to Paris and to Egypt \N{PARTY POPPER} with Leonardo."
    plain, other = (model.predict(text, offsets=unit) for unit in ("codepoint", offsets))
    assert plain["entities"] != other["entities"]
    assert other["relations"] == plain["relations"]
    assert plain["relations"]


def test_relations_in_documents_are_those_of_their_rows():
    model = relation_model(
        reads_tokens=True, max_prev_context=1, max_next_context=1, trained_with_document_context=True
    )
    words = [sentence for sentence in SENTENCES if sentence]
    columns = {"tokens": words, "document_id": ["a"] * len(words), "sentence_id": [*range(len(words))]}
    within = pair_rounding(model)
    expected = model.predict(Dataset.from_dict(columns))
    assert any(result["relations"] for result in expected)
    order = [2, 0, 3, 1]
    shuffled = model.predict(Dataset.from_dict(columns).select(order), batch_size=2)
    assert shuffled == within_rounding([expected[row] for row in order], within)
    assert expected != model.predict(words)


def test_white_space_has_no_relation():
    """The tokenizer may make a word of it, which is no entity."""
    model = relation_model(reads_tokens=True)
    result = model.predict("Amelia \t flew \n to Paris ", relation_threshold=0.0)
    assert all(entity["span"].strip() for entity in result["entities"])
    number = len(result["entities"])
    assert len(result["relations"]) == number * (number - 1)


def test_the_pairs_of_a_window_do_not_need_its_candidates():
    model = window_model()
    calls = []
    model.register_forward_pre_hook(
        lambda module, args, kwargs: calls.append(len(kwargs["span_tokens"])), with_kwargs=True
    )
    model.predict(LONG, is_split_into_words=True, batch_size=64)
    assert calls[0] > 0
    assert calls[1:] == [0]


def test_a_model_that_cannot_find_relations_says_so():
    model = build_model("bert", "dense", relation_labels=RELATIONS, entity_max_length=4)
    for relations in (None, True):
        with pytest.raises(ValueError, match=r"fast engine.*relations=False"):
            model.predict(SENTENCES, relations=relations)
    assert any(model.predict(SENTENCES, relations=False))
