"""Accuracy: systems trained on samples of several sizes, their learning rates chosen on dev, and compared on test.

``python benchmarks/accuracy.py --root FOLDER --data conllpp wnut17 genia-nested bundled`` trains each system on each
number of sentences with each seed. A seed draws the sentences, which all systems share, and the initial weights. The
number of epochs, batch size, limits, warmup and early stopping are the same for all systems. After each epoch, a model
reads the dev sentences, and the weights of the best epoch are kept. Learning rates are tried out with the first seed;
for each system, data set and number of sentences, the one with the best F1 on dev is then used with all seeds. Only
these models read the test sentences, once. All figures are strict and micro-averaged, over all gold entities.

Variants of this library learn nested entities. Token classification and the published library learn from tags, which
cannot express them: they are trained on outermost entities, and evaluated on all. Of texts beyond the limit, they read
the beginning only, whereas this library reads windows.

Every run is a file in the folder ``--results``, written as soon as it is done, so that a study that was stopped goes on
where it stopped. To use several processes, start the same command several times: each takes runs that no other has, and
those of a process that died are taken over. All end when all runs are done. The folder must be on a file system with
locks (``flock``). ``--summary`` prints the tables and draws the learning curves of the runs that are done.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accuracy_data import BUNDLED, Data, Sentence, load, sample, words_of
from accuracy_summary import write_summary
from accuracy_systems import SYSTEMS, Job, change_arguments, training_arguments
from quickstart import bundled_encoder
from speed import machine
from studies import claim, count_entities, figures, write_json
from tables import HERE

from span_marker.core.labels import LabelledSpan

EPOCHS = {100: 30, 300: 20, 1000: 10, 3000: 5}
"""Epochs for up to so many sentences; `EPOCHS_OF_MORE` for more."""

EPOCHS_OF_MORE = 3


class Run(NamedTuple):
    """A model to train. One that chooses a learning rate doesn't read the test sentences."""

    data: str
    budget: str
    system: str
    seed: int
    learning_rate: float
    is_choosing: bool

    def path(self) -> str:
        """Where its result is, in the folder of the results: one test of a system with a seed, whatever its rate."""
        name = f"choose-{self.learning_rate:g}" if self.is_choosing else "test"
        return f"{self.data}/{self.budget}/{self.system}/{name}-{self.seed}.json"


@dataclass
class Study:
    """The command line and the data.

    Attributes:
        options: The command line's.
        data: The data by name.
        records: The results that were read or written, by path.
    """

    options: argparse.Namespace
    data: dict[str, Data]
    records: dict[str, dict[str, Any]] = field(default_factory=dict)

    def budgets(self, name: str) -> dict[str, int]:
        """Numbers of sentences to train on, as they were given; those that the data doesn't have are left out."""
        size = len(self.data[name].train)
        counts = {budget: size if budget == "all" else int(budget) for budget in self.options.sentences}
        return {budget: count for budget, count in counts.items() if count <= size}

    def settings(self, name: str, budget: str) -> dict[str, Any]:
        """Everything that all systems share on some sentences of some data."""
        options, count = self.options, self.budgets(name)[budget]
        default = next((epochs for limit, epochs in EPOCHS.items() if count <= limit), EPOCHS_OF_MORE)
        given = dict(zip(options.sentences, options.epochs, strict=True)) if options.epochs else {}
        return {
            "encoder": "/".join(Path(options.encoder).parts[-2:]),
            "data": self.data[name].describe(),
            "num_sentences": count,
            "epochs": given.get(budget, default),
            "learning_rates": options.learning_rates,
            "choosing_seeds": options.choosing_seeds,
            "patience": options.patience,
            "batch_size": options.batch_size,
            "bfloat16": options.bfloat16,
            "model_max_length": options.model_max_length,
            "entity_max_length": options.entity_max_length,
        }

    def training(self, run: Run, num_texts: int) -> dict[str, Any]:
        """Arguments of ``TrainingArguments`` for a run that reads so many texts in an epoch."""
        shared = self.settings(run.data, run.budget)
        arguments = training_arguments(num_texts, shared["epochs"], shared["batch_size"], run.learning_rate, run.seed)
        return {**arguments, "bf16": True} if shared["bfloat16"] else arguments

    def plan(self, run: Run) -> dict[str, Any]:
        """Everything that a run depends on."""
        shared = self.settings(run.data, run.budget)
        limits = {name: shared[name] for name in ("model_max_length", "entity_max_length")}
        model, training = change_arguments(run.system, limits, self.training(run, shared["num_sentences"]))
        return {**run._asdict(), "settings": shared, "model": model, "training": training}

    def result(self, run: Run) -> dict[str, Any] | None:
        """Read the result of a run that is done.

        Raises:
            SystemExit: If it is of a run with other settings.
        """
        path = self.options.results / run.path()
        if run.path() not in self.records and path.exists():
            record, plan = json.loads(path.read_text(encoding="utf-8")), self.plan(run)
            check_equal(path, {name: record[name] for name in plan}, plan)
            self.records[run.path()] = record
        return self.records.get(run.path())

    def is_ready(self, run: Run) -> bool:
        """Tell whether everything is done that a run needs."""
        return True

    def perform(self, run: Run) -> dict[str, Any]:
        """Train a model, let it read, and compare what it found with what is annotated."""
        options, data, plan = self.options, self.data[run.data], self.plan(run)
        parts = visible(run, data)
        job = Job(
            encoder=options.encoder,
            data=data,
            train=sample(data.train, plan["settings"]["num_sentences"], run.seed),
            sentences={name: words_of(sentences) for name, sentences in parts.items()},
            model=plan["model"],
            training=plan["training"],
            patience=options.patience,
        )
        answer = SYSTEMS[run.system](job, options.published)
        found = {
            name: [[LabelledSpan(*entity) for entity in some] for some in of] for name, of in answer["found"].items()
        }
        measured = {
            name: figures(count_entities([sentence.entities for sentence in sentences], found[name]))
            for name, sentences in parts.items()
        }
        return self.record(plan, answer, measured)

    def record(self, plan: dict[str, Any], answer: dict[str, Any], measured: dict[str, Any]) -> dict[str, Any]:
        """Put together the result of a run: its plan, the machine, how the training went, and what was measured."""
        this = machine("cuda" if torch.cuda.is_available() else "cpu")
        kept = {name: answer[name] for name in ("epochs", "seconds", "versions")}
        return {**plan, "machine": this, **kept, **measured}


