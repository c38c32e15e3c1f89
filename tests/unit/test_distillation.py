"""Students learn what their teachers say."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import arguments, batch_logits, collate
from tiny import SENTENCES, TAGS, build_model
from torch.testing import assert_close

from span_marker.compression import distill, distillation, shrink
from span_marker.compression.distillation import FLOOR, SoftLabels
from span_marker.core.labels import tags_to_entities
from span_marker.core.settings import NO_THRESHOLDS
from span_marker.heads import summed_loss
from span_marker.rules import Rules

WORDS = [sentence for sentence in SENTENCES if sentence]
RELATED = {"relation_labels": ["knows"]}
TEXTS = [" ".join(sentence) for sentence in WORDS]


def scores(model):
    """The probabilities of all candidates of `WORDS`."""
    return torch.cat(batch_logits(model, WORDS)).detach().softmax(1)


def teach(teacher, student, texts, labeled=None):
    rows = [*distillation._teach(teacher, student.config, texts, 4), *distillation._gold_rows(labeled, student.config)]
    return SoftLabels.from_rows(rows, student)


@pytest.mark.parametrize("multi_label", [False, True])
def test_a_student_learns_the_probabilities_of_its_teacher(multi_label, monkeypatch):
    teacher = build_model("bert", entity_max_length=3, multi_label=multi_label)
    batch = collate(teacher, WORDS)
    logits = teacher.score(batch)[0]
    expected = logits.sigmoid() if multi_label else logits.softmax(1)
    of_labels = expected[:, [index for index in range(4) if index != teacher.config.outside_id]]
    floor = float(of_labels.max(1).values.sort().values[30:32].mean())  # half of the candidates are below it
    monkeypatch.setattr(distillation, "FLOOR", floor)
    labels = replace(teach(teacher, teacher, WORDS), collator=lambda features: batch)([])["labels"]
    told = of_labels.max(1).values >= floor
    assert_close(labels[told], expected[told])
    outside = torch.nn.functional.one_hot(torch.tensor(teacher.config.outside_id), 4).float()
    assert_close(labels[~told], outside.expand(int((~told).sum()), 4))


@pytest.mark.parametrize(("one", "other"), [("bert", "roberta"), ("roberta", "xlm-roberta")])
def test_the_student_may_have_another_tokenizer(one, other):
    teacher, student = build_model(one, entity_max_length=3), build_model(other, entity_max_length=4)
    (text,) = texts = ["Amelia Earhart flew across the Atlantic."]
    soft = teach(teacher, student, texts)
    (encoding,) = student.require_tokenizer().encode_texts(texts)
    starts, ends = soft.keys // distillation.MAX_WORDS, soft.keys % distillation.MAX_WORDS
    places = [(int(encoding.char_starts[a]), int(encoding.char_ends[b - 1])) for a, b in zip(starts, ends, strict=True)]
    spans = {text[a:b].strip() for a, b in places}
    found = teacher.predict(text, threshold=FLOOR, decoding="overlapping")
    assert spans <= {entity["span"] for entity in found}
    assert len(spans) == len(places) > 0


def test_annotations_count_for_certain():
    student = build_model("bert", entity_max_length=3)
    soft = teach(student, student, [], [{"tokens": SENTENCES[0], "ner_tags": TAGS[0]}])
    labels = [student.config.classes[index] for index in soft.probabilities.argmax(1)]
    assert labels == [entity.label for entity in tags_to_entities(TAGS[0], "IOB2")]
    assert (soft.probabilities.max(1) == 1).all()
    assert (soft.probabilities.sum(1) == 1).all()


def test_students_come_closer_to_their_teachers(tmp_path):
    teacher = build_model("bert", entity_max_length=3)
    student = shrink(teacher, 2)
    before = (scores(student) - scores(teacher)).abs().mean()
    annotated = [{"tokens": SENTENCES[0], "ner_tags": TAGS[0]}]
    args = arguments(tmp_path, num_train_epochs=20, learning_rate=3e-3)
    trainer = distill(teacher, student, WORDS, args, eval_dataset=annotated)
    assert trainer.model is student
    card = student.generate_model_card().splitlines()
    parameters = f"{teacher.num_parameters():,} parameters"
    assert f"- **Teacher:** a SpanMarker model, of {parameters}, on {len(WORDS)} texts" in card
    assert "- **Layers:** 2 of 3 (0, 2, counted from 0)" in card
    after = (scores(student) - scores(teacher)).abs().mean()
    assert after < before / 2
    assert 0 <= trainer.evaluate()["eval_overall_f1"] <= 1  # on annotations, not on probabilities


def relations_of(row):
    """Label, head and tail of the relations of a row or a prediction."""
    names = ("label", "start", "end"), ("label", "word_start_index", "word_end_index")
    ends = [tuple(entity[name] for name in names["score" in entity]) for entity in row["entities"]]
    return {(one["label"], ends[one["head"]], ends[one["tail"]]) for one in row["relations"]}


def test_a_student_learns_the_relations_that_its_teacher_finds(tmp_path):
    options = {"entity_max_length": 3, "reads_tokens": True}
    teacher = build_model(
        "bert", **options, relation_labels=["knows", "owns"], symmetric_relations=["knows"], relation_types="any"
    )
    teacher.config.thresholds = dict.fromkeys(teacher.labels, 1.0)  # they are not taught
    student = build_model("bert", **options, relation_labels=["owns", "knows"], seed=1)
    labeled = [
        {
            "tokens": ["Paris", "and", "Tokyo"],
            "entities": [{"label": "LOC", "start": place, "end": place + 1} for place in (0, 2)],
            "relations": [{"label": "owns", "head": 1, "tail": 0}],
        }
    ]
    before = student.relation_head.markers.clone()
    trainer = distill(teacher, student, WORDS, arguments(tmp_path, learning_rate=1e-3), labeled=labeled)
    expected = [relations_of(result) for result in teacher.predict(WORDS, relations=True, threshold=NO_THRESHOLDS)]
    assert any(expected)
    rows = trainer.train_dataset.to_list()
    assert [relations_of(row) for row in rows] == [*expected, {("owns", ("LOC", 2, 3), ("LOC", 0, 1))}]
    assert (student.config.symmetric_relations, student.config.relation_types) == (["knows"], "any")
    assert not torch.equal(student.relation_head.markers, before)


def test_relations_are_not_lost_in_silence(tmp_path, caplog):
    plain, model = (build_model("bert", entity_max_length=3, reads_tokens=True, **options) for options in ({}, RELATED))
    with pytest.raises(ValueError, match=r"must have the relations of the teacher, None, or none, not .*'knows'"):
        distill(plain, model, WORDS, arguments(tmp_path))
    tagged = [{"tokens": SENTENCES[0], "ner_tags": TAGS[0], "relations": [{"label": "knows", "head": 0, "tail": 1}]}]
    with pytest.raises(ValueError, match="the labeled data has 'ner_tags' and 'relations'"):
        distill(model, copy.deepcopy(model), WORDS, arguments(tmp_path), labeled=tagged)
    distill(model, plain, WORDS, arguments(tmp_path))
    assert "The student has no relations, so it does not learn the teacher's relations" in caplog.text


@pytest.mark.parametrize("multi_label", [False, True])
def test_the_loss_of_probabilities_is_the_mean_of_the_losses_of_classes(multi_label):
    logits = torch.randn(5, 3, dtype=torch.float64)
    share = torch.rand(5, dtype=torch.float64)
    one, other = torch.eye(3, dtype=torch.float64)[:2]
    mixed = share[:, None] * one + (1 - share[:, None]) * other
    losses = [summed_loss(logits[[i]], label[None], multi_label) for label in (one, other) for i in range(5)]
    weights = torch.cat([share, 1 - share])
    assert_close(summed_loss(logits, mixed, multi_label), (torch.stack(losses) * weights).sum())
    if not multi_label:
        assert_close(
            summed_loss(logits, torch.eye(3).double()[[0] * 5], False),
            summed_loss(logits, torch.zeros(5).long(), False),
        )


def test_bad_input(tmp_path):
    teacher = build_model("bert", entity_max_length=3)
    other = build_model("bert", labels=["O", "DATE"])
    with pytest.raises(ValueError, match="labels of the teacher"):
        distill(teacher, other, WORDS, arguments(tmp_path))
    with pytest.raises(ValueError, match="student and teacher are the same model"):
        distill(teacher, teacher, WORDS, arguments(tmp_path))
    with pytest.raises((TypeError, ValueError), match="labeled"):
        distill(teacher, copy.deepcopy(teacher), WORDS, arguments(tmp_path), labeled=[])
    with pytest.raises(TypeError, match="item 1 of the texts"):  # it is read
        distill(teacher, copy.deepcopy(teacher), iter(["Paris", 3]), arguments(tmp_path))
    with pytest.raises(ValueError, match="no rows"):
        distill(teacher, copy.deepcopy(teacher), [], arguments(tmp_path))
    with pytest.raises(TypeError, match="not a single string"):
        distill(teacher, copy.deepcopy(teacher), "Paris is in France.", arguments(tmp_path))
    with pytest.raises(TypeError, match="item 1 of the texts"):
        distill(teacher, copy.deepcopy(teacher), ["Paris", 3], arguments(tmp_path))
    labeled = [{"tokens": SENTENCES[0], "ner_tags": TAGS[0]}]
    with pytest.raises(ValueError, match="pass only strings, or only lists of words"):
        distill(teacher, copy.deepcopy(teacher), TEXTS, arguments(tmp_path), labeled=labeled)
    teacher.rules = Rules([])
    with pytest.raises(ValueError, match=r"set teacher.rules = None"):
        distill(teacher, copy.deepcopy(teacher), WORDS, arguments(tmp_path))
    with pytest.raises(ValueError, match="split it"):
        distillation.span_keys(0, np.array([[0, 2**20]]))
