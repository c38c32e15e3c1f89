"""The systems of `relations.py`: how each is trained on the same sentences, and how it reads others.

``entities`` is a model of entities alone. ``separate`` and ``per-subject`` are pipelines of it and of a second model,
trained apart, which reads the relations between given entities: gold ones in training, found ones in prediction.
``joint``, and its variants, is one model of both. The class scores of all become relations by the same rules, with the
same symmetric relations and the types of the training sentences.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers
from accuracy_data import words_of
from accuracy_systems import Arguments, on_this_machine
from accuracy_worker import strict_f1, train_best
from datasets import Dataset
from relations_data import (
    MarkedText,
    RelatedSentence,
    Relation,
    pairs_in_sentence,
    relation_columns,
    relation_types,
    subjects_in_sentence,
)
from torch import Tensor
from torch.nn import functional as F
from transformers import TrainingArguments, set_seed

from span_marker import SpanMarkerModel, Trainer
from span_marker.core.decoding import ScoredSpan
from span_marker.core.labels import OUTSIDE, LabelledSpan
from span_marker.core.relation_metrics import relation_threshold_metrics
from span_marker.core.relations import NO_RELATION, RelationRules, labelled_pairs, relation_classes, stands_first
from span_marker.core.settings import read_thresholds
from span_marker.core.spans import FloatArray, IntArray
from span_marker.heads import NO_RELATION_PRIOR, initial_bias
from span_marker.preprocessing.data_collator import SpanMarkerDataCollator
from span_marker.preprocessing.inputs import Sentences
from span_marker.scores.cross_fitting import FLOOR, cross_fit
from span_marker.scores.thresholds import ThresholdReport

Words = list[list[str]]
Entities = list[list[LabelledSpan]]
Relations = list[list[Relation]]
ScoredRelations = list[dict[Relation, float]]

ENTITIES = "entities"


class Job(NamedTuple):
    """What a system needs to train a model and to read with it.

    Attributes:
        encoder: Name or path of the encoder.
        labels: The labels of entities.
        relations: The labels of relations.
        symmetric: Those of symmetric relations.
        train: The sentences to train on.
        parts: The sentences to read afterwards, by name; epochs are compared on those of ``dev``.
        found: The entities that the model ``entities`` of the same seed has found in them; None for systems that do
            not need them.
        model: Arguments of ``from_pretrained``.
        training: Arguments of ``TrainingArguments``.
        patience: See `accuracy_worker.BestEpoch`.
    """

    encoder: str
    labels: list[str]
    relations: list[str]
    symmetric: list[str]
    train: list[RelatedSentence]
    parts: dict[str, list[RelatedSentence]]
    found: dict[str, Entities] | None
    model: Arguments
    training: Arguments
    patience: int

    @property
    def rules(self) -> RelationRules:
        """Which relations the sentences have, and between which entities."""
        classes, types = [OUTSIDE, *self.labels], relation_types(self.train)
        return RelationRules.from_labels(relation_classes(self.relations), classes, self.symmetric, types)


class Reading(NamedTuple):
    """What a system reads in some sentences.

    Attributes:
        entities: The entities that it finds; None for a pipeline, which has those of another model.
        relations: The relations that it finds; None for a system that finds none.
        gold: The relations that it finds between gold entities.
    """

    entities: Entities | None
    relations: Relations | None
    gold: Relations | None


class Trained(NamedTuple):
    """A model, how its training went, see `accuracy_worker.train_best`, and what it reads in each part."""

    model: SpanMarkerModel
    training: dict[str, Any]
    readings: dict[str, Reading]


class Example(NamedTuple):
    """A text with groups of markers, in tokens.

    Attributes:
        features: See `span_marker.preprocessing.pieces.Piece.features`.
        tokens: First and last token of each span of a group, ``(num_groups, 2 * spans_per_group)``.
        labels: Class ID of each group; without meaning in prediction.
        options: True for each class that a group may have, as in prediction, ``(num_groups, num_relations)``.
    """

    features: dict[str, Any]
    tokens: IntArray
    labels: IntArray
    options: np.ndarray


class GivenPairs(NamedTuple):
    """The pairs of the given entities of a sentence: head and tail of each, and class scores."""

    ends: list[tuple[ScoredSpan, ScoredSpan]]
    logits: np.ndarray


@dataclass(frozen=True)
class Recipe:
    """How the relations between given entities are read.

    Attributes:
        mark: Puts pairs of entities into texts, see `relations_data`.
        make_model: Makes a new model.
        class_scores: Scores the groups of a batch, given their tokens and their numbers per text.
    """

    mark: Callable[[list[str], IntArray, IntArray], list[MarkedText]]
    make_model: Callable[[Job], SpanMarkerModel]
    class_scores: Callable[[SpanMarkerModel, dict[str, Tensor], Tensor, Tensor], Tensor]

    def encode(self, model: SpanMarkerModel, texts: Sequence[MarkedText]) -> list[tuple[dict[str, Any], IntArray]]:
        """Turn texts into tokens.

        Args:
            model: The model.
            texts: The texts.

        Returns:
            The features and the tokens of each text, see `Example`.

        Raises:
            SystemExit: If a text is beyond the limit of the model.
        """
        sentences, preprocessor = Sentences([text.words for text in texts], False), model.preprocessor
        pieces = preprocessor.pieces(sentences, preprocessor.encode(sentences))
        if len(pieces) != len(texts):
            raise SystemExit(f"a sentence has more than {preprocessor.max_tokens} tokens: raise --model-max-length")
        encoded = []
        for piece, text in zip(pieces, texts, strict=True):
            features = piece.features()
            starts, ends = (np.asarray(features[name], dtype=np.int64) for name in ("word_starts", "word_ends"))
            tokens = np.empty_like(text.groups)
            tokens[:, 0::2], tokens[:, 1::2] = starts[text.groups[:, 0::2]], ends[text.groups[:, 1::2] - 1] - 1
            encoded.append((features, tokens))
        return encoded

    def examples(self, model: SpanMarkerModel, job: Job) -> list[Example]:
        """Make the examples of the training sentences: all pairs of their gold entities."""
        texts: list[MarkedText] = []
        labels: list[IntArray] = []
        options: list[np.ndarray] = []
        ids = {label: index for index, label in enumerate(relation_classes(job.relations))}
        symmetric = [label in job.symmetric for label in ids]
        for words, entities, relations in job.train:
            spans = np.array([entity[1:] for entity in entities], dtype=np.int64).reshape(-1, 2)
            rows = [[ids[one.label], entities.index(one.head), entities.index(one.tail)] for one in relations]
            pairs, classes = labelled_pairs(spans, np.array(rows, dtype=np.int64).reshape(-1, 3), symmetric)
            comes_second = ~stands_first(spans[pairs[:, 0]], spans[pairs[:, 1]])
            if marked := self.mark(words, spans, pairs):
                ends = np.cumsum([len(text.groups) for text in marked])[:-1]
                texts += marked
                labels += np.split(classes, ends)
                options += np.split(~(comes_second[:, None] & symmetric), ends)
        encoded = zip(self.encode(model, texts), labels, options, strict=True)
        return [Example(*tokens, *others) for tokens, *others in encoded]

    def score(self, model: SpanMarkerModel, batch: dict[str, Tensor]) -> Tensor:
        """Score the groups of a batch of `collate`, ``(num_groups, num_relations)``."""
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_cases")}
        return self.class_scores(model, inputs, batch["tokens"], batch["counts"])

    def predict(self, model: SpanMarkerModel, texts: list[MarkedText], batch_size: int) -> Iterator[np.ndarray]:
        """Score the groups of texts, text after text."""
        none = np.zeros(0, dtype=np.int64)
        examples = [Example(*some, none, none) for some in self.encode(model, texts)]
        order = sorted(range(len(texts)), key=lambda index: len(examples[index].features["input_ids"]))
        scores: dict[int, np.ndarray] = {}
        model.eval()
        with torch.inference_mode():
            for first in range(0, len(order), batch_size):
                chosen = order[first : first + batch_size]
                batch = collate(model, [examples[index] for index in chosen])
                found = self.score(model, {name: value.to(model.device) for name, value in batch.items()})
                counts = batch["counts"].tolist()
                scores |= dict(zip(chosen, (some.float().cpu().numpy() for some in found.split(counts)), strict=True))
        return (scores[index] for index in range(len(texts)))


@dataclass
class GivenReader:
    """Finds the relations between given entities.

    Attributes:
        recipe: How they are read.
        model: The model of relations.
        rules: Which relations there are, and between which entities.
        classes: The classes of entities.
        batch_size: Number of texts per batch, which have similar lengths.
        thresholds: The minimum probability of each class of pairs, ``(num_relations,)``; None for the most probable.
    """

    recipe: Recipe
    model: SpanMarkerModel
    rules: RelationRules
    classes: list[str]
    batch_size: int
    thresholds: FloatArray | None = None

    def __call__(self, words: Words, entities: Entities) -> Relations:
        """Find the relations of sentences."""
        return [list(self.decode(pairs, self.thresholds)) for pairs in self.score(words, entities)]

    def rank(self, words: Words, entities: Entities) -> ScoredRelations:
        """Find the relations of sentences that have a probability of at least `FLOOR`."""
        least = read_thresholds("threshold", FLOOR, self.names, NO_RELATION)
        return [self.decode(pairs, least) for pairs in self.score(words, entities)]

    def score(self, words: Words, entities: Entities) -> list[GivenPairs]:
        """Score the pairs of the entities of sentences."""
        spans = [[ScoredSpan(self.classes.index(one.label), *one[1:], 1.0) for one in of] for of in entities]
        places = [np.array([one[:3] for one in of], dtype=np.int64).reshape(-1, 3) for of in spans]
        pairs = [self.rules.pairs(some)[0] for some in places]
        marked = [self.recipe.mark(*of) for of in zip(words, (some[:, 1:] for some in places), pairs, strict=True)]
        texts = [text for some in marked for text in some]
        none = np.empty((0, len(self.rules.is_symmetric)))
        scores = np.concatenate([none, *self.recipe.predict(self.model, texts, self.batch_size)])
        parts = np.split(scores, np.cumsum([len(some) for some in pairs])[:-1])
        return [
            GivenPairs([(of[head], of[tail]) for head, tail in some.tolist()], own)
            for of, some, own in zip(spans, pairs, parts, strict=True)
        ]

    def decode(self, pairs: GivenPairs, thresholds: FloatArray | None) -> dict[Relation, float]:
        """Find the relations of the pairs of a sentence, with their probabilities."""
        found = {}
        for one in self.rules.decode(pairs.logits, pairs.ends, thresholds):
            head, tail = (LabelledSpan(self.classes[end.label_id], end.start, end.end) for end in (one.head, one.tail))
            found[Relation(self.names[one.label_id], head, tail)] = one.score
        return found

    def tune(self, words: Words, entities: Entities, gold: Relations) -> ThresholdReport:
        """Choose thresholds as the library's trainer does: if they improve the F1 of relations significantly.

        Args:
            words: The sentences.
            entities: Their entities, those that were found.
            gold: Their gold relations.

        Returns:
            The thresholds and their figures.
        """
        scored = self.score(words, entities)

        def predict(rows: Sequence[int], threshold: Any) -> Iterator[dict[Relation, float]]:
            least = read_thresholds("threshold", threshold, self.names, NO_RELATION)
            return (self.decode(scored[row], least) for row in rows)

        report = cross_fit(self.names[1:], gold, predict, [[row] for row in range(len(words))], kind="relations")
        thresholds = report.thresholds if report.is_better else None
        self.thresholds = read_thresholds("threshold", thresholds, self.names, NO_RELATION)
        return report

    @property
    def names(self) -> list[str]:
        """The classes of pairs."""
        return relation_classes(model_relations(self.model))


def collate(model: SpanMarkerModel, examples: Sequence[Example]) -> dict[str, Tensor]:
    """Make a batch: the texts, and ``tokens``, ``counts``, ``labels`` and ``options`` of their groups."""
    words_alone = SpanMarkerDataCollator(model.preprocessor.tokenizer.pad_token_id, 1, 0)  # its candidates are not used
    batch = words_alone([example.features for example in examples])
    return {
        **{name: batch[name] for name in ("input_ids", "attention_mask", "token_cases")},
        "tokens": torch.from_numpy(np.concatenate([example.tokens for example in examples])),
        "counts": torch.tensor([len(example.tokens) for example in examples]),
        "labels": torch.from_numpy(np.concatenate([example.labels for example in examples])),
        "options": torch.from_numpy(np.concatenate([example.options for example in examples])),
    }


class GroupTrainer(transformers.Trainer):
    """Trains on the mean cross-entropy over the groups of each batch, as the library does over candidates and pairs."""

    recipe: Recipe

    def compute_loss(self, model: Any, inputs: dict[str, Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """See ``transformers.Trainer``."""
        scores = self.recipe.score(model, inputs).float().masked_fill(~inputs["options"], -torch.inf)
        return F.cross_entropy(scores, inputs["labels"])


def pair_scores(model: SpanMarkerModel, texts: dict[str, Tensor], tokens: Tensor, counts: Tensor) -> Tensor:
    """Score groups of four with a relation head, and no candidates."""
    none = {"span_tokens": tokens.new_empty(0, 2), "span_counts": torch.zeros_like(counts)}
    return model(**texts, **none, exact=True, pair_tokens=tokens, pair_counts=counts).relation_logits


def candidate_scores(model: SpanMarkerModel, texts: dict[str, Tensor], tokens: Tensor, counts: Tensor) -> Tensor:
    """Score groups of two as the candidates that they are."""
    return model(**texts, span_tokens=tokens, span_counts=counts, exact=True).logits


def new_pair_model(job: Job) -> SpanMarkerModel:
    """Make a model that will read relations only. Its classifier of entities is not trained."""
    labels = {"labels": [OUTSIDE, *job.labels], "relation_labels": job.relations}
    return SpanMarkerModel.from_pretrained(job.encoder, **labels, candidates_per_word=None, **job.model)


def new_subject_model(job: Job) -> SpanMarkerModel:
    """Make a model whose candidates are the tails of the marked head, and whose labels are those of relations."""
    labels = [OUTSIDE, *job.relations]
    model = SpanMarkerModel.from_pretrained(job.encoder, labels=labels, candidates_per_word=None, **job.model)
    with torch.no_grad():
        model.classifier.bias.copy_(initial_bias(len(labels), 0, False, NO_RELATION_PRIOR))
    return model


def model_relations(model: SpanMarkerModel) -> list[str]:
    """The labels of the relations that a model of a `Recipe` was made with."""
    return model.config.relation_labels or model.config.classes[1:]


PAIRS = Recipe(pairs_in_sentence, new_pair_model, pair_scores)
SUBJECTS = Recipe(subjects_in_sentence, new_subject_model, candidate_scores)
PIPELINES = {"separate": PAIRS, "per-subject": SUBJECTS}

BATCH_SIZE = "per_device_eval_batch_size"


def given_reader(recipe: Recipe, model: SpanMarkerModel, job: Job) -> GivenReader:
    """Make a reader for a model, with the thresholds of the model, if it has any."""
    thresholds = model.config.read_relation_threshold()
    return GivenReader(recipe, model, job.rules, [OUTSIDE, *job.labels], job.training[BATCH_SIZE], thresholds)


def train_pipeline(job: Job, recipe: Recipe) -> Trained:
    """Train a model of relations on gold entities, and let it read those between the entities that were found."""
    assert job.found is not None
    set_seed(job.training["seed"])
    model = recipe.make_model(job)
    read = given_reader(recipe, model, job)
    with tempfile.TemporaryDirectory() as folder:
        trainer = GroupTrainer(
            model,
            TrainingArguments(output_dir=folder, remove_unused_columns=False, **on_this_machine(job.training)),
            train_dataset=recipe.examples(model, job),
            data_collator=lambda examples: collate(model, examples),
        )
        trainer.recipe = recipe
        dev, gold = job.parts["dev"], [sentence.relations for sentence in job.parts["dev"]]
        training = train_best(trainer, lambda: best_f1(gold, read.rank(words_of(dev), job.found["dev"])), job.patience)
    read.tune(words_of(dev), job.found["dev"], gold)
    readings = {
        name: Reading(None, read(words_of(part), job.found[name]), read(words_of(part), gold_entities(part)))
        for name, part in job.parts.items()
    }
    return Trained(model, training, readings)


def gold_entities(sentences: list[RelatedSentence]) -> Entities:
    """The gold entities of sentences."""
    return [sentence.entities for sentence in sentences]


def as_spans(entities: list[dict[str, Any]]) -> list[LabelledSpan]:
    """The entities of a sentence, of what ``predict`` returns."""
    return [LabelledSpan(one["label"], one["word_start_index"], one["word_end_index"]) for one in entities]


def read_entities(model: SpanMarkerModel, words: Words, batch_size: int) -> Entities:
    """Find entities."""
    options = {"relations": False} if model.relation_head is not None else {}
    return [as_spans(found) for found in model.predict(words, batch_size=batch_size, **options)]


def read_both(
    model: SpanMarkerModel, words: Words, batch_size: int, **options: Any
) -> tuple[Entities, ScoredRelations]:
    """Find entities and relations with a joint model, given options of ``predict``."""
    found = model.predict(words, batch_size=batch_size, relations=True, **options)
    entities = [as_spans(of["entities"]) for of in found]
    relations = [
        {Relation(one["label"], some[one["head"]], some[one["tail"]]): one["score"] for one in of["relations"]}
        for some, of in zip(entities, found, strict=True)
    ]
    return entities, relations


def best_f1(gold: Relations, found: ScoredRelations) -> float:
    """Compute the strict F1 at the best threshold, ``relation_best_f1`` of the library, which chooses epochs."""
    return relation_threshold_metrics(gold, found)["best_f1"]


def train_library(job: Job, model: SpanMarkerModel, measure: Callable[[], float]) -> dict[str, Any]:
    """Train a model with the library's own trainer."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model=model,
            args=TrainingArguments(output_dir=folder, **on_this_machine(job.training)),
            train_dataset=training_data(model, job.train),
            eval_dataset=training_data(model, job.parts["dev"]),
        )
        return train_best(trainer, measure, job.patience)


