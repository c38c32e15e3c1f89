"""The study of relations: its plan with systems that only pretend to train, and each real one on a few sentences."""

import json

import numpy as np
import pytest
import relations
import relations_data
import relations_systems
import studies
import torch
from accuracy_systems import training_arguments
from datasets import Dataset
from relations_data import (
    RelatedSentence,
    Relation,
    directed,
    pairs_in_sentence,
    relation_columns,
    subjects_in_sentence,
)
from relations_systems import (
    BATCH_SIZE,
    PAIRS,
    PIPELINES,
    VARIANTS,
    Job,
    Reading,
    Trained,
    best_f1,
    given_reader,
    read_both,
)
from tiny import build_model, build_tokenizer, encoder_config
from transformers import AutoModel

from span_marker import tune_thresholds
from span_marker.core.labels import LabelledSpan
from span_marker.core.relations import all_pairs
from span_marker.scores.cross_fitting import FLOOR

PEOPLE, TOWNS = (
    ("Amelia Earhart", "Cleopatra", "Leonardo da Vinci", "Mona Lisa"),
    ("Paris", "Tokyo", "Florence", "Egypt"),
)
TEMPLATES = (
    ("{0} ruled {1} .", "lives in"),
    ("{1} ruled {0} .", None),
    ("{0} , {2} and {1}", "knows"),
)
"""Who is where, and how the first person is related to the town or to the second person."""