def check_equal(path: Path, found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Refuse to go on with a result that was made in another way."""
    other = {name: value for name, value in found.items() if value != expected[name]}
    if other:
        wanted = {name: expected[name] for name in other}
        raise SystemExit(f"{path} is of {other}, not {wanted}: choose another --results")


def check_settings(study: Study) -> None:
    """Refuse results of any system that can't be compared with those to come."""
    for name in study.data:
        for budget in study.budgets(name):
            for path in sorted((study.options.results / name / budget).glob("*/*.json")):
                record = json.loads(path.read_text(encoding="utf-8"))
                check_equal(path, record["settings"], study.settings(name, budget))


def missing_runs(study: Study) -> Iterator[Run]:
    """Find runs that are not done and can be: those that test, once the learning rate is chosen."""
    options = study.options
    samples = ((name, budget) for name in study.data for budget in study.budgets(name))
    groups = ((*sample_of, system) for sample_of in samples for system in options.systems)
    for group in groups:
        rates = itertools.product(range(1, options.choosing_seeds + 1), options.learning_rates)
        choosing = [Run(*group, seed, rate, is_choosing=True) for seed, rate in rates]
        to_choose = [run for run in choosing if study.result(run) is None]
        if to_choose:
            yield from to_choose
            continue
        chosen = best_rate([study.records[run.path()] for run in choosing])
        tests = (Run(*group, seed, chosen, is_choosing=False) for seed in range(1, options.seeds + 1))
        yield from (run for run in tests if study.result(run) is None)


def best_rate(records: list[dict[str, Any]]) -> float:
    """Choose the learning rate with the best F1 on dev, added up over seeds; of equal ones, the first."""
    f1: dict[float, float] = {}
    for record in records:
        f1[record["learning_rate"]] = f1.get(record["learning_rate"], 0.0) + record["dev"]["f1"]
    return max(f1, key=lambda rate: f1[rate])


def visible(run: Run, data: Data) -> dict[str, list[Sentence]]:
    """The sentences that a trained model reads: those of test only if its learning rate has been chosen."""
    return {"dev": data.dev} if run.is_choosing else {"dev": data.dev, "test": data.test}


def attempt(study: Study, run: Run) -> bool:
    """Perform a run and write it down, unless another process has it, or it needs another run first."""
    if not study.is_ready(run):
        return False
    path = study.options.results / run.path()
    with claim(path) as is_mine:
        if is_mine:
            record = study.records[run.path()] = study.perform(run)
            write_json(path, record)
            f1 = ", ".join(f"{name} {record[name]['f1']:.4f}" for name in ("dev", "test") if name in record)
            print(f"{run.path()}: F1 {f1}, {record['seconds']:.0f} s", flush=True)
    return is_mine


def run_all(study: Study) -> None:
    """Perform all runs that are missing, or wait for others to have done so."""
    while runs := list(missing_runs(study)):
        if not any(attempt(study, run) for run in runs):
            time.sleep(study.options.wait)


def run_study(study: Study) -> None:
    """Perform what is missing of a study.

    Raises:
        SystemExit: If the folder of the results has some of other settings.
    """
    for name, data in study.data.items():
        if left_out := [budget for budget in study.options.sentences if budget not in study.budgets(name)]:
            print(f"{name} has only {len(data.train)} sentences to train on: {left_out} are left out")
    check_settings(study)
    run_all(study)


def data_path(name: str, root: Path | None) -> tuple[str, Path | None]:
    """Read an item of ``--data``.

    Raises:
        SystemExit: If it has no path.
    """
    name, is_given, path = name.partition("=")
    if is_given:
        return name, Path(path)
    if name == BUNDLED:
        return name, None
    if root is None:
        raise SystemExit(f"--data {name} needs a path: {name}=PATH, or --root")
    return name, root / name


def parse_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=[BUNDLED], help="NAME=PATH, NAME in --root, or bundled")
    parser.add_argument("--root", type=Path, help="folder with the data sets that have no path")
    parser.add_argument("--nested", nargs="*", default=["genia-nested"], help="data sets with a column for each level")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, help="default: all, published only with --published")
    parser.add_argument("--published", type=Path, help="interpreter of an environment with span_marker 1.8.1")
    parser.add_argument("--reference", default="default", choices=SYSTEMS, help="system to compare the others with")
    add_study_options(parser, HERE / "results" / "accuracy", ["100", "300", "1000", "3000", "all"], max_words=8)
    options = parser.parse_args(arguments)
    if not options.systems:
        options.systems = [name for name in SYSTEMS if name != "published" or options.published]
    if "published" in options.systems and not options.published:
        parser.error("the system published needs --published")
    check_study_options(parser, options)
    return options


