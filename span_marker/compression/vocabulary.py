"""Prune the vocabulary to the tokens of a corpus, and single characters for all other words.

Tokenizers are edited in the JSON format of ``tokenizers``. The texts of the corpus keep their tokens:

- WordPiece takes the longest token that matches. That token is kept, and no longer one matched before.
- Unigram takes the most probable tokens, which are kept.
- BPE applies merges in a fixed order. All merges that lead to a token of the corpus are kept.
"""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from tokenizers import Tokenizer
from torch import nn

from span_marker.compression.layers import check_compressible, note_compression
from span_marker.core.checks import refuse_single_text
from span_marker.data.rows import check_text, check_words
from span_marker.modeling import SpanMarkerModel
from span_marker.preprocessing.inputs import Sentences
from span_marker.preprocessing.tokenizer import SpanMarkerTokenizer

logger = logging.getLogger(__name__)

BLOCK_SIZE = 1000
"""Number of texts that are tokenized at a time."""

Json = dict[str, Any]


def prune_vocabulary(model: SpanMarkerModel, texts: Iterable[str | list[str]]) -> SpanMarkerModel:
    """Remove tokens that a corpus does not need from a model's vocabulary.

    Token embeddings are half of the weights of small models, and more in multilingual ones. The texts of the corpus
    keep their tokens, so predictions for them do not change. Words that are not in the corpus can still be read, but
    may be split into more tokens than before.

    Args:
        model: The model, which does not change.
        texts: The corpus: texts, or lists of words. It is read only once, so it may be a generator.

    Returns:
        The model with the smaller vocabulary, in evaluation mode.

    Raises:
        TypeError: If ``texts`` is a single string, or a text is neither a string nor a list of words.
        ValueError: If no text has a word; if the tokenizer is slow (written in Python) or of a kind whose vocabulary
            cannot be pruned; or if the model has an adapter, is quantized or runs on exported graphs.
    """
    check_compressible(model)
    tokenizer = model.require_tokenizer().tokenizer
    if not tokenizer.is_fast:
        raise ValueError(
            f"the vocabulary of {type(tokenizer).__name__} cannot be pruned, since it is a slow "
            "tokenizer: pass a model with a fast one"
        )
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    reserved = {index for token, index in tokenizer.get_added_vocab().items()} | set(tokenizer.all_special_ids)
    used = _used_ids(model, texts)
    if used <= reserved:
        raise ValueError(
            "no text of the corpus has a word that the tokenizer knows: pass a list of texts, since a "
            "generator can be read only once"
        )
    kept = needed_ids(state["model"], used | reserved)
    new_ids = {old: new for new, old in enumerate(kept)}

    smaller = copy.deepcopy(model)
    pruned = copy.deepcopy(tokenizer)
    # private: transformers has no other way to give a tokenizer an edited backend.
    pruned._tokenizer = Tokenizer.from_str(json.dumps(pruned_state(state, new_ids)))
    smaller.tokenizer = SpanMarkerTokenizer(pruned)
    _prune_embeddings(smaller, kept)
    encoder_config = smaller.config.encoder
    for name, value in vars(encoder_config).items():
        if name.endswith("_token_id") and value in new_ids:
            setattr(encoder_config, name, new_ids[value])
    encoder_config.vocab_size = smaller.config.vocab_size = len(kept)
    logger.info("Kept %d of %d tokens.", len(kept), len(tokenizer))
    how = f"{len(kept):,} of {len(tokenizer):,} tokens: those of a corpus, and single characters"
    note_compression(smaller, "Vocabulary", how)
    smaller.note_change("Vocabulary", how)
    return smaller.eval()


def _used_ids(model: SpanMarkerModel, texts: Iterable[str | list[str]]) -> set[int]:
    """The tokens of a corpus, as the model reads it."""
    preprocessor, used = model.preprocessor, set[int]()
    for block in _blocks(texts):
        for kind in (str, (list, tuple)):
            items = [text for text in block if isinstance(text, kind)]
            for sentence in preprocessor.encode(Sentences(items, are_texts=kind is str)):
                used.update(sentence.input_ids.tolist())
    return used


def _blocks(texts: Iterable[str | list[str]]) -> Iterator[list[str | list[str]]]:
    """Validated texts, in chunks."""
    refuse_single_text(texts, "texts")

    def checked() -> Iterator[str | list[str]]:
        for index, text in enumerate(texts):
            (check_text if isinstance(text, str) else check_words)(text, f"item {index} of the texts")
            yield text

    rest = checked()
    while block := list(islice(rest, BLOCK_SIZE)):
        yield block


