"""Token classification, which others compare with: each word has the class of its first token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import BatchEncoding, PretrainedConfig
from transformers.modeling_outputs import TokenClassifierOutput

from span_marker.core.labels import LabelledSpan, tags_to_entities


def encode(tokenizer: Any, words: list[str], tags: list[int], max_length: int) -> dict[str, Any]:
    """Encode a sentence for training: tags of words become labels of their first tokens, -100 is that of all others."""
    encoded = tokenizer(words, is_split_into_words=True, truncation=True, max_length=max_length)
    of_tokens = encoded.word_ids()
    labels = [
        -100 if word is None or word == before else tags[word]
        for word, before in zip(of_tokens, [None, *of_tokens[:-1]], strict=True)
    ]
    return {**encoded, "labels": labels}


def export(model: nn.Module, batch: BatchEncoding, path: Path) -> None:
    """Export a token classifier to ONNX, for batches of any size.

    Args:
        model: The classifier.
        batch: What it reads, for example.
        path: The file to write.
    """
    axes = {name: {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC} for name in batch}
    torch.onnx.export(
        model.eval(), kwargs=dict(batch), dynamic_shapes=axes, output_names=["logits"], dynamo=True, verbose=False
    ).save(path)


class ExportedClassifier(nn.Module):
    """A token classifier in ONNX Runtime, with as many threads as PyTorch has."""

    def __init__(self, path: Path, config: PretrainedConfig) -> None:
        import onnxruntime  # other benchmarks do without

        super().__init__()
        self.config, self.device = config, torch.device("cpu")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self.session = onnxruntime.InferenceSession(path, options)

    def forward(self, **batch: torch.Tensor) -> TokenClassifierOutput:
        """Compute the logits of each token."""
        (logits,) = self.session.run(["logits"], {name: tensor.numpy() for name, tensor in batch.items()})
        return TokenClassifierOutput(logits=torch.from_numpy(logits))


@torch.inference_mode()
def classify(
    model: nn.Module, tokenizer: Any, sentences: list[list[str]], max_length: int, batch_size: int
) -> list[list[LabelledSpan]]:
    """Read entities out of the classes of each word's first token, in batches of sentences of similar length."""
    found: list[list[LabelledSpan]] = [[] for _ in sentences]
    by_length = sorted(range(len(sentences)), key=lambda row: len(sentences[row]))
    cut = {"is_split_into_words": True, "truncation": True, "max_length": max_length, "padding": True}
    model.eval()
    for first in range(0, len(sentences), batch_size):
        rows = by_length[first : first + batch_size]
        batch = tokenizer([sentences[row] for row in rows], **cut, return_tensors="pt")
        classes = model(**batch.to(model.device)).logits.argmax(-1).tolist()
        for place, row in enumerate(rows):
            tags = ["O"] * len(sentences[row])
            for word, best in zip(reversed(batch.word_ids(place)), reversed(classes[place]), strict=True):
                if word is not None:
                    tags[word] = model.config.id2label[best]  # at last that of the first token
            found[row] = tags_to_entities(tags, "IOB")
    return found
