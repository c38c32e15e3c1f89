"""The data of `accuracy.py`: sentences to train on, to choose on and to test on."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from datasets import Dataset
from studies import spread

from span_marker import read_annotations
from span_marker.core.labels import LabelledSpan, entities_to_tags, have_overlap

sys.path.append(str(Path(__file__).parents[1] / "training_scripts"))

import bundled_corpus

BUNDLED = "bundled"
"""Name of the corpus that comes with the repository."""

SPLITS = ("train", "dev", "test")


class Sentence(NamedTuple):
    """Words and their entities."""

    words: list[str]
    entities: list[LabelledSpan]


class Data(NamedTuple):
    """Annotated sentences in three parts.

    Attributes:
        labels: The labels of their entities.
        train: Sentences to take training samples from.
        dev: Sentences on which epochs and learning rates are chosen.
        test: Sentences that the figures are about.
    """

    labels: list[str]
    train: list[Sentence]
    dev: list[Sentence]
    test: list[Sentence]

    def describe(self) -> dict[str, Any]:
        """Tell this data apart from other data."""
        content = json.dumps(self).encode()
        sizes = {split: len(getattr(self, split)) for split in SPLITS}
        return {**sizes, "sha256": hashlib.sha256(content).hexdigest()[:16]}


def load(path: Path | None, is_nested: bool, num_dev: int | None, num_test: int | None) -> Data:
    """Read annotated data.

    Args:
        path: A file, or a folder with files whose names begin with ``train.``, ``dev.`` and ``test.``, in a format of
            `read_annotations`. Without a test file, dev sentences with odd numbers, from 0, become the test sentences.
            A single file is split in order, three fifths to train on and one fifth each to choose and to test on, so
            that most documents are in one part. None is the bundled corpus.
        is_nested: Whether all columns of a column file but the first are levels of nested entities.
        num_dev: Choose on this many sentences, at even distances. Defaults to all.
        num_test: Test on this many sentences, at even distances. Defaults to all.

    Returns:
        The data.

    Raises:
        SystemExit: If there are no such files.
    """
    return make_data(
        read_bundled() if path is None else read_files(path, lambda file: read_file(file, is_nested)), num_dev, num_test
    )


def make_data(parts: dict[str, list[Any]], num_dev: int | None, num_test: int | None) -> Data:
    """List the labels of sentences in three parts, and take the dev and test sentences that are asked for."""
    for split, count in (("dev", num_dev), ("test", num_test)):
        parts[split] = [parts[split][index] for index in spread(len(parts[split]), count)]
    labels = sorted({entity.label for some in parts.values() for sentence in some for entity in sentence.entities})
    return Data(labels, **parts)


def read_bundled() -> dict[str, list[Sentence]]:
    """Read the bundled corpus."""
    return {split: to_sentences(bundled_corpus.read_words(split)) for split in SPLITS}


def read_files(path: Path, read: Callable[[Path], list[Any]]) -> dict[str, list[Any]]:
    """Read the files of a folder, or one file, and split what is not split."""
    files = {file.name.split(".")[0]: file for file in sorted(path.glob("*"))} if path.is_dir() else {"train": path}
    files = {split: files[split] for split in SPLITS if split in files}
    parts = {split: read(file) for split, file in files.items()}
    if list(parts) == list(SPLITS):
        return parts
    if list(parts) == ["train", "dev"]:
        return {"train": parts["train"], "dev": parts["dev"][::2], "test": parts["dev"][1::2]}
    if len(parts) == 1:
        (sentences,) = parts.values()
        first, second = (len(sentences) * fifths // 5 for fifths in (3, 4))
        return {"train": sentences[:first], "dev": sentences[first:second], "test": sentences[second:]}
    raise SystemExit(f"{path} has files of {list(parts)}: it needs train and dev, or these and test, or one file")


def read_file(path: Path, is_nested: bool) -> list[Sentence]:
    """Read the sentences of a file."""
    return to_sentences(read_annotations(path, **({"tag_columns": "all"} if is_nested else {})))


def to_sentences(data: Dataset) -> list[Sentence]:
    """Take words and entities out of a data set."""
    return [
        Sentence(words, [LabelledSpan(entity["label"], entity["start"], entity["end"]) for entity in entities])
        for words, entities in zip(data["tokens"], data["entities"], strict=True)
    ]


def sample(sentences: list[Sentence], count: int, seed: int) -> list[Sentence]:
    """Draw sentences; a larger sample of a seed has all of a smaller one."""
    return [sentences[index] for index in np.random.default_rng(seed).permutation(len(sentences))[:count]]


def words_of(sentences: list[Sentence]) -> list[list[str]]:
    """Take the words alone."""
    return [sentence.words for sentence in sentences]


def entity_columns(sentences: list[Sentence]) -> dict[str, list[Any]]:
    """Write sentences as columns with entities, which may overlap."""
    return {
        "tokens": words_of(sentences),
        "entities": [[entity._asdict() for entity in sentence.entities] for sentence in sentences],
    }


def tag_columns(sentences: list[Sentence], tags: list[str]) -> dict[str, list[Any]]:
    """Write sentences as columns with the numbers of IOB2 tags: those of entities that do not overlap, see `flat`."""
    ids = {tag: index for index, tag in enumerate(tags)}
    written = (entities_to_tags(flat(sentence.entities), len(sentence.words)) for sentence in sentences)
    return {"tokens": words_of(sentences), "ner_tags": [[ids[tag] for tag in some] for some in written]}


def iob2_tags(labels: list[str]) -> list[str]:
    """List the tags of some labels."""
    return ["O", *(f"{prefix}-{label}" for label in labels for prefix in "BI")]


def flat(entities: list[LabelledSpan]) -> list[LabelledSpan]:
    """Keep entities that do not overlap: the longest first, so that of nested ones the outermost are kept."""
    kept: list[LabelledSpan] = []
    for entity in sorted(entities, key=lambda entity: (entity.start - entity.end, entity.start)):
        if not have_overlap([*kept, entity]):
            kept.append(entity)
    return sorted(kept, key=lambda entity: entity.start)
