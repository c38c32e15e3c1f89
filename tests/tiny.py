"""Tiny tokenizers, encoders and models, built in memory: no test needs a network or a file."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from itertools import pairwise
from typing import Any

import torch
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE, Unigram, WordPiece
from transformers import CONFIG_MAPPING, PreTrainedConfig, PreTrainedTokenizerFast

from span_marker import SpanMarkerConfig, SpanMarkerModel, SpanMarkerTokenizer
from span_marker.core.letter_case import NO_CASE

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
    "albert": "unigram",
    "deberta": "bytelevel",
    "deberta-v2": "unigram",
    "deberta-v3": "unigram",
    "eurobert": "bytelevel",
    "megatron-bert": "wordpiece",
    "mobilebert": "wordpiece",
    "modernbert": "bytelevel",
    "mpnet": "wordpiece",
    "mt5": "unigram",
    "nomic_bert": "wordpiece",
    "rembert": "unigram",
    "roberta-prelayernorm": "bytelevel",
    "t5": "unigram",
    "xlm-roberta-xl": "unigram",
}
"""Encoder families and the kind of tokenizer that each is tested with."""

UNLIKE = ("bert", "deberta-v3", "modernbert", "t5")
"""Families that differ most: they know of positions by embeddings, distances, rotations in windows, and biases."""

COPIES = ("camembert", "xlm-roberta")
"""Families whose code is RoBERTa's under other names: `transformers` generates it. Slow tests leave them out."""

TOKEN_STATE_SIZES = {"mobilebert": 16}
"""Sizes of token states that are not 32."""

UNSCALED = ("mobilebert", "mt5", "t5")
"""Families whose states or scores nothing keeps small, so that large weights would make large rounding errors."""

SENTENCES = [
    ["Amelia", "Earhart", "flew", "across", "the", "Atlantic", "."],
    ["Paris"],
    ["Leonardo", "da", "Vinci", "painted", "the", "Mona", "Lisa", "in", "Florence", ",", "Italy", ",", "1503", "."],
    [],
    ["Cleopatra", "ruled", "Egypt"],
]
TAGS = [
    ["B-PER", "I-PER", "O", "O", "O", "B-LOC", "O"],
    ["B-LOC"],
    ["B-PER", "I-PER", "I-PER", "O", "B-ORG", "I-ORG", "I-ORG", "O", "B-LOC", "O", "B-LOC", "O", "O", "O"],
    [],
    ["B-PER", "O", "B-LOC"],
]


SPECIALS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]

SPECIAL_NAMES = {
    "bos": "<s>",
    "cls": "<s>",
    "eos": "</s>",
    "sep": "</s>",
    "pad": "<pad>",
    "unk": "<unk>",
    "mask": "<mask>",
}
"""What each special token is for."""


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


@cache
def frequent_pairs() -> list[tuple[str, str]]:
    """Byte pairs to merge: where they are most frequent in the text, ties in alphabetical order."""
    words = [list(word) for word, _ in pre_tokenizers.ByteLevel(add_prefix_space=True).pre_tokenize_str(TEXT)]
    merges = []
    for _ in range(80):
        pairs = Counter(pair for word in words for pair in pairwise(word))
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        for word in words:
            for index in range(len(word) - 2, -1, -1):
                if index + 1 < len(word) and (word[index], word[index + 1]) == best:
                    word[index : index + 2] = ["".join(best)]
    return merges