def rows(count):
    """Sentences with their entities and relations, as dicts."""
    made = []
    for index in range(count):
        template, label = TEMPLATES[index % 3]
        names = [PEOPLE[index % 4], TOWNS[index // 2 % 4], PEOPLE[(index + 1) % 4]]
        text = template.format(*names)
        words = text.split()
        entities = []
        for name, kind in zip(names, ("PER", "LOC", "PER"), strict=True):
            if name in text:
                start = next(place for place in range(len(words)) if words[place:][: len(name.split())] == name.split())
                entities.append({"label": kind, "start": start, "end": start + len(name.split())})
        related = [] if label is None else [{"label": label, "head": 0, "tail": 2 if label == "knows" else 1}]
        made.append({"tokens": words, "entities": entities, "relations": related})
    return made


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data").mkdir()
    for name, count in (("train", 12), ("dev", 6), ("test", 9)):
        lines = "".join(json.dumps(row) + "\n" for row in rows(count))
        (tmp_path / "data" / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    return tmp_path


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("encoder")
    tokenizer = build_tokenizer("wordpiece").tokenizer
    AutoModel.from_config(encoder_config("bert", len(tokenizer))).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def study(folder, *arguments, encoder="pretended"):
    given = ["--data", f"people={folder / 'data'}", "--results", folder / "results", "--encoder", encoder]
    given += ["--seeds", 2, "--sentences", 4, "all", "--wait", 0.01, "--model-max-length", 64]
    relations.main([*map(str, [*given, "--learning-rates", 0.2, 0.6, *arguments])])


def results(folder):
    paths = sorted((folder / "results").glob("*/*/*/*.json"))
    return {"/".join(path.parts[-3:]): json.loads(path.read_text(encoding="utf-8")) for path in paths}


@pytest.fixture
def jobs(monkeypatch):
    """Let systems find more with a higher rate, and another entity with each seed; lists what they were given."""
    seen = []

    def pretend(system, job):
        seen.append((system, job))
        keep = job.training["learning_rate"] > 0.5

        def reading(part):
            entities = [sentence.entities[: job.training["seed"]] for sentence in part]
            related = [sentence.relations if keep else [] for sentence in part]
            if system == "entities":
                return Reading(entities if keep else [[] for _ in part], None, None)
            return Reading(entities if system == "joint" else None, related, related)

        training = {"epochs": [0.5], "seconds": 1.0, "versions": {}}
        return Trained(None, training, {name: reading(part) for name, part in job.parts.items()})

    monkeypatch.setattr(relations, "train", pretend)
    monkeypatch.setattr(studies, "NUM_RESAMPLES", 100)
    return seen


def test_pipelines_get_the_entities_that_the_model_of_their_seed_has_found(folder, jobs, capsys):
    study(folder, "--systems", "joint", "per-subject", "separate")
    done = results(folder)
    names = [
        f"{'choose-' + rate if rate else 'test'}-{seed}" for rate, seed in (("0.2", 1), ("0.6", 1), ("", 1), ("", 2))
    ]
    systems = ("entities", "joint", "separate", "per-subject")
    assert set(done) == {
        f"{size}/{system}/{name}.json" for size in ("4", "all") for system in systems for name in names
    }
    for system, job in jobs:
        assert job.symmetric == []
        assert (job.found is None) == (system in ("entities", "joint"))
        assert ("test" in job.parts) == (job.training["learning_rate"] > 0.5 and len(job.parts) == 2)
        for name, part in job.parts.items():
            if job.found is not None:
                assert job.found[name] == [sentence.entities[: job.training["seed"]] for sentence in part]
    for path, record in done.items():
        assert ("found" in record["dev"]) == ("/entities/" in path)
        if "/test-" in path:
            assert record["learning_rate"] == 0.6
            assert ("relations" in record["test"]) == ("gold" in record["test"]) == ("/entities/" not in path)
            assert record["dev"]["f1"] == record["dev"]["entities" if "/entities/" in path else "relations"]["f1"]
            assert record["test"]["entities"] == done[path.replace(path.split("/")[1], "entities")]["test"]["entities"]
    assert (len(jobs), study(folder, "--summary")) == (2 * 4 * 4, None)
    study(folder, "--systems", "joint")
    assert len(jobs) == 2 * 4 * 4
    printed = capsys.readouterr().out
    assert (
        f"| all, separate | {np.mean([done[f'all/entities/test-{n}.json']['test']['f1'] for n in (1, 2)]):.3f} ± "
        in printed
    )
    summary = json.loads((folder / "results" / "summary.json").read_text(encoding="utf-8"))
    by_name = {(row["budget"], row["system"]): row for row in summary["data"]["people"]}
    assert set(by_name) == {(size, system) for size in ("4", "all") for system in systems}
    assert by_name["all", "joint"]["f1"]["relations"] == [1.0, 1.0]
    assert by_name["all", "joint"]["against"] == {}
    assert set(by_name["all", "per-subject"]["against"]) == {"entities", "relations", "gold"}
    assert set(by_name["all", "entities"]["against"]) == {"entities"}


def test_a_run_without_what_it_needs_waits(folder, jobs):
    options = relations.parse_options(["--data", "people", "--root", str(folder), "--results", str(folder / "results")])
    data = {"people": relations_data.load(folder / "data", None, None)}
    waiting = relations.RelationStudy(options, data)
    run = relations.Run("people", "all", "separate", 1, 0.6, is_choosing=False)
    assert not waiting.is_ready(run)
    assert waiting.is_ready(run._replace(system="joint"))
    study(folder, "--systems", "entities")
    assert waiting.is_ready(run)
    assert not waiting.is_ready(run._replace(seed=3))


def test_pipelines_train_with_the_entities_and_time_needs_models(capsys):
    assert relations.parse_options(["--systems", "per-subject"]).systems == ["entities", "per-subject"]
    with pytest.raises(SystemExit):
        relations.parse_options(["--time"])
    assert "--time needs --models" in capsys.readouterr().err


def test_texts_of_an_epoch_are_counted(folder):
    sentences = relations_data.load(folder / "data", None, None).train
    alone = RelatedSentence(["Paris"], [LabelledSpan("LOC", 0, 1)], [])
    counts = [relations.num_texts(system, [*sentences, alone]) for system in ("joint", "separate", "per-subject")]
    assert counts == [13, 12, sum(len(sentence.entities) for sentence in sentences)]


def test_symmetric_relations_lead_from_the_first_entity():
    first, second = LabelledSpan("A", 1, 2), LabelledSpan("A", 1, 3)
    relation = Relation("COMPARE", second, first)
    assert directed(relation, ["COMPARE"]) == Relation("COMPARE", first, second)
    assert directed(relation, []) == relation


def test_words_that_mark_subjects_are_replaced_in_the_data(tmp_path):
    row = {"tokens": ["§", "4", "¶"], "entities": [{"label": "A", "start": 0, "end": 2}], "relations": []}
    (tmp_path / "train.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    (sentence,) = relations_data.read_file(tmp_path / "train.jsonl")
    assert sentence.words == ["#", "4", "#"]


def test_marked_texts_have_the_words_of_heads_and_tails():
    rng = np.random.default_rng(0)
    for _ in range(50):
        words = [f"w{index}" for index in range(8)]
        starts = rng.integers(0, 6, size=4)
        spans = np.unique(np.column_stack([starts, starts + rng.integers(1, 3, size=4)]), axis=0)
        pairs = all_pairs(spans)
        expected = [(words[slice(*spans[head])], words[slice(*spans[tail])]) for head, tail in pairs]

        def inside(text, start, end):
            return [word for word in text[start:end] if word not in "§¶"]

        found = []
        for text, groups in subjects_in_sentence(words, spans, pairs):
            assert inside(text, 0, len(text)) == words
            subject = text[text.index("§") + 1 : text.index("¶")]
            for start, end in groups.tolist():
                assert text[start] not in "§¶"
                assert text[end - 1] not in "§¶"
                found.append((subject, inside(text, start, end)))
        assert found == expected
        texts = pairs_in_sentence(words, spans, pairs)
        assert [(words[a:b], words[c:d]) for text in texts for a, b, c, d in text.groups.tolist()] == expected


@pytest.mark.parametrize("thresholds", [None, {"lives in": 0.6, "knows": 0.2, "works for": 0.7}])
def test_relations_of_given_entities_are_those_that_the_library_predicts(thresholds):
    labels = ["lives in", "knows", "works for"]
    model = build_model(reads_tokens=True, entity_max_length=4, relation_labels=labels, symmetric_relations=["knows"])
    model.config.relation_thresholds = thresholds
    words = [row["tokens"] for row in rows(9)]
    entities, expected = read_both(model, words, batch_size=4)
    assert sum(map(len, expected)) > 9
    read = given_reader(PAIRS, model, job_of(model))
    found = read([["Paris"], *words, []], [[LabelledSpan("LOC", 0, 1)], *entities, []])
    assert found == [[], *map(list, expected), []]
    assert read([["Paris"]], [[]]) == [[]]


def test_thresholds_of_pipelines_are_those_that_the_library_chooses():
    labels = ["lives in", "knows", "works for"]
    model = build_model(reads_tokens=True, entity_max_length=4, relation_labels=labels, symmetric_relations=["knows"])
    words = [row["tokens"] for row in rows(9)]
    entities, found = read_both(model, words, batch_size=4)
    gold = [list(relations)[::2] for relations in found]
    sentences = [RelatedSentence(*row) for row in zip(words, entities, gold, strict=True)]
    expected = tune_thresholds(model, Dataset.from_dict(relation_columns(sentences))).relations
    read = given_reader(PAIRS, model, job_of(model))
    report = read.tune(words, relations_systems.read_entities(model, words, batch_size=4), gold)
    assert 0 < expected.before.f1 < 1
    assert report.thresholds == pytest.approx(expected.thresholds)
    assert report.before == pytest.approx(expected.before)
    assert report.after == pytest.approx(expected.after)
    assert (read.thresholds is not None) == report.is_better


def job_of(model):
    """The parts of a job that a reader needs."""
    labels = model.config.relation_labels[1:]
    sentence = RelatedSentence([], [], [])
    return Job("", model.config.classes[1:], labels, ["knows"], [sentence], {}, None, {}, {BATCH_SIZE: 2}, 1)


def make_job(folder, encoder):
    data = relations_data.load(folder / "data", None, None)
    return Job(
        encoder=str(encoder),
        labels=data.labels,
        relations=["knows", "lives in"],
        symmetric=["knows"],
        train=data.train,
        parts={"dev": data.dev},
        found={"dev": [sentence.entities for sentence in data.dev]},
        model={"model_max_length": 64, "entity_max_length": 3},
        training=training_arguments(len(data.train), 25, 4, 3e-3, 1),
        patience=25,
    )


@pytest.mark.parametrize("system", PIPELINES)
def test_a_pipeline_learns_and_the_best_epoch_is_the_one_that_reads(folder, encoder, system):
    job = make_job(folder, encoder)
    model, training, readings = relations_systems.train(system, job)
    assert readings["dev"].relations == readings["dev"].gold
    read = given_reader(PIPELINES[system], model, job)
    ranked = read.rank([sentence.words for sentence in job.parts["dev"]], job.found["dev"])
    gold = [sentence.relations for sentence in job.parts["dev"]]
    assert best_f1(gold, ranked) == pytest.approx(max(training["epochs"]))
    assert best_f1(gold, ranked) > 0.9
    assert not model.training


def test_a_joint_model_reads_both_and_the_best_epoch_is_the_one_that_reads(folder, encoder):
    job = make_job(folder, encoder)._replace(training=training_arguments(12, 4, 4, 3e-3, 1), found=None)
    model, training, readings = relations_systems.train("joint", job)
    assert model.config.symmetric_relations == ["knows"]
    gold = [sentence.relations for sentence in job.parts["dev"]]
    _, ranked = read_both(model, [sentence.words for sentence in job.parts["dev"]], 4, relation_threshold=FLOOR)
    assert best_f1(gold, ranked) == pytest.approx(max(training["epochs"]))
    assert len(readings["dev"].gold) == len(readings["dev"].entities) == len(gold)


def test_variants_change_what_they_say():
    def changed(system):
        model = build_model(reads_tokens=True, relation_labels=["knows"])
        VARIANTS[system](model)
        return model

    embeddings = changed("joint").get_input_embeddings().weight
    mean = changed("joint-mean-markers").relation_head.markers
    assert torch.allclose(mean, embeddings.mean(dim=0).expand(4, -1))
    drawn = changed("joint-random-markers").relation_head.markers
    assert not torch.equal(drawn, changed("joint").relation_head.markers)
    assert 0.5 < drawn.std() / embeddings.std() < 2
    pairs = (torch.zeros(1, 4), torch.ones(1), torch.ones(1))
    assert changed("joint-gold-pairs")._add_wrong_pairs(None, None, None, pairs) is pairs


def test_a_text_beyond_the_limit_is_refused(folder, encoder):
    job = make_job(folder, encoder)
    long = RelatedSentence(["Paris"] * 70, [LabelledSpan("LOC", place, place + 1) for place in (0, 69)], [])
    with pytest.raises(SystemExit, match="more than 64 tokens: raise --model-max-length"):
        relations_systems.train("separate", job._replace(train=[long]))
