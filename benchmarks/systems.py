"""The systems of ``case_studies.py``: how each is trained, and how it reads entities out of sentences."""

from __future__ import annotations

import argparse
import copy
import io
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import spacy
import transformers
from datasets import Dataset
from spacy.cli.init_config import init_config
from spacy.tokens import Doc
from spacy.training.initialize import init_nlp
from spacy.training.loop import train as train_pipeline
from tables import HERE
from token_classification import ExportedClassifier, classify, encode, export
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForTokenClassification,
    AutoTokenizer,
    DataCollatorForTokenClassification,
    set_seed,
)

from span_marker import ErrorReport, SpanMarkerModel, Trainer, analyze_predictions, write_docbin
from span_marker.core.labels import LabelledSpan, entities_to_tags

sys.path.append(str(HERE.parent / "training_scripts"))

import bundled_corpus
import quickstart

ONNX = "model.onnx"
"""What an exported token classifier is called."""

BATCH_SIZE, MAX_LENGTH = 32, 128
"""Sentences that every system reads at a time, and tokens of the longest text, as the quickstart has them."""


class Sentence(NamedTuple):
    """A sentence as text and as words, with its entities."""

    text: str
    words: list[str]
    entities: list[LabelledSpan]


Found = list[list[LabelledSpan]]
"""Entities that were found in each sentence."""


class System(NamedTuple):
    """A function that reads entities out of sentences, whose own are not looked at; and the number of parameters."""

    read: Callable[[list[Sentence]], Found]
    num_parameters: int


def read_sentences(rows: Iterable[dict[str, Any]]) -> list[Sentence]:
    """Take sentences out of rows with ``text``."""
    words = ((row["text"], bundled_corpus.to_words(row)) for row in rows)
    return [Sentence(text, of["tokens"], to_spans(of["entities"])) for text, of in words]


def to_spans(entities: Iterable[dict[str, Any]]) -> list[LabelledSpan]:
    """Take entities out of a row."""
    return [LabelledSpan(entity["label"], entity["start"], entity["end"]) for entity in entities]


def read_split(split: str, count: int | None) -> list[Sentence]:
    """Read the first sentences of a split of the corpus, or all."""
    return read_sentences(bundled_corpus.read_split(split))[:count]


def to_rows(sentences: Iterable[tuple[list[str], list[LabelledSpan]]]) -> list[dict[str, Any]]:
    """Bring words and their entities into the form of a data set."""
    return [{"tokens": words, "entities": [entity._asdict() for entity in found]} for words, found in sentences]


def judge(sentences: list[Sentence], found: Found, labels: list[str] | None = None) -> ErrorReport:
    """Compare what was found with what is annotated: entities of some labels, or all."""

    def with_words(entities: Iterable[list[LabelledSpan]]) -> list[dict[str, Any]]:
        kept = ([entity for entity in some if labels is None or entity.label in labels] for some in entities)
        return to_rows(zip((sentence.words for sentence in sentences), kept, strict=True))

    gold = Dataset.from_list(with_words(of.entities for of in sentences))
    return analyze_predictions(gold, with_words(found), num_resamples=1)  # nobody looks at its intervals


