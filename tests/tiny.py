"""Tiny tokenizers, encoders and models, built in memory: no test needs a network or a file."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE, Unigram, WordPiece
from tokenizers.trainers import BpeTrainer, UnigramTrainer, WordPieceTrainer
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
""".split("\n")

LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG"]

TOKENIZERS = ("wordpiece", "bytelevel", "unigram")

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


def build_tokenizer(kind: str) -> SpanMarkerTokenizer:
    """Train a tokenizer on a few lines; ``kind`` is one of `TOKENIZERS`."""
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    if kind == "wordpiece":
        backend = Tokenizer(WordPiece(unk_token="<unk>"))
        backend.normalizer = normalizers.BertNormalizer(lowercase=False)
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        backend.train_from_iterator(TEXT, WordPieceTrainer(vocab_size=220, special_tokens=specials))
    elif kind == "bytelevel":
        backend = Tokenizer(BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        backend.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = BpeTrainer(vocab_size=400, special_tokens=specials, initial_alphabet=alphabet, show_progress=False)
        backend.train_from_iterator(TEXT, trainer)
    elif kind == "unigram":
        backend = Tokenizer(Unigram())
        backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
        trainer = UnigramTrainer(vocab_size=200, special_tokens=specials, unk_token="<unk>", show_progress=False)
        backend.train_from_iterator(TEXT, trainer)
    else:
        raise ValueError(kind)
    ids = {token: backend.token_to_id(token) for token in specials}
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
    model.tokenizer = tokenizer
    return model.eval()
