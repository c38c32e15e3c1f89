"""Tiny tokenizers, encoders and models, built in memory: no test needs a network or a file."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

import torch
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE, Unigram, WordPiece
from transformers import (
    BertConfig,
    CamembertConfig,
    DistilBertConfig,
    ElectraConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
    XLMRobertaConfig,
)

from span_marker import SpanMarkerConfig, SpanMarkerModel, SpanMarkerTokenizer

TEXT = """
Andorra is located between France and Spain. Amelia Earhart flew her single engine Lockheed Vega across the Atlantic.
The quick brown fox jumps over the lazy dog. Leonardo da Vinci painted the Mona Lisa in Florence, Italy, around 1503.
Cleopatra ruled Egypt from Alexandria; her name was Cleopatra the Great (51 BC). Tokyo, Paris and New York are cities.
"""

LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG"]

ENCODERS = {
    "bert": "wordpiece",
    "distilbert": "wordpiece",
    "electra": "wordpiece",
    "roberta": "bytelevel",
    "xlm-roberta": "unigram",
    "camembert": "unigram",
}
"""Encoder families and the kind of tokenizer that each is tested with."""

SENTENCES = [
    ["Amelia", "Earhart", "flew", "across", "the", "Atlantic", "."],
    ["Paris"],
    ["Leonardo", "da", "Vinci", "painted", "the", "Mona", "Lisa", "in", "Florence", ",", "Italy", ",", "1503", "."],
    [],
    ["Cleopatra", "ruled", "Egypt"],
]


SPECIALS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def wordpiece() -> Tokenizer:
    """Characters, every second word of the text whole, and halves of the others."""
    words = sorted(set(re.findall(r"\w+|[^\w\s]", TEXT)))
    pieces = {word[: len(word) // 2] for word in words[::2]} | {"##" + word[len(word) // 2 :] for word in words[::2]}
    letters = sorted(set(TEXT) - set(" \n"))
    vocabulary = [*SPECIALS, *letters, *(f"##{letter}" for letter in letters), *sorted(pieces - {""}), *words[1::2]]
    ids = {piece: index for index, piece in enumerate(dict.fromkeys(vocabulary))}
    backend = Tokenizer(WordPiece(ids, unk_token="<unk>"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=False)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return backend


def bytelevel() -> Tokenizer:
    """Byte pairs that are merged where they are most frequent in the text, ties in alphabetical order."""
    splitter = pre_tokenizers.ByteLevel(add_prefix_space=True)
    words = [list(word) for word, _ in splitter.pre_tokenize_str(TEXT)]
    merges = []
    for _ in range(80):
        pairs = Counter(pair for word in words for pair in pairwise(word))
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        for word in words:
            for index in range(len(word) - 2, -1, -1):
                if index + 1 < len(word) and (word[index], word[index + 1]) == best:
                    word[index : index + 2] = ["".join(best)]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = [*SPECIALS, *alphabet, *("".join(pair) for pair in merges)]
    ids = {piece: index for index, piece in enumerate(dict.fromkeys(vocabulary))}
    backend = Tokenizer(BPE(ids, merges))
    backend.pre_tokenizer = splitter
    return backend


def unigram() -> Tokenizer:
    """Characters, and pieces of up to four of them that are frequent in the text."""
    words = ["\u2581" + word for word in TEXT.split()]
    pieces = Counter(
        word[i:j] for word in words for i in range(len(word)) for j in range(i + 2, i + 5) if j <= len(word)
    )
    frequent = sorted((piece for piece in pieces if pieces[piece] > 1), key=lambda piece: (-pieces[piece], piece))
    letters = sorted({letter for word in words for letter in word})
    vocabulary = [(piece, 0.0) for piece in SPECIALS] + [(letter, -8.0) for letter in letters]
    vocabulary += [(piece, -9.0 - rank / 100) for rank, piece in enumerate(frequent[:120])]
    backend = Tokenizer(Unigram(vocabulary, unk_id=SPECIALS.index("<unk>")))
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    return backend


TOKENIZERS = {"wordpiece": wordpiece, "bytelevel": bytelevel, "unigram": unigram}


def build_tokenizer(kind: str) -> SpanMarkerTokenizer:
    """One of `TOKENIZERS` with its special tokens; not trained, since training breaks ties at random."""
    backend = TOKENIZERS[kind]()
    ids = {token: backend.token_to_id(token) for token in SPECIALS}
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", ids["<s>"]), ("</s>", ids["</s>"])]
    )
    return SpanMarkerTokenizer(
        PreTrainedTokenizerFast(
            tokenizer_object=backend,
            bos_token="<s>",
            cls_token="<s>",
            eos_token="</s>",
            sep_token="</s>",
            pad_token="<pad>",
            unk_token="<unk>",
            mask_token="<mask>",
        )
    )


def encoder_config(family: str, vocab_size: int) -> PreTrainedConfig:
    """The configuration of a tiny encoder of one of the families in `ENCODERS`."""
    common = {"vocab_size": vocab_size, "max_position_embeddings": 130, "pad_token_id": 1}
    standard = {**common, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64}
    if family == "bert":
        return BertConfig(**standard)
    if family == "distilbert":
        return DistilBertConfig(**common, dim=32, n_layers=3, n_heads=4, hidden_dim=64)
    if family == "electra":
        return ElectraConfig(**standard, embedding_size=16)
    if family == "roberta":
        return RobertaConfig(**standard)
    if family == "xlm-roberta":
        return XLMRobertaConfig(**standard)
    if family == "camembert":
        return CamembertConfig(**standard)
    raise ValueError(family)


def build_model(
    family: str = "bert", engine: str = "auto", labels: list[str] | None = None, seed: int = 0, **limits: int
) -> SpanMarkerModel:
    """A tiny model with "hot" random weights, so that every score depends on every position and mask entry."""
    tokenizer = build_tokenizer(ENCODERS[family])
    vocab_size = -(-len(tokenizer) // 8) * 8
    config = SpanMarkerConfig(encoder=encoder_config(family, vocab_size), labels=labels or LABELS, **limits)
    torch.manual_seed(seed)
    model = SpanMarkerModel(config, engine=engine)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.3)
            elif name.endswith("bias"):
                parameter.normal_(std=0.05)
        model.classifier.bias[model.config.outside_id] = -2.0  # so that there is always something to find
    model.tokenizer = tokenizer
    return model.eval()
