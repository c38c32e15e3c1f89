"""Steps that several tests take, and how far rounding may take two results apart."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
import torch
from oracle import as_double, sentence_logits
from tiny import SENTENCES, build_model
from torch import Tensor, nn

import span_marker
from span_marker import SpanMarkerModel
from span_marker.preprocessing.data_collator import SpanMarkerDataCollator
from span_marker.preprocessing.inputs import Sentences
from span_marker.preprocessing.pieces import into_pieces, tokenize

RELATIONS = ["lives in", "knows", "works for"]

Model = TypeVar("Model", bound=nn.Module)


def relation_model(family: str = "bert", **options: Any) -> SpanMarkerModel:
    """A tiny model whose relation head finds something in most pairs."""
    options = {"relation_labels": RELATIONS, "symmetric_relations": ["knows"], "entity_max_length": 4, **options}
    return build_model(family, **options)


def collate(
    model: SpanMarkerModel, sentences: list[list[str]], entities: Any = None, relations: Any = None
) -> dict[str, Tensor]:
    """Bring sentences into a batch the way the library does."""
    inputs = Sentences(sentences, False)
    pieces = into_pieces(
        inputs, tokenize(inputs, model.tokenizer), model.tokenizer, model.config, model.max_text_length
    )
    features = [piece.features() for piece in pieces]
    if entities is not None:
        for feature in features:
            row, (above, up_to) = feature["row"], feature["bounds"]
            own = [entity for entity in entities[row] if above < entity[1] + entity[2] <= up_to]
            feature["entities"] = [[model.config.label2id[label], start, end] for label, start, end in own]
            feature["num_words"] = 0 if feature["first_word"] else len(sentences[row])
            if relations is not None:
                places = {index: own.index(entity) for index, entity in enumerate(entities[row]) if entity in own}
                feature["relations"] = [
                    [label, places[head], places[tail]]
                    for label, head, tail in relations[row]
                    if head in places and tail in places
                ]
    return SpanMarkerDataCollator.for_model(model.tokenizer, model.config)(features)


def batch_logits(model: SpanMarkerModel, sentences: list[list[str]]) -> list[Tensor]:
    """Class scores of each sentence's candidates, from one batch."""
    batch = collate(model, sentences)
    names = ("input_ids", "attention_mask", "span_tokens", "span_counts", "token_cases")
    logits = model(**{name: batch[name] for name in names}).logits
    return list(torch.split(logits, batch["span_counts"].tolist()))


def rounding(model: Model, reference: Callable[[Model], Tensor]) -> float:
    """The most that rounding sets two ways of computing the same numbers apart.

    Every way adds up the same products, in its own order: for other batches, by another engine, with other threads, on
    another processor. So its error is about that of a reference, which shares no code with what is compared, and whose
    error is the difference between the model's own precision and double precision. For class scores, the errors of the
    engines are 0.6 to 2.2 times as large as the reference's, whatever the encoder's family and the instruction set.
    Two ways have two errors, and other inputs may have larger ones: eight times the reference's error in all.

    The product of eps, the scale of the numbers and the number of operations would be either a bound that holds in the
    worst case, which is so large that it hides mistakes, or a guess: errors of a layer grow or shrink in the next one.
    """
    rounded, exact = copy.deepcopy(model).eval(), as_double(model).eval()
    with torch.no_grad():
        return 8 * float((reference(rounded) - reference(exact)).abs().max())


def logit_rounding(model: SpanMarkerModel) -> float:
    """`rounding` of the class scores that the reference implementation gives the candidates of `SENTENCES`."""
    return rounding(model, lambda model: torch.cat([sentence_logits(model, words) for words in SENTENCES if words]))


def score_rounding(model: SpanMarkerModel) -> float:
    """`rounding` of probabilities.

    A probability changes by ``p * (1 - p) <= 1 / 4`` of what its log-odds change by; and these, by the change of two
    class scores at most.
    """
    return logit_rounding(model) / 2 / model.config.calibration_temperature


