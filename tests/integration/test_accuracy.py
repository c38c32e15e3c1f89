"""The accuracy study: its plan with systems that only pretend to train, and each real one on a few sentences."""

import ast
import inspect
import json
import multiprocessing
import os
import statistics
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import accuracy
import accuracy_data
import accuracy_worker
import numpy as np
import pytest
import torch
from accuracy_data import Data, Sentence, entity_columns, flat, load, sample, tag_columns
from accuracy_summary import learning_curve_svg
from accuracy_systems import SYSTEMS, VARIANTS, Job, train_published, training_arguments
from accuracy_worker import BestEpoch, strict_f1
from studies import compare_runs, count_entities
from tiny import build_tokenizer, encoder_config
from transformers import AutoModel

from span_marker import SpanMarkerModel
from span_marker.core.labels import LabelledSpan

pytestmark = pytest.mark.slow

LINES = [
    "Amelia/B-PER Earhart/I-PER flew/O",
    "Paris/B-LOC and/O Tokyo/B-LOC",
    "Cleopatra/B-PER ruled/O Egypt/B-LOC",
    "The/O quick/O brown/O fox/O",
    "Spain/B-LOC",
    "Leonardo/B-PER da/I-PER Vinci/I-PER painted/O",
    "Italy/B-LOC and/O Andorra/B-LOC",
    "Florence/B-LOC",
    "Tokyo/B-LOC ,/O Paris/B-LOC",
    "Leonardo/B-PER jumps/O",
]

RATES = [0.25, 1.0, 0.5]
"""Learning rates of systems that pretend: each finds that share of the entities, more with some seeds."""


