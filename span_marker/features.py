"""Annotated sentences to features: tags become entities, words become tokens, and what the limits cost is counted."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from datasets import Dataset, Features, List, Value
from datasets.fingerprint import Hasher

from span_marker.configuration import SpanMarkerConfig
from span_marker.data_collator import sentence_features, within_reach
from span_marker.labels import LabelledSpan, tags_to_entities
from span_marker.sentences import Sentences, check_words, document_columns, encode
from span_marker.tokenizer import EncodedSentence, SpanMarkerTokenizer

logger = logging.getLogger(__name__)

TEXT_FEATURES = {name: List(Value("int64")) for name in ("input_ids", "word_starts", "word_ends")}
"""Columns of a prepared data set without tags."""

LABEL_FEATURES = {"entities": List(List(Value("int64"))), "num_words": Value("int64")}
"""Columns that tags add to it."""

ROWS_AT_A_TIME = 1000


@dataclass
class OutOfReach:
    """Gold entities that no candidate stands for.

    Attributes:
        num_entities: All gold entities.
        too_long: Entities longer than the longest candidate, by their number of words.
        cut_off: Entities behind the text limit.
        without_tokens: Entities that end in words without tokens, such as control characters, behind all others.
    """

    num_entities: int = 0
    too_long: Counter[int] = field(default_factory=Counter)
    cut_off: int = 0
    without_tokens: int = 0

    def warn(self, config: SpanMarkerConfig, max_tokens: int, what: str) -> None:
        """Log what is out of reach and what to change, if anything is.

        Args:
            config: Holds the limits.
            max_tokens: The text limit in force.
            what: What to call the data set.
        """
        num_lost = self.too_long.total() + self.cut_off + self.without_tokens
        if not num_lost:
            return
        parts = []
        if self.too_long:
            by_length = ", ".join(f"{count} of {words} words" for words, count in sorted(self.too_long.items()))
            parts.append(
                f"{self.too_long.total()} are longer than entity_max_length={config.entity_max_length} ({by_length})"
            )
        if self.cut_off:
            parts.append(f"{self.cut_off} lie behind the text limit of {max_tokens} tokens (model_max_length)")
        if self.without_tokens:
            parts.append(f"{self.without_tokens} end in words for which the tokenizer has no token")
        logger.warning(
            "%d of the %d gold entities of the %s data are out of reach and count as missed: %s. "
            "Raise these limits to reach them.",
            num_lost,
            self.num_entities,
            what,
            "; ".join(parts),
        )


def prepare(
    dataset: Dataset,
    tokenizer: SpanMarkerTokenizer,
    config: SpanMarkerConfig,
    max_tokens: int,
    what: str,
    needs_tags: bool = True,
) -> Dataset:
    """Turn a data set of words and tags into one of features.

    Args:
        dataset: Has the columns ``tokens`` and ``ner_tags`` (integers, or strings of the label list), and for document
            context ``document_id`` and ``sentence_id``.
        tokenizer: The model's tokenizer.
        config: The model's configuration.
        max_tokens: The text limit, special tokens included.
        what: What to call the data set in messages: ``training`` or ``evaluation``.
        needs_tags: Whether a missing column ``ner_tags`` is an error.

    Returns:
        A data set with the columns `TEXT_FEATURES`, and `LABEL_FEATURES` if there are tags.

    Raises:
        TypeError: If it is no `Dataset`, a row is not a list of words, or a tag neither an integer nor a string.
        ValueError: If it is empty, a column is missing, a row has more or fewer tags than words, or a tag is not in the
            label list.
    """
    if not isinstance(dataset, Dataset):
        raise TypeError(
            f"the {what} data must be a datasets.Dataset, such as one split or Dataset.from_list(rows), not a "
            f"{type(dataset).__name__}"
        )
    dataset = dataset.with_format(None)
    columns = dataset.column_names
    needed = ["tokens", "ner_tags"] if needs_tags else ["tokens"]
    missing = [name for name in needed if name not in columns]
    if missing:
        raise ValueError(
            f"the {what} data set needs the columns {needed}, but has {columns}: rename a column to {missing[0]!r}, "
            "for example with dataset.rename_column"
        )
    if len(dataset) == 0:
        raise ValueError(f"the {what} data set has no rows")
    has_documents = document_columns(dataset)[0] is not None
    lost = OutOfReach()
    tag_names = _tag_names(dataset, config)
    labels, scheme = config.given_labels, config.scheme
    class_ids = {label: index for index, label in enumerate(config.reduced_labels)}

    def prepare_rows(rows: dict[str, list[Any]], indices: list[int]) -> dict[str, list[Any]]:
        for index, words in zip(indices, rows["tokens"], strict=True):
            check_words(words, f"row {index} of the {what} data: 'tokens'")
        documents = (rows["document_id"], rows["sentence_id"]) if has_documents else (None, None)
        encoded = encode(Sentences(rows["tokens"], False, *documents), tokenizer, config, max_tokens)
        texts = [sentence_features(sentence) for sentence in encoded]
        result: dict[str, list[Any]] = {name: [text[name].tolist() for text in texts] for name in TEXT_FEATURES}
        if "ner_tags" in rows:
            entities = [
                read_entities(words, tags, tag_names, labels, scheme, f"row {index} of the {what} data")
                for index, words, tags in zip(indices, rows["tokens"], rows["ner_tags"], strict=True)
            ]
            _count_out_of_reach(lost, entities, encoded, config.entity_max_length)
            result["entities"] = [[[class_ids[label], start, end] for label, start, end in found] for found in entities]
            result["num_words"] = [len(words) for words in rows["tokens"]]
        return result

    prepared = dataset.map(
        prepare_rows,
        batched=True,
        # A document's sentences need each other.
        batch_size=len(dataset) if has_documents else ROWS_AT_A_TIME,
        with_indices=True,
        remove_columns=columns,
        features=Features({**TEXT_FEATURES, **(LABEL_FEATURES if "ner_tags" in columns else {})}),
        # The count of what is lost would be lost itself if the result came out of a cache on disk.
        load_from_cache_file=False,
        # Made by hand, since it would be made of the whole tokenizer otherwise.
        new_fingerprint=Hasher.hash((dataset._fingerprint, config.to_json_string(), max_tokens, what)),
        desc=f"Preparing the {what} data",
    )
    lost.warn(config, max_tokens, what)
    return prepared


def _count_out_of_reach(
    lost: OutOfReach, entities: list[list[LabelledSpan]], sentences: list[EncodedSentence], entity_max_length: int
) -> None:
    counts = [len(found) for found in entities]
    spans = np.array([(entity.start, entity.end) for found in entities for entity in found], dtype=np.int64)
    start, end = spans.reshape(-1, 2).T
    seen_words = np.repeat([sentence.num_words for sentence in sentences], counts)
    is_cut = np.repeat([sentence.num_cut_tokens > 0 for sentence in sentences], counts)
    too_long = end - start > entity_max_length
    behind = ~within_reach(start, end, seen_words, entity_max_length) & ~too_long
    lost.num_entities += len(start)
    lost.too_long.update((end - start)[too_long].tolist())
    lost.cut_off += int((behind & is_cut).sum())
    lost.without_tokens += int((behind & ~is_cut).sum())


def _tag_names(dataset: Dataset, config: SpanMarkerConfig) -> list[str]:
    """Names of the integer tags: the data set's own, if it has names, else the model's labels."""
    column = dataset.features.get("ner_tags")
    names = getattr(getattr(column, "feature", None), "names", None)
    return list(names) if names else config.given_labels


def read_entities(
    words: Sequence[str], tags: Sequence[Any], tag_names: list[str], labels: list[str], scheme: str | None, where: str
) -> list[LabelledSpan]:
    """Read one sentence's entities out of its tags.

    Args:
        words: The words.
        tags: One tag a word, as an integer or a string.
        tag_names: Names of the integer tags.
        labels: The labels as given to the model.
        scheme: Their scheme.
        where: What to call the sentence in errors.

    Returns:
        The entities, with reduced labels.

    Raises:
        ValueError: If there are more or fewer tags than words, or a tag is not in the label list.
        TypeError: If a tag is neither an integer nor a string.
    """
    if not isinstance(tags, (list, tuple)):
        raise TypeError(f"{where}: 'ner_tags' must be a list of tags, not {type(tags).__name__}")
    if len(words) != len(tags):
        raise ValueError(f"{where} has {len(words)} 'tokens' but {len(tags)} 'ner_tags': every word needs one tag")
    names = []
    for position, tag in enumerate(tags):
        is_name = isinstance(tag, str)
        if not is_name and (isinstance(tag, bool) or not isinstance(tag, int)):
            raise TypeError(f"{where}: tag {tag!r} of word {position} must be an integer or a string")
        if not is_name and not 0 <= tag < len(tag_names):
            raise ValueError(
                f"{where}: tag {tag} of word {position} ({words[position]!r}) is not in the range of the "
                f"{len(tag_names)} labels {tag_names}: add it to labels"
            )
        name = tag if is_name else tag_names[tag]
        if name not in labels:
            raise ValueError(
                f"{where}: tag {tag!r} of word {position} ({words[position]!r})"
                f"{'' if is_name else f' is {name!r},'} is not among the labels {labels}: give these to a new model as "
                "labels="
            )
        names.append(name)
    return tags_to_entities(names, scheme)