def bytelevel() -> Tokenizer:
    """All bytes, and `frequent_pairs`."""
    merges = frequent_pairs()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = [*SPECIALS, *alphabet, *("".join(pair) for pair in merges)]
    ids = {piece: index for index, piece in enumerate(dict.fromkeys(vocabulary))}
    backend = Tokenizer(BPE(ids, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
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


def build_tokenizer(kind: str, drops_case: bool = False) -> SpanMarkerTokenizer:
    """One of `TOKENIZERS` with its special tokens; not trained, since training breaks ties at random."""
    backend = TOKENIZERS[kind]()
    if drops_case:
        backend.normalizer = normalizers.Lowercase()
    ids = {token: backend.token_to_id(token) for token in SPECIALS}
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", ids["<s>"]), ("</s>", ids["</s>"])]
    )
    return SpanMarkerTokenizer(
        PreTrainedTokenizerFast(
            tokenizer_object=backend, **{f"{name}_token": token for name, token in SPECIAL_NAMES.items()}
        )
    )


def uncased_tokenizer() -> SpanMarkerTokenizer:
    """The tokenizer ``wordpiece`` without capital letters and accents, as every uncased BERT's."""
    tokenizer = build_tokenizer("wordpiece").tokenizer
    tokenizer.backend_tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=True)
    return SpanMarkerTokenizer(tokenizer)


def encoder_config(family: str, vocab_size: int, num_layers: int = 3) -> PreTrainedConfig:
    """The configuration of a tiny encoder of one of the families in `ENCODERS`."""
    own: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": num_layers,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 130,
    }
    model_type = family
    if family == "distilbert":
        own = {"dim": 32, "n_layers": num_layers, "n_heads": 4, "hidden_dim": 64, "max_position_embeddings": 130}
    elif family in ("t5", "mt5"):
        own = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": num_layers, "num_heads": 4}
    elif family in ("electra", "albert"):
        own["embedding_size"] = 16
    elif family == "rembert":
        own["input_embedding_size"] = 16
    elif family == "eurobert":
        own["num_key_value_heads"] = 2
    elif family == "mobilebert":
        own |= {"embedding_size": 16, "intra_bottleneck_size": 16, "num_feedforward_networks": 2}
    elif family == "modernbert":
        own |= {"local_attention": 8, "global_attn_every_n_layers": 3}  # layers of both kinds, short windows
    elif family == "deberta":
        own |= {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_biased_input": False}
    elif family == "deberta-v2":  # its keys of positions are its own
        own |= {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_biased_input": True}
    elif family == "deberta-v3":  # as published, with few buckets
        model_type = "deberta-v2"
        own |= {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False}
        own |= {"position_buckets": 8, "share_att_key": True, "norm_rel_ebd": "layer_norm", "type_vocab_size": 0}
    special = {f"{name}_token_id": SPECIALS.index(token) for name, token in SPECIAL_NAMES.items() if name != "unk"}
    return CONFIG_MAPPING[model_type](vocab_size=vocab_size, **own, **special)


def build_model(
    family: str = "bert",
    engine: str = "auto",
    labels: list[str] | None = None,
    seed: int = 0,
    reads_tokens: bool = False,
    letter_case: bool = False,
    num_layers: int = 3,
    **limits: int,
) -> SpanMarkerModel:
    """A tiny model with "hot" random weights, so that every score depends on every position and mask entry."""
    if reads_tokens:
        limits["token_state_size"] = TOKEN_STATE_SIZES.get(family, 32)
    tokenizer = build_tokenizer(ENCODERS[family], drops_case=letter_case)
    vocab_size = -(-len(tokenizer) // 8) * 8
    encoder = encoder_config(family, vocab_size, num_layers)
    config = SpanMarkerConfig(encoder=encoder, labels=labels or LABELS, letter_case=letter_case, **limits)
    torch.default_generator.manual_seed(seed)
    model = SpanMarkerModel(config, engine=engine)
    std = 0.15 if family in UNSCALED else 0.3
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "relative_attention_bias" in name:
                parameter.normal_(std=2.0)  # all that such an encoder knows of positions
            elif parameter.dim() > 1:
                parameter.normal_(std=std)
            elif name.endswith("bias"):
                parameter.normal_(std=0.05)
        if model.case_embedding is not None:
            model.case_embedding.weight[NO_CASE] = 0.0
        model.classifier.bias[model.config.outside_id] = -2.0  # so that there is always something to find
    model.tokenizer = tokenizer
    return model.eval()