def train_span_marker(trainer: Trainer, data: Dataset, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Train the quickstart's model."""
    started = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - started
    trainer.model.save_pretrained(folder)
    return {"seconds": seconds}


def load_span_marker(folder: Path) -> System:
    """Load the quickstart's model."""
    model = SpanMarkerModel.from_pretrained(folder)
    return System(read_with(model), sum(parameter.numel() for parameter in model.parameters()))


def read_with(model: Any) -> Callable[[list[Sentence]], Found]:
    """Read entities with a model of this library, in PyTorch or without."""

    def read(sentences: list[Sentence]) -> Found:
        found = model.predict([sentence.words for sentence in sentences], batch_size=BATCH_SIZE)
        return [[LabelledSpan(e["label"], e["word_start_index"], e["word_end_index"]) for e in some] for some in found]

    return read


def train_token_classifier(
    trainer: Trainer, data: Dataset, options: argparse.Namespace, folder: Path
) -> dict[str, Any]:
    """Train token classifiers in the quickstart's way, and keep the learning rate that is best on dev."""
    tokenizer = AutoTokenizer.from_pretrained(options.encoder, add_prefix_space=True)
    types = sorted({entity["label"] for entities in data["entities"] for entity in entities})
    labels, dev = ["O", *(f"{prefix}-{of}" for of in types for prefix in "BI")], read_split("dev", options.sentences)
    ids = {label: index for index, label in enumerate(labels)}

    def to_features(row: dict[str, Any]) -> dict[str, Any]:
        tags = entities_to_tags(to_spans(row["entities"]), len(row["tokens"]))
        return encode(tokenizer, row["tokens"], [ids[tag] for tag in tags], MAX_LENGTH)

    rows = data.map(to_features, remove_columns=data.column_names)
    best: dict[str, Any] = {"dev_f1": {}}
    for rate in options.learning_rates:
        args = copy.copy(trainer.args)
        args.learning_rate = rate
        set_seed(args.seed)
        model = AutoModelForTokenClassification.from_pretrained(
            options.encoder, id2label=dict(enumerate(labels)), label2id=ids
        )
        quickstart.spend_time_on_learning(model)
        collator = DataCollatorForTokenClassification(tokenizer)
        started = time.perf_counter()
        transformers.Trainer(model=model, args=args, train_dataset=rows, data_collator=collator).train()
        seconds = time.perf_counter() - started
        f1 = judge(dev, read_classes(model.cpu(), tokenizer, dev)).overall.f1.value
        if f1 > max(best["dev_f1"].values(), default=-1):
            best |= {"learning_rate": rate, "seconds": seconds}
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
        best["dev_f1"][str(rate)] = f1
    return best


def load_token_classifier(folder: Path) -> System:
    """Load a token classifier."""
    model, tokenizer = AutoModelForTokenClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    return System(partial(read_classes, model, tokenizer), num_parameters)


def export_token_classifier(folder: Path, target: Path) -> None:
    """Write a token classifier for ONNX Runtime, with its tokenizer."""
    model, tokenizer = AutoModelForTokenClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    model.config.save_pretrained(target)
    tokenizer.save_pretrained(target)
    export(model, tokenizer(["One example.", "And another one."], padding=True, return_tensors="pt"), target / ONNX)


def load_exported_token_classifier(folder: Path) -> System:
    """Load a token classifier in ONNX Runtime. Nobody asks how many parameters it has."""
    model = ExportedClassifier(folder / ONNX, AutoConfig.from_pretrained(folder))
    return System(partial(read_classes, model, AutoTokenizer.from_pretrained(folder)), 0)


def read_classes(model: nn.Module, tokenizer: Any, sentences: list[Sentence]) -> Found:
    """Read entities with a token classifier."""
    return classify(model, tokenizer, [sentence.words for sentence in sentences], MAX_LENGTH, BATCH_SIZE)


def train_spacy(trainer: Trainer, data: Dataset, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Train a spaCy pipeline with the settings that spaCy suggests for a CPU, and keep what is best on dev."""
    dev = ((sentence.words, sentence.entities) for sentence in read_split("dev", options.sentences))
    config = init_config(lang="en", pipeline=["ner"], optimize="efficiency")
    config["system"]["seed"] = trainer.args.seed
    config["training"]["max_steps"] = options.spacy_steps
    with tempfile.TemporaryDirectory() as work:
        for split, sentences in (("train", data), ("dev", to_rows(dev))):
            config["paths"][split] = f"{work}/{split}.spacy"
            config["corpora"][split]["gold_preproc"] = True  # words as given
            write_docbin(config["paths"][split], sentences)
        started = time.perf_counter()
        train_pipeline(init_nlp(config), Path(work), stdout=io.StringIO())
        seconds = time.perf_counter() - started
        shutil.copytree(Path(work, "model-best"), folder, dirs_exist_ok=True)
    return {"seconds": seconds}


def load_spacy(folder: Path | str, labels: dict[str, str] | None = None) -> System:
    """Load a spaCy pipeline: one that reads words as given, or with ``labels`` text, in words of its own."""
    nlp = spacy.load(folder)
    nodes = [node for _, component in nlp.pipeline if hasattr(component, "model") for node in component.model.walk()]
    weights = [node.get_param(name) for node in nodes for name in node.param_names if node.has_param(name)]

    def read_words(sentences: list[Sentence]) -> Found:
        docs = [Doc(nlp.vocab, words=sentence.words) for sentence in sentences]
        found = nlp.pipe(docs, batch_size=BATCH_SIZE)
        return [[LabelledSpan(entity.label_, entity.start, entity.end) for entity in doc.ents] for doc in found]

    def read_text(sentences: list[Sentence]) -> Found:
        found = nlp.pipe([sentence.text for sentence in sentences], batch_size=BATCH_SIZE)
        return [in_words(sentence, doc, labels or {}) for sentence, doc in zip(sentences, found, strict=True)]

    return System(read_text if labels else read_words, sum(int(weight.size) for weight in weights))


def in_words(sentence: Sentence, doc: Any, labels: dict[str, str]) -> list[LabelledSpan]:
    """Bring entities that a spaCy pipeline found in a text into the words of the corpus, and to its labels."""
    word_at: list[int] = []  # of each character; of white space, the word behind it
    for index, word in enumerate(sentence.words):
        end = sentence.text.index(word, len(word_at)) + len(word)
        word_at += [index] * (end - len(word_at))
    spans = [
        (labels.get(entity.label_, entity.label_), word_at[entity.start_char], word_at[entity.end_char - 1] + 1)
        for entity in doc.ents
    ]
    return [LabelledSpan(*span) for span in dict.fromkeys(spans)]


SYSTEMS = {
    "span-marker": (train_span_marker, load_span_marker),
    "token-classifier": (train_token_classifier, load_token_classifier),
    "spacy-trained": (train_spacy, load_spacy),
}
"""How each is trained and loaded."""