def needed_ids(model: Json, used: set[int]) -> list[int]:
    """Find the tokens that a smaller vocabulary needs: used tokens, those that they are merged from, and characters.

    Args:
        model: The ``model`` in the JSON format of a tokenizer.
        used: Token IDs that the smaller vocabulary must have.

    Returns:
        Token IDs, ascending.

    Raises:
        ValueError: If the kind of model is none of BPE, Unigram, WordLevel and WordPiece.
    """
    kind = model["type"]
    if kind not in ("BPE", "Unigram", "WordLevel", "WordPiece"):
        raise ValueError(f"the vocabulary of a tokenizer of type {kind!r} cannot be pruned")
    ids = _vocabulary(model)
    kept = used | {index for token, index in ids.items() if _is_letter(model, token)}
    if model.get("unk_token") in ids:
        kept.add(ids[model["unk_token"]])
    if model.get("unk_id") is not None:
        kept.add(model["unk_id"])
    if kind == "BPE":
        parts: dict[int, list[tuple[int, int]]] = {}
        for first, second in map(_pair, model["merges"]):
            parts.setdefault(ids[_merged(model, first, second)], []).append((ids[first], ids[second]))
        pending = list(kept)
        while pending:
            new = {part for pair in parts.get(pending.pop(), ()) for part in pair} - kept
            kept |= new
            pending += new
    return sorted(kept)


def _is_letter(model: Json, token: str) -> bool:
    """Whether a token is one character, or one byte."""
    prefix = model.get("continuing_subword_prefix") or ""
    return len(token.removeprefix(prefix)) == 1 or (len(token) == 6 and token.startswith("<0x") and token[-1] == ">")


def _vocabulary(model: Json) -> dict[str, int]:
    vocabulary = model["vocab"]
    if isinstance(vocabulary, list):
        return {token: index for index, (token, _) in enumerate(vocabulary)}
    return dict(vocabulary)


def _pair(merge: Any) -> tuple[str, str]:
    """The two tokens of a merge, which older files store as one string."""
    first, second = merge.split(" ") if isinstance(merge, str) else merge
    return first, second


def _merged(model: Json, first: str, second: str) -> str:
    return first + second.removeprefix(model.get("continuing_subword_prefix") or "")


def pruned_state(state: Json, new_ids: dict[int, int]) -> Json:
    """Remove tokens from a tokenizer, and renumber the others.

    Args:
        state: The JSON format of the tokenizer.
        new_ids: The new IDs of the tokens that are kept, by their old ones, in the same order.

    Returns:
        The smaller tokenizer in JSON format.
    """
    state = copy.deepcopy(state)
    model = state["model"]
    ids = _vocabulary(model)
    if isinstance(model["vocab"], list):
        model["vocab"] = [entry for index, entry in enumerate(model["vocab"]) if index in new_ids]
    else:
        model["vocab"] = {token: new_ids[index] for token, index in ids.items() if index in new_ids}
    if model.get("unk_id") is not None:
        model["unk_id"] = new_ids[model["unk_id"]]
    if "merges" in model:
        pairs = ((_pair(merge), merge) for merge in model["merges"])
        model["merges"] = [
            merge
            for (first, second), merge in pairs
            if all(ids[token] in new_ids for token in (first, second, _merged(model, first, second)))
        ]
    for token in state["added_tokens"]:
        token["id"] = new_ids[token["id"]]
    if state.get("padding"):
        state["padding"]["pad_id"] = new_ids[state["padding"]["pad_id"]]
    _renumber(state.get("post_processor"), new_ids)
    return state


def _renumber(processor: Json | None, new_ids: dict[int, int]) -> None:
    """Renumber the special tokens that a post-processor adds to texts."""
    if processor is None:
        return
    for part in processor.get("processors", ()):
        _renumber(part, new_ids)
    special = processor.get("special_tokens", {})
    for token in special.values():  # of TemplateProcessing
        token["ids"] = [new_ids[index] for index in token["ids"]]
    for name in ("sep", "cls"):  # of BertProcessing and RobertaProcessing
        if name in processor:
            processor[name][1] = new_ids[processor[name][1]]


def _prune_embeddings(model: SpanMarkerModel, kept: list[int]) -> None:
    """Keep the embeddings of some tokens."""
    old: Any = model.get_input_embeddings()
    padding = kept.index(old.padding_idx) if old.padding_idx in kept else None
    weights = old.weight.detach()[kept].clone()
    model.set_input_embeddings(nn.Embedding.from_pretrained(weights, freeze=False, padding_idx=padding))