def add_study_options(parser: argparse.ArgumentParser, results: Path, sentences: Sequence[str], max_words: int) -> None:
    """Add the options of studies that train systems on samples of several sizes.

    Args:
        parser: The parser.
        results: Default of ``--results``.
        sentences: Default of ``--sentences``.
        max_words: Default of ``--entity-max-length``.
    """
    parser.add_argument("--encoder", help="name or path of an encoder (default: the quickstart's)")
    parser.add_argument("--sentences", nargs="+", default=sentences, help="to train on")
    parser.add_argument("--epochs", type=int, nargs="+", help="one for each of --sentences (default: fewer for more)")
    parser.add_argument("--patience", type=int, default=5, help="stop after so many epochs without improvement")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--learning-rates", type=float, nargs="+", default=[5e-5, 1e-4, 3e-4, 6e-4])
    parser.add_argument("--choosing-seeds", type=int, default=1, help="choose learning rates with this many seeds")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--bfloat16", action="store_true", help="train all systems in mixed precision")
    parser.add_argument("--dev-sentences", type=int, default=500, help="choose on this many, at even distances")
    parser.add_argument("--test-sentences", type=int, help="test on this many, at even distances (default: all)")
    parser.add_argument("--model-max-length", type=int, default=256, help="limit of texts, in tokens")
    parser.add_argument("--entity-max-length", type=int, default=max_words, help="limit of entities, in words")
    parser.add_argument("--wait", type=float, default=20, help="seconds between looks at what other processes do")
    parser.add_argument("--results", type=Path, default=results, help="folder")
    parser.add_argument("--summary", action="store_true", help="train nothing")


def check_study_options(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Refuse what `add_study_options` reads, but no study can do."""
    if options.epochs and len(options.epochs) != len(options.sentences):
        parser.error("--epochs needs one number for each of --sentences")
    if not all(budget == "all" or budget.isdecimal() for budget in options.sentences):
        parser.error("--sentences must be numbers, or all")


def main(arguments: list[str] | None = None) -> None:
    """Run the study, or what is missing of it, and print its tables.

    Args:
        arguments: Command line arguments; those of the process by default.

    Raises:
        SystemExit: If an argument is wrong, or the folder has results of other settings.
    """
    options = parse_options(arguments)
    if not options.summary:
        if options.encoder is None:
            options.encoder = str(bundled_encoder())
        data = {}
        for item in options.data:
            name, path = data_path(item, options.root)
            data[name] = load(path, name in options.nested, options.dev_sentences, options.test_sentences)
        run_study(Study(options, data))
    print(write_summary(options.results, options.reference))


if __name__ == "__main__":
    main()