def training_data(model: SpanMarkerModel, sentences: list[RelatedSentence]) -> Dataset:
    """Sentences as the trainer takes them, with relations for a model that has them."""
    columns = relation_columns(sentences)
    if model.relation_head is None:
        del columns["relations"]
    return Dataset.from_dict(columns)


def train_entities(job: Job) -> Trained:
    """Train a model of entities."""
    set_seed(job.training["seed"])
    model = SpanMarkerModel.from_pretrained(job.encoder, labels=[OUTSIDE, *job.labels], **job.model)

    def read(part: list[RelatedSentence]) -> Entities:
        return read_entities(model, words_of(part), job.training[BATCH_SIZE])

    dev = job.parts["dev"]
    training = train_library(job, model, lambda: strict_f1(gold_entities(dev), read(dev)))
    return Trained(model, training, {name: Reading(read(part), None, None) for name, part in job.parts.items()})


def train_joint(job: Job, change: Callable[[SpanMarkerModel], None]) -> Trained:
    """Train a model of entities and relations."""
    set_seed(job.training["seed"])
    labels = {"labels": [OUTSIDE, *job.labels], "relation_labels": job.relations}
    settings = {"symmetric_relations": job.symmetric, "relation_types": relation_types(job.train)}
    model = SpanMarkerModel.from_pretrained(job.encoder, **labels, **settings, **job.model)
    change(model)
    batch_size, dev = job.training[BATCH_SIZE], job.parts["dev"]

    def measure() -> float:
        _, ranked = read_both(model, words_of(dev), batch_size, relation_threshold=FLOOR)
        return best_f1([sentence.relations for sentence in dev], ranked)

    training = train_library(job, model, measure)
    read = given_reader(PAIRS, model, job)
    readings = {}
    for name, part in job.parts.items():
        entities, relations = read_both(model, words_of(part), batch_size)
        readings[name] = Reading(entities, list(map(list, relations)), read(words_of(part), gold_entities(part)))
    return Trained(model, training, readings)