def approximately(results: list[list[dict[str, Any]]], within: float) -> list[list[dict[str, Any]]]:
    """To compare with the same entities, up to rounding of their scores; see `margin` for when they are the same."""
    return [
        [{**entity, "score": pytest.approx(entity["score"], abs=within, rel=0)} for entity in row] for row in results
    ]


def margin(model: SpanMarkerModel, inputs: Any, threshold: float | None = None) -> float:
    """By how much probabilities may be off before ``predict`` finds something else in some sentences, at least.

    An entity that is found keeps its place and its label while no other class of its span becomes more probable, or
    while it reaches the threshold and no other label becomes more probable. Any other span stays out while ``O`` is its
    most probable class, or while it is less probable than an entity that it overlaps: for then that one, whatever the
    order of the others, comes first. A multi-label model needs its threshold, 0.5 by default.
    """
    by_default = model.predict(inputs, threshold=threshold, decoding="flat", relations=False)
    of_all_spans = model.predict(inputs, threshold=0.0, decoding="overlapping", top_k=99, relations=False)
    differences = [1.0]
    for entities, spans in zip(by_default, of_all_spans, strict=True):
        found = {(*places(entity), entity["label"]): entity["score"] for entity in entities}
        for span in spans:
            (start, end), label, score = places(span), span["label"], span["score"]
            scores = {pair["label"]: pair["score"] for pair in span["labels"] if pair["label"] != label}
            limits = [*scores.values()] if threshold is None else [threshold]
            if (start, end, label) in found:
                if threshold is not None and not model.config.multi_label:
                    limits += [scores[other] for other in scores if other != "O"]
                differences.append(score - max(limits))
            else:
                better = [higher for (s, e, _), higher in found.items() if s < end and start < e]
                differences.append(max(better + limits) - score)
    return min(differences)


def check_margin(model: SpanMarkerModel, *inputs: Any, threshold: float | None = None) -> float:
    """Check that rounding decides nothing about what ``predict`` finds; return how far apart it may set scores."""
    within = score_rounding(model)
    for some in inputs:
        assert margin(model, some, threshold) > 2 * within, f"a near tie in {some}: rounding may decide it"
    return within


def places(entity: dict[str, Any]) -> tuple[int, int]:
    """Start and end, in characters or words."""
    start, end = (value for name, value in entity.items() if name.endswith("_index"))
    return start, end


@torch.no_grad()
def filter_scores(model: SpanMarkerModel, sentences: list[list[str]]) -> Tensor:
    """What the model's candidate filter makes of all candidates, in one batch."""
    batch = collate(model, sentences)
    _, _, text_states, span_rows = model.examine(batch)
    scores: Tensor = model.span_filter(text_states, span_rows, batch["span_words"].diff(dim=1)[:, 0])
    return scores


def arguments(folder: Any, **changes: Any) -> span_marker.TrainingArguments:
    """What tiny models are trained and evaluated with, quickly and quietly."""
    options = {"num_train_epochs": 1, "per_device_train_batch_size": 2, "per_device_eval_batch_size": 2}
    options |= {"save_strategy": "no", "report_to": "none", "use_cpu": True, "disable_tqdm": True, "seed": 1}
    return span_marker.TrainingArguments(output_dir=str(folder), **{**options, **changes})


def make_shy(model: SpanMarkerModel) -> SpanMarkerModel:
    """Make ``O`` the most probable class of nearly all candidates, as after a short training."""
    with torch.no_grad():
        model.classifier.bias[model.config.outside_id] += 6
    return model


def make_shy_of_relations(model: SpanMarkerModel) -> SpanMarkerModel:
    """Make "no relation" the most probable class of nearly all pairs, as after a short training."""
    with torch.no_grad():
        model.relation_head.classifier.bias[0] += 3
    return model


def as_row(words: list[str], entities: list[tuple[str, int, int]]) -> dict[str, Any]:
    """Annotated words as a row of a data set."""
    return {"tokens": words, "entities": [{"label": label, "start": s, "end": e} for label, s, e in entities]}
