"""Advice on whether to read documents whole or sentence by sentence, as the model was trained."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from span_marker.core.word_splitters import TrainedOn


def advise_on_sentences(
    name: str, documents: Sequence[Sequence[int]], is_split: Sequence[bool], trained_on: TrainedOn | None
) -> str | None:
    """Advise on how to make texts like those that the model was trained on.

    Args:
        name: Name of the spaCy component.
        documents: Number of words of each text that is read, for each document: of its sentences, or of the whole
            document.
        is_split: Whether each document has sentence boundaries.
        trained_on: What the model was trained on; None if unknown.

    Returns:
        The advice; None if the texts are like those in training, as far as known.
    """
    add = f'add a component that sets sentence boundaries, such as nlp.add_pipe("sentencizer", before="{name}")'
    pairs = list(zip(documents, is_split, strict=True))
    longest = max((max(texts) for texts, split in pairs if texts and not split), default=0)
    if trained_on is None:
        if not longest:
            return None
        return (
            "Each document without sentence boundaries is read as one text, which suits a model trained on whole "
            f"texts. For a model trained on single sentences, {add}."
        )
    if longest > trained_on.max_words:
        return (
            f"A document without sentence boundaries is read as one text of {longest} words, but the model was trained "
            f"on texts of at most {trained_on.max_words} words: {add}."
        )
    several = [texts for texts, split in pairs if split and len(texts) > 1]
    if trained_on.unit == "words" or not several:
        return None
    sentences = list(chain.from_iterable(several))
    per_document, per_sentence = sum(sentences) / len(several), sum(sentences) / len(sentences)
    if per_document * per_sentence >= trained_on.mean_words**2:  # as a ratio, sentences are nearer to the mean
        return None
    return (
        f"The model reads documents sentence by sentence, {per_sentence:.0f} words each, but was trained on "
        f"texts of {trained_on.mean_words:.0f} words: remove the component that sets sentence boundaries, or add it "
        f"after {name!r}."
    )
