"""Relations: one model of entities and relations against two, and against encoding a text once per subject.

``python benchmarks/relations.py --root FOLDER`` trains the systems of `relations_systems` on samples of CoNLL04 and
SciERC, folders of ``FOLDER`` with JSON lines, as `accuracy.py` does: a seed draws the sentences, which all systems
share, and the initial weights; the number of epochs, batch size, limits, warmup and early stopping are the same;
learning rates are chosen on dev with the first seed; test sentences are read once. Epochs and learning rates of
``entities`` are chosen by the F1 of entities, all others by the strict F1 of relations: epochs by that at the best
threshold. Those of pipelines are between the entities that the model ``entities`` of the same seed has found.

- ``joint``: one model, made with ``labels`` and ``relation_labels``. Other names that begin so are variants of it.
- ``separate``: the entities of ``entities``, and a second model that is trained on relations alone.
- ``per-subject``: the same entities, and the recipe of PL-Marker: the second model reads each sentence once per entity,
  which is marked in the text, and the other entities are its candidates.

A relation is right if its label and the words and labels of both entities are. Figures are micro-averaged, also with
gold entities given. Texts and data are those of `accuracy.py`, and so is the way to stop, to resume and to use several
processes: every run is a file in ``--results``. ``--models FOLDER`` keeps the models of the first seed and the largest
sample; ``--time`` then measures how fast they read the test sentences, in turns, and should have the machine for
itself. ``--summary`` prints the tables of what is done.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accuracy import Run, Study, add_study_options, check_study_options, data_path, run_study, visible
from accuracy_data import sample, words_of
from quickstart import bundled_encoder
from relations_data import SYMMETRIC, RelatedSentence, load, relation_labels
from relations_summary import write_summary
from relations_systems import (
    BATCH_SIZE,
    ENTITIES,
    PIPELINES,
    SYSTEMS,
    VARIANTS,
    Entities,
    Job,
    Reading,
    given_reader,
    read_both,
    read_entities,
    train,
)
from speed import machine
from studies import count_entities, figures, write_json
from tables import HERE

from span_marker import SpanMarkerModel
from span_marker.core.labels import LabelledSpan

DEFAULT_SYSTEMS = (ENTITIES, "joint", *PIPELINES)


@dataclass
class RelationStudy(Study):
    """The command line and the data, see `accuracy.Study`."""

    def settings(self, name: str, budget: str) -> dict[str, Any]:
        """Everything that all systems share on some sentences of some data."""
        return {**super().settings(name, budget), "symmetric": self.symmetric(name)}

    def symmetric(self, name: str) -> list[str]:
        """The symmetric relations of some data."""
        return [label for label in self.relations(name) if label in SYMMETRIC]

    def relations(self, name: str) -> list[str]:
        """The labels of the relations of some data."""
        data = self.data[name]
        return relation_labels([*data.train, *data.dev, *data.test])

    def plan(self, run: Run) -> dict[str, Any]:
        """Everything that a run depends on. Steps of warmup are counted in texts, of which some have several."""
        shared = self.settings(run.data, run.budget)
        model = {name: shared[name] for name in ("model_max_length", "entity_max_length")}
        training = self.training(run, num_texts(run.system, self.train_sentences(run)))
        return {**run._asdict(), "settings": shared, "model": model, "training": training}

    def train_sentences(self, run: Run) -> list[RelatedSentence]:
        """The sentences that a run trains on."""
        return sample(self.data[run.data].train, self.budgets(run.data)[run.budget], run.seed)

    def entity_record(self, run: Run) -> dict[str, Any] | None:
        """The result of the model of entities of the same seed, which a pipeline needs; None if it is not done."""
        path = self.options.results / f"{run.data}/{run.budget}/{ENTITIES}/test-{run.seed}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def is_ready(self, run: Run) -> bool:
        """Tell whether the entities are there that a pipeline needs."""
        return run.system not in PIPELINES or self.entity_record(run) is not None

    def job(self, run: Run) -> Job:
        """What a system needs for a run."""
        plan, parts = self.plan(run), visible(run, self.data[run.data])
        record = self.entity_record(run) if run.system in PIPELINES else None
        return Job(
            encoder=self.options.encoder,
            labels=self.data[run.data].labels,
            relations=self.relations(run.data),
            symmetric=self.symmetric(run.data),
            train=self.train_sentences(run),
            parts=parts,
            found=None if record is None else {name: read_found(record[name]["found"]) for name in parts},
            model=plan["model"],
            training=plan["training"],
            patience=self.options.patience,
        )

    def perform(self, run: Run) -> dict[str, Any]:
        """Train a model, let it read, and compare what it found with what is annotated."""
        job = self.job(run)
        trained = train(run.system, job)
        if (folder := self.model_folder(run)) is not None:
            trained.model.save_pretrained(folder)
        measured = {
            name: measure(job.parts[name], reading, None if job.found is None else job.found[name])
            for name, reading in trained.readings.items()
        }
        return self.record(self.plan(run), trained.training, measured)

    def model_folder(self, run: Run) -> Path | None:
        """Where the model of a run is kept, if it is."""
        budgets = self.budgets(run.data)
        is_kept = not run.is_choosing and run.seed == 1 and run.budget == max(budgets, key=lambda one: budgets[one])
        return self.options.models / run.data / run.system if self.options.models and is_kept else None


def num_texts(system: str, sentences: list[RelatedSentence]) -> int:
    """Count the texts that a system reads in an epoch."""
    if system in PIPELINES:
        with_pairs = [sentence for sentence in sentences if len(sentence.entities) > 1]
        return sum(len(of.entities) for of in with_pairs) if system == "per-subject" else len(with_pairs)
    return len(sentences)


def read_found(rows: list[list[list[Any]]]) -> Entities:
    """Read entities as a result has them."""
    return [[LabelledSpan(*entity) for entity in row] for row in rows]


def measure(sentences: list[RelatedSentence], reading: Reading, found: Entities | None) -> dict[str, Any]:
    """Compare what a system has found with what is annotated.

    Args:
        sentences: The sentences.
        reading: What it has found.
        found: The entities of the model before it in a pipeline; None for other systems.

    Returns:
        The figures of ``entities``, ``relations`` and ``gold``, the relations between gold entities, those that there
        are; ``f1``, by which epochs and learning rates are chosen; and for a model of entities alone what it ``found``.
    """
    gold_relations = [sentence.relations for sentence in sentences]
    entities = reading.entities if reading.entities is not None else found
    compared = {"entities": ([sentence.entities for sentence in sentences], entities)}
    compared |= {"relations": (gold_relations, reading.relations), "gold": (gold_relations, reading.gold)}
    measured = {name: figures(count_entities(gold, of)) for name, (gold, of) in compared.items() if of is not None}
    if reading.relations is None:
        return {**measured, "f1": measured["entities"]["f1"], "found": reading.entities}
    return {**measured, "f1": measured["relations"]["f1"]}


def time_models(study: RelationStudy, name: str) -> dict[str, Any]:
    """Measure how fast the models that were kept read the test sentences of some data, in turns.

    Raises:
        SystemExit: If a model is missing.
    """
    options = study.options
    budgets = study.budgets(name)
    run = Run(name, max(budgets, key=lambda one: budgets[one]), ENTITIES, 1, options.learning_rates[0], False)
    words, job = words_of(study.data[name].test), study.job(run)
    models = {}
    for system in options.systems:
        folder = study.model_folder(run._replace(system=system))
        if folder is None or not folder.exists():
            raise SystemExit(f"{folder} has no model of {system}: run without --time and with --models before")
        models[system] = SpanMarkerModel.from_pretrained(folder)
        models[system].to("cuda" if torch.cuda.is_available() else "cpu")
    readers = {reader: read for system in models for reader, read in readers_of(system, models, job).items()}
    seconds: dict[str, list[float]] = {reader: [] for reader in readers}
    for number in range(options.rounds + 1):  # the first to warm up
        for reader, read in readers.items():
            started = time.perf_counter()
            read(words)
            if number:
                seconds[reader].append(time.perf_counter() - started)
    return {
        "machine": machine("cuda" if torch.cuda.is_available() else "cpu"),
        "threads": torch.get_num_threads(),
        "num_sentences": len(words),
        "seconds": seconds,
        "sentences_per_second": {reader: len(words) / statistics.median(some) for reader, some in seconds.items()},
    }


def readers_of(system: str, models: dict[str, SpanMarkerModel], job: Job) -> dict[str, Callable[[Any], Any]]:
    """What is measured of a system: all that it reads, and for a joint model also entities alone."""
    batch_size = job.training[BATCH_SIZE]
    if system == ENTITIES:
        return {system: lambda words: read_entities(models[ENTITIES], words, batch_size)}
    if system in VARIANTS:
        return {
            f"{system}, entities alone": lambda words: read_entities(models[system], words, batch_size),
            system: lambda words: read_both(models[system], words, batch_size),
        }
    given = given_reader(PIPELINES[system], models[system], job)
    return {system: lambda words: given(words, read_entities(models[ENTITIES], words, batch_size))}


def parse_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=["conll04", "scierc"], help="NAME=PATH, or NAME in --root")
    parser.add_argument("--root", type=Path, help="folder with the data sets that have no path")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=DEFAULT_SYSTEMS)
    parser.add_argument("--reference", default="joint", choices=SYSTEMS, help="system to compare the others with")
    parser.add_argument("--models", type=Path, help="folder to keep models in, those of the first seed")
    parser.add_argument("--time", action="store_true", help="train nothing, but time the models that were kept")
    parser.add_argument("--rounds", type=int, default=5, help="of --time")
    add_study_options(parser, HERE / "results" / "relations", ["100", "300", "all"], max_words=12)
    options = parser.parse_args(arguments)
    check_study_options(parser, options)
    if options.time and not options.models:
        parser.error("--time needs --models")
    needed = {ENTITIES} if PIPELINES.keys() & set(options.systems) else set()
    options.systems = [name for name in SYSTEMS if name in {*options.systems, *needed}]
    return options


def main(arguments: list[str] | None = None) -> None:
    """Run the study, or what is missing of it, and print its tables.

    Args:
        arguments: Command line arguments; those of the process by default.

    Raises:
        SystemExit: If an argument is wrong, or the folder has results of other settings.
    """
    options = parse_options(arguments)
    if not options.summary:
        options.encoder = options.encoder or str(bundled_encoder())
        paths = dict(data_path(item, options.root) for item in options.data)
        data = {name: load(path, options.dev_sentences, options.test_sentences) for name, path in paths.items()}
        study = RelationStudy(options, data)
        if options.time:
            for name in data:
                write_json(options.results / name / "time.json", time_models(study, name))
        else:
            run_study(study)
    print(write_summary(options.results, options.reference))


if __name__ == "__main__":
    main()