def write_files(folder, **parts):
    folder.mkdir(exist_ok=True)
    for name, lines in parts.items():
        text = "\n\n".join("\n".join(word.replace("/", " ") for word in line.split()) for line in lines)
        (folder / f"{name}.txt").write_text(text + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def folder(tmp_path):
    return write_files(tmp_path / "data", train=LINES, dev=LINES[:5], test=LINES[3:]).parent


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("encoder")
    tokenizer = build_tokenizer("wordpiece").tokenizer
    AutoModel.from_config(encoder_config("bert", len(tokenizer))).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def study(folder, *arguments, data="news", encoder="pretended", rates=RATES):
    """Run the study with few seeds, or as the arguments say."""
    given = ["--data", f"{data}={folder / 'data'}", "--results", folder / "results", "--encoder", encoder]
    given += ["--seeds", 3, "--sentences", 4, "all", "--wait", 0.01, "--model-max-length", 64]
    accuracy.main([*map(str, [*given, "--learning-rates", *rates, *arguments])])


def results(folder):
    paths = sorted((folder / "results").glob("*/*/*/*.json"))
    return {"/".join(path.parts[-3:]): json.loads(path.read_text(encoding="utf-8")) for path in paths}


class Pretended:
    """Systems that find a share of the entities, and note what they were given."""

    def __init__(self, monkeypatch, *names):
        self.jobs = []
        for name in names:
            monkeypatch.setitem(SYSTEMS, name, lambda job, published, name=name: self.train(name, job))

    def train(self, name, job):
        self.jobs.append((name, job))
        gold = {"dev": job.data.dev, "test": job.data.test}
        share = min(job.training["learning_rate"] + 0.1 * job.training["seed"], 1) * (0.7 if name == "default" else 1)
        found = {part: [of.entities[: round(share * 2)] for of in gold[part]] for part in job.sentences}
        return {"found": found, "epochs": [0.5], "seconds": 1.0, "versions": {}}


@pytest.fixture
def pretended(monkeypatch):
    return Pretended(monkeypatch, "default", "token-classification")


TWO = ("--systems", "default", "token-classification")


def test_test_sentences_are_read_once_with_the_rate_that_is_best_on_dev(folder, pretended):
    study(folder, *TWO)
    looked = []
    for name, job in pretended.jobs:
        training = job.training
        if "test" in job.sentences:
            assert training["learning_rate"] == 1.0
            looked.append((name, len(job.train), training["seed"]))
            tried = [other for other, of in pretended.jobs if other == name and len(of.train) == len(job.train)]
            assert len(tried) == len(RATES) + 3
        else:
            assert training["seed"] == 1
        assert [len(words) for words in job.sentences["dev"]] == [3, 3, 3, 4, 1]
    expected = [(name, size, seed) for size in (4, 10) for name in TWO[1:] for seed in (1, 2, 3)]
    assert looked == expected
    assert len(pretended.jobs) == len(expected) + 2 * 2 * len(RATES)
    for path, record in results(folder).items():
        assert ("test" in record) == ("/test-" in path)


def test_the_rate_is_chosen_by_the_mean_over_seeds():
    records = [
        {"learning_rate": rate, "dev": {"f1": f1}}
        for rate, f1 in ((1e-4, 0.5), (2e-4, 0.6), (3e-4, 0.6), (1e-4, 0.5), (2e-4, 0.3), (3e-4, 0.4))
    ]
    assert accuracy.best_rate(records[:3]) == 2e-4  # the first of equal ones
    assert accuracy.best_rate(records) == 1e-4


def test_choosing_with_several_seeds(folder, pretended):
    study(folder, "--systems", "default", "--choosing-seeds", "2", "--sentences", "4")
    assert sorted(job.training["seed"] for _, job in pretended.jobs if "test" not in job.sentences) == [1] * 3 + [2] * 3


def test_all_systems_train_in_mixed_precision_if_asked(folder, pretended):
    study(folder, *TWO, "--bfloat16")
    assert {(name, job.training["bf16"]) for name, job in pretended.jobs} == {(name, True) for name in TWO[1:]}


def test_systems_of_a_seed_share_sentences_and_seeds_do_not(folder, pretended):
    study(folder, *TWO)
    samples = {}
    for _, job in pretended.jobs:
        samples.setdefault((job.training["seed"], len(job.train)), []).append(job.train)
    for some in samples.values():
        assert len(some) > 1
        assert all(one == some[0] for one in some)
    small = [samples[seed, 4][0] for seed in (1, 2, 3)]
    assert small[0] != small[1] != small[2] != small[0]
    for seed in (1, 2, 3):
        assert samples[seed, 10][0][:4] == samples[seed, 4][0]
        words = [sentence.words for sentence in samples[seed, 10][0]]
        assert sorted(words) == sorted([part.split("/")[0] for part in line.split()] for line in LINES)


def test_a_stopped_study_goes_on_where_it_stopped(folder, pretended, monkeypatch):
    train = pretended.train

    def stop_at_the_fifth(name, job):
        if len(pretended.jobs) == 5:
            raise KeyboardInterrupt
        return train(name, job)

    monkeypatch.setattr(pretended, "train", stop_at_the_fifth)
    with pytest.raises(KeyboardInterrupt):
        study(folder, *TWO)
    stopped = results(folder)
    assert len(stopped) == 5
    monkeypatch.setattr(pretended, "train", train)
    study(folder, *TWO)
    done = results(folder)
    assert {path: done[path] for path in stopped} == stopped
    assert len(pretended.jobs) == len(done) == 2 * 2 * (len(RATES) + 3)
    study(folder, *TWO)
    assert len(pretended.jobs) == len(done)
    study(folder, *TWO, "--seeds", "4", "--sentences", "all")  # more of the same
    assert len(pretended.jobs) == len(done) + 2
    assert not list(folder.rglob("*.claim"))


def test_processes_share_the_runs(folder, monkeypatch):
    log = folder / "log"

    def train(job, published):
        training = job.training
        with log.open("a") as file:
            file.write(f"{os.getpid()} {training['seed']} {training['learning_rate']} {sorted(job.sentences)}\n")
        time.sleep(0.02)
        found = {name: [[] for _ in words] for name, words in job.sentences.items()}
        return {"found": found, "epochs": [0.0], "seconds": 0.0, "versions": {}}

    monkeypatch.setitem(SYSTEMS, "default", train)
    monkeypatch.setattr(accuracy, "machine", lambda device: {})
    arguments = (folder, "--systems", "default", "--seeds", "12", "--sentences", "4")
    processes = [multiprocessing.get_context("fork").Process(target=study, args=arguments) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    pids, runs = zip(*(line.split(" ", 1) for line in log.read_text().splitlines()), strict=True)
    assert len(runs) == len(set(runs)) == len(results(folder)) == len(RATES) + 12
    assert len(set(pids)) > 1


@pytest.mark.parametrize(
    "arguments",
    [["--patience", "1"], ["--epochs", "7", "8"], ["--dev-sentences", "4"], ["--batch-size", "2"], ["--bfloat16"]],
    ids=lambda arguments: arguments[0],
)
def test_results_of_other_settings_are_refused_whatever_the_system(folder, pretended, arguments):
    study(folder, "--systems", "default")
    with pytest.raises(SystemExit, match="choose another --results"):
        study(folder, "--systems", "token-classification", *arguments)


def test_a_result_of_a_variant_that_has_changed_is_refused(folder, pretended, monkeypatch):
    study(folder, "--systems", "default")
    monkeypatch.setitem(VARIANTS, "default", lambda model, training: model.update(decoding="flat"))
    with pytest.raises(SystemExit, match=r"'decoding': 'flat'.*choose another --results"):
        study(folder, "--systems", "default")


def test_more_sentences_than_there_are_are_left_out_and_it_says_so(folder, pretended, capsys):
    study(folder, "--systems", "default", "--sentences", "11", "10")
    assert {path.split("/")[0] for path in results(folder)} == {"10"}
    assert "news has only 10 sentences to train on: ['11'] are left out" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--systems", "unknown"], "invalid choice: 'unknown'"),
        (["--systems", "published"], "the system published needs --published"),
        (["--epochs", "3"], "--epochs needs one number for each of --sentences"),
        (["--sentences", "some"], "--sentences must be numbers, or all"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_wrong_arguments_are_refused(folder, arguments, message, capsys):
    with pytest.raises(SystemExit):
        study(folder, *arguments)
    assert message in capsys.readouterr().err
    assert not results(folder)


def test_data_without_a_path_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="news=PATH, or --root"):
        accuracy.main(["--data", "news", "--results", str(tmp_path)])
    assert accuracy.data_path("bundled", None) == ("bundled", None)
    assert accuracy.data_path("news", tmp_path) == ("news", tmp_path / "news")
    assert accuracy.data_path("news=other", tmp_path) == ("news", Path("other"))


def test_the_summary_has_the_numbers_of_the_runs(folder, pretended, capsys):
    study(folder, *TWO)
    printed = capsys.readouterr().out
    summary = json.loads((folder / "results" / "summary.json").read_text(encoding="utf-8"))
    rows = {(row["budget"], row["system"]): row for row in summary["data"]["news"]}
    gold = load(folder / "data", False, None, None).test
    num_gold = sum(len(sentence.entities) for sentence in gold)
    for budget in ("4", "all"):
        f1, counts = {}, {}
        for name in TWO[1:]:
            shares = [min(1.0 + 0.1 * seed, 1) * (0.7 if name == "default" else 1) for seed in (1, 2, 3)]
            counts[name] = [sum(min(round(2 * share), len(of.entities)) for of in gold) for share in shares]
            f1[name] = [2 * found / (found + num_gold) for found in counts[name]]  # all that is found is right
            row = rows[budget, name]
            assert row["f1"] == pytest.approx(f1[name])
            assert row["recall"] == pytest.approx([found / num_gold for found in counts[name]])
            assert row["precision"] == [1, 1, 1]
            assert row["learning_rate"] == 1.0
        assert "against" not in rows[budget, "default"]
        differences = np.subtract(f1["token-classification"], f1["default"])
        assert rows[budget, "token-classification"]["against"]["difference"] == pytest.approx(differences.mean())
    assert f"| {statistics.mean(f1['default']):.3f} ± 0.000 |" in printed
    accuracy.main(["--summary", "--results", str(folder / "results"), "--reference", "token-classification"])
    printed = capsys.readouterr().out
    assert f"; {-differences.mean():+.3f} (0.000, " in printed


def test_the_summary_compares_shared_seeds_alone(folder, pretended):
    study(folder, "--systems", "default", "--seeds", "2", "--sentences", "4", "--learning-rates", *map(str, RATES[:1]))
    more = ["--sentences", "4", "--learning-rates", str(RATES[0])]
    study(folder, "--systems", "token-classification", "--seeds", "3", *more)
    done = results(folder)
    (row,) = [row for row in read_summary(folder)["data"]["news"] if row["system"] == "token-classification"]
    assert row["seeds"] == [1, 2, 3]
    runs = [[done[f"4/{name}/test-{seed}.json"]["test"] for seed in (1, 2)] for name in TWO[1:]]
    assert row["against"] == compare_runs(*runs)
    assert row["against"]["p_seeds"] is not None


def read_summary(folder):
    return json.loads((folder / "results" / "summary.json").read_text(encoding="utf-8"))


def test_runs_of_different_settings_are_not_summarized(folder, pretended):
    study(folder, *TWO)
    path = folder / "results" / "news" / "4" / "default" / "test-1.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    record["settings"]["patience"] += 1
    path.write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(SystemExit, match="runs on 4 sentences of news have different settings"):
        accuracy.main(["--summary", "--results", str(folder / "results")])


def test_the_learning_curve_has_a_point_for_each_system_and_number():
    rows = [
        {"system": name, "num_sentences": count, "f1": [f1 - 0.01, f1 + 0.01]}
        for name, count, f1 in (("default", 100, 0.2), ("default", 1000, 0.6), ("other", 10, 0.2), ("other", 100, 0.4))
    ]
    tree = ElementTree.fromstring(learning_curve_svg(rows, "a & b"))
    points = {
        name: [(float(of.get("cx")), float(of.get("cy"))) for of in tree.iter() if of.get("class") == name]
        for name in ("default", "other")
    }
    (x1, y1), (x2, y2) = points["default"]
    (x3, y3), (x4, y4) = points["other"]
    assert x1 == x4
    assert x2 - x1 == pytest.approx(x1 - x3, abs=0.2)  # in tenths of a pixel
    assert y1 == y3
    assert (y1 - y2) == pytest.approx(2 * (y3 - y4), abs=0.2)


@pytest.fixture
def data(folder):
    return load(folder / "data", False, None, None)


def make_job(data, encoder, **changes):
    job = Job(
        encoder=str(encoder),
        data=data,
        train=data.train,
        sentences={name: [of.words for of in getattr(data, name)] for name in ("dev", "test")},
        model={"model_max_length": 64, "entity_max_length": 3},
        training=training_arguments(len(data.train), 3, 4, 1e-3, 1),
        patience=5,
    )
    return job._replace(**changes)


@pytest.mark.parametrize("system", [*VARIANTS, "token-classification"])
def test_each_system_trains_and_reads(folder, encoder, system, monkeypatch):
    made = []
    new = SpanMarkerModel.from_pretrained
    monkeypatch.setattr(
        SpanMarkerModel, "from_pretrained", lambda *given, **named: made.append(new(*given, **named)) or made[-1]
    )
    study(folder, "--systems", system, "--seeds", 1, "--epochs", 2, 2, encoder=encoder, rates=[1e-3])
    done = results(folder)
    assert set(done) == {f"{size}/{system}/{name}-1.json" for size in ("4", "all") for name in ("choose-0.001", "test")}
    for size in ("4", "all"):
        chosen, tested = (done[f"{size}/{system}/{name}-1.json"] for name in ("choose-0.001", "test"))
        assert tested["dev"] == chosen["dev"]  # the same training again
        assert len(tested["epochs"]) == 2
        assert tested["epochs"] == chosen["epochs"]
        assert tested["seconds"] > 0
        assert {"commit", "date"} <= set(tested["machine"])
        assert [int(number) for number in tested["test"]["counts"].split()[2::3]] == [0, 1, 1, 2, 1, 2, 1]
    for model in made:
        assert (model.config.token_state_size is None) == (system != "default")
        assert (model.span_filter is None) == (system == "1x-training")
        assert model.config.entity_max_length == 8


@pytest.mark.parametrize("system", ["default", "token-classification"])
def test_systems_learn_and_the_best_epoch_is_the_one_that_reads(data, encoder, system):
    data = data._replace(dev=data.train)
    job = make_job(data, encoder, training=training_arguments(10, 30, 4, 3e-3, 1))
    answer = SYSTEMS[system](job._replace(sentences={"train": accuracy_data.words_of(data.train)}), None)
    f1 = strict_f1([of.entities for of in data.train], answer["found"]["train"])
    best = max(answer["epochs"])  # of a model of this library, at any threshold
    assert (f1 > 0.5 and best > 0.5) if system == "default" else f1 == best > 0.5


def test_the_best_epoch_is_kept_and_hits_by_chance_cost_no_patience():
    class Control:
        should_training_stop = False

    model, figures = torch.nn.Linear(1, 1), iter([0.02, 0.0, 0.0, 0.5, 0.4, 0.5, 0.3])
    best = BestEpoch(lambda: next(figures), patience=2)
    stopped = []
    for epoch in range(6):
        torch.nn.init.constant_(model.weight, epoch)
        control = Control()
        best.on_epoch_end(None, None, control, model=model)
        stopped.append(control.should_training_stop)
    assert stopped == [False] * 5 + [True]
    best.on_train_end(None, None, None, model=model)
    assert model.weight.item() == 3
    assert best.measured == [0.02, 0.0, 0.0, 0.5, 0.4, 0.5]


def test_f1_of_the_worker_is_that_of_the_library():
    generator = np.random.default_rng(1)
    starts = [[set(generator.integers(6, size=3).tolist()) for _ in range(9)] for _ in range(2)]
    gold, found = ([[LabelledSpan("A", start, start + 1) for start in some] for some in of] for of in starts)
    correct, predicted, annotated = count_entities(gold, found).sum(axis=0)
    assert strict_f1(gold, [[list(entity) for entity in some] for some in found]) == pytest.approx(
        2 * correct / (predicted + annotated)
    )
    assert strict_f1([[]], [[]]) == 0


FAKE = """#!{python}
import json, os, sys
with open({log!r}, "w") as log:
    for line in sys.stdin:
        task, arguments = json.loads(line)
        log.write(json.dumps([sys.argv[1], os.environ.get("PYTHONPATH"), task, arguments]) + "\\n")
        log.flush()
        if task == "train" and {dies}:
            sys.exit("out of luck")
        answer = {{"version": {{"span_marker": {version!r}}}, "train": {{"found": "all"}}}}[task]
        print(json.dumps(answer), flush=True)
"""


def fake_interpreter(folder, version="1.8.1", dies=False):
    path = folder / "python"
    path.write_text(FAKE.format(python=sys.executable, log=str(folder / "log"), version=version, dies=dies))
    path.chmod(0o755)
    return path


def test_the_published_library_is_asked_in_its_own_environment(tmp_path, data, encoder, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "this library")
    assert train_published(make_job(data, encoder), fake_interpreter(tmp_path)) == {"found": "all"}
    _, (script, python_path, task, arguments) = map(json.loads, (tmp_path / "log").read_text().splitlines())
    assert script == accuracy_worker.__file__
    assert python_path is None
    assert task == "train"
    inspect.signature(accuracy_worker.train_span_marker).bind(**arguments)
    assert arguments["labels"] == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
    assert arguments["train"]["ner_tags"][:2] == [[3, 4, 0], [1, 0, 1]]
    assert [list(map(tuple, some)) for some in arguments["dev"]["entities"]] == [of.entities for of in data.dev]
    answer = accuracy_worker.train_span_marker(**arguments)  # this library can do the same with these arguments
    assert [len(answer["found"][name]) for name in ("dev", "test")] == [5, 7]
    assert len(answer["epochs"]) == 3


def test_another_version_or_a_death_is_no_result(tmp_path, data, encoder):
    with pytest.raises(SystemExit, match=r"has span_marker 2\.0 instead of 1\.8\.1"):
        train_published(make_job(data, encoder), fake_interpreter(tmp_path, version="2.0"))
    with pytest.raises(RuntimeError, match="died at train:\nout of luck"):
        train_published(make_job(data, encoder), fake_interpreter(tmp_path, dies=True))


def test_the_worker_imports_nothing_of_this_library():
    for name in ("accuracy_worker.py", "worker.py"):
        tree = ast.parse(Path(accuracy_worker.__file__).with_name(name).read_text(encoding="utf-8"))
        imports = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
        names = {alias.name for node in imports for alias in node.names} | {
            node.module for node in imports if isinstance(node, ast.ImportFrom)
        }
        assert not [of for of in names if of.startswith("span_marker")]
        assert names & {path.stem for path in Path(accuracy_worker.__file__).parent.glob("*.py")} <= {"worker"}


def test_data_is_split_by_the_files_that_there_are(tmp_path):
    def words(*lines):
        return [[part.split("/")[0] for part in line.split()] for line in lines]

    def parts(folder, **limits):
        found = load(folder, False, limits.get("dev"), limits.get("test"))
        return [[sentence.words for sentence in some] for some in found[1:]]

    three = write_files(tmp_path / "three", train=LINES[:4], dev=LINES[4:6], test=LINES[6:], other=LINES)
    assert parts(three) == [words(*LINES[:4]), words(*LINES[4:6]), words(*LINES[6:])]
    assert parts(three, dev=1, test=2) == [words(*LINES[:4]), words(LINES[4]), words(LINES[6], LINES[8])]
    two = write_files(tmp_path / "two", train=LINES[:4], dev=LINES[4:9])
    assert parts(two) == [words(*LINES[:4]), words(*LINES[4:9:2]), words(*LINES[5:9:2])]
    in_order = [words(*LINES[:6]), words(*LINES[6:8]), words(*LINES[8:])]
    assert parts(write_files(tmp_path / "one", dev=LINES)) == in_order
    assert parts(tmp_path / "one" / "dev.txt") == in_order
    with pytest.raises(SystemExit, match=r"has files of \['dev', 'test'\]"):
        parts(write_files(tmp_path / "no-train", dev=LINES, test=LINES))
    corpus = load(None, False, 7, 9)
    assert [len(of) for of in corpus[2:]] == [7, 9]
    assert "person" in corpus.labels


def test_tags_have_the_outermost_of_nested_entities_and_columns_all(tmp_path):
    path = tmp_path / "levels.iob2"
    path.write_text("the\tO\tB-C\nc\tB-A\tI-C\ngene\tI-A\tI-C\n\nx\tB-A\tO\ny\tO\tB-C\n", encoding="utf-8")
    first, second = accuracy_data.read_file(path, is_nested=True)
    assert first.entities == [LabelledSpan("C", 0, 3), LabelledSpan("A", 1, 3)]
    assert flat(first.entities) == first.entities[:1]
    crossing = [LabelledSpan("A", 0, 2), LabelledSpan("A", 1, 4), LabelledSpan("B", 1, 4), LabelledSpan("A", 4, 5)]
    assert flat(crossing) == [crossing[1], crossing[3]]
    tags = ["O", "B-A", "I-A", "B-C", "I-C"]
    assert tag_columns([first, second], tags)["ner_tags"] == [[3, 4, 4], [1, 3]]
    assert [len(some) for some in entity_columns([first, second])["entities"]] == [2, 2]


def test_data_that_differs_is_told_apart():
    sentence = Sentence(["Paris"], [LabelledSpan("LOC", 0, 1)])
    one, other = (Data(["LOC"], [of], [sentence], [sentence]) for of in (sentence, sentence._replace(entities=[])))
    assert one.describe() == Data(*one).describe()
    assert one.describe() != other.describe()
    assert sample([sentence], 5, 1) == [sentence]