def markers_at_random(model: SpanMarkerModel) -> None:
    """Let the markers of pairs begin at random, as wide apart as the tokens of the encoder."""
    torch.nn.init.normal_(model.relation_head.markers, std=model.get_input_embeddings().weight.std().item())


def markers_at_the_mean(model: SpanMarkerModel) -> None:
    """Let the markers of pairs begin as the mean of all tokens of the encoder."""
    with torch.no_grad():
        model.relation_head.markers.copy_(model.get_input_embeddings().weight.mean(dim=0).expand(4, -1))


def without_wrong_pairs(model: SpanMarkerModel) -> None:
    """Let the model train on pairs of gold entities alone."""
    model._add_wrong_pairs = lambda batch, logits, is_gold, pairs: pairs


VARIANTS: dict[str, Callable[[SpanMarkerModel], None]] = {
    "joint": lambda model: None,
    "joint-random-markers": markers_at_random,
    "joint-mean-markers": markers_at_the_mean,
    "joint-gold-pairs": without_wrong_pairs,
}
"""Variants of joint training: what each changes in a new model."""


def train(system: str, job: Job) -> Trained:
    """Train a system."""
    if system == ENTITIES:
        return train_entities(job)
    if system in VARIANTS:
        return train_joint(job, VARIANTS[system])
    return train_pipeline(job, PIPELINES[system])


SYSTEMS = (ENTITIES, *VARIANTS, *PIPELINES)
"""What can be trained, in this order: pipelines need the entities of the first."""
