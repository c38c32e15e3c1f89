"""Draws the figures of "How it works" from what the code really does.

``python docs/draw_figures.py FOLDER`` makes a tiny model in memory, lets the tokenizer, the collator and both engines
read two short sentences, and draws the position IDs, the rows of tokens and the attention mask that it sees on the way.
The figures in ``docs/figures`` are these; a test compares them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece
from torch import Tensor
from transformers import BertConfig, PreTrainedTokenizerFast

from span_marker import SpanMarkerConfig, SpanMarkerModel, SpanMarkerTokenizer
from span_marker.core.relations import all_pairs
from span_marker.encoders.attention import DenseInput
from span_marker.encoders.engines import DenseEngine, EngineInput, FastEngine
from span_marker.encoders.families import FAMILIES
from span_marker.encoders.support import EngineChoice
from span_marker.preprocessing.data_collator import SpanMarkerDataCollator
from span_marker.preprocessing.pieces import Piece

SENTENCES = [["Amelia", "Earhart", "flew"], ["Paris"]]
"""The first one is in all figures; the second keeps it company in a batch."""

PAIR_SENTENCE, PAIR_SPANS = ["Amelia", "Earhart", "left", "Paris"], [(0, 2), (3, 4)]
"""A sentence with two entities, and the first word and the word behind the last of each."""

ENTITY_MAX_LENGTH = 2
MODEL_MAX_LENGTH, MARKER_MAX_LENGTH = 8, 2
"""Limits for the figure of rows: so low that the first sentence needs two samples of the published layout."""

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "Amelia", "Ear", "##hart", "flew", "Paris", "left"]
SPECIAL_NAMES = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]"}

TEXT, MARKER, PADDING = "#cfe3f7", "#fbd9a8", "#ececec"
INK, FAINT, LINE = "#1f2933", "#7b8794", "#c0712f"
FONT = 'font-family="ui-monospace, Menlo, Consolas, monospace"'


@dataclass
class Row:
    """A row of tokens as an engine, or the published layout, sees it.

    Attributes:
        tokens: What each token is called: its text, ``s3`` and ``e3`` for the markers of pair 3, empty for padding.
        position_ids: One for each token; empty for the published layout, which is drawn without.
    """

    tokens: list[str]
    position_ids: list[int] = field(default_factory=list)


@dataclass
class Grid:
    """An attention mask.

    Attributes:
        names: What each token is called: text, and then markers.
        text_len: Number of text tokens.
        allowed: The mask, ``(length, length)``.
    """

    names: list[str]
    text_len: int
    allowed: Tensor


@dataclass
class Picture:
    """What there is to draw.

    Attributes:
        tokens: The text tokens of each sentence.
        words: The first word and the word behind the last of each pair of each sentence.
        dense: What the dense engine reads, with all pairs at once: one row a sentence.
        attention: The attention mask of the first sentence, without padding.
        relations: That of `PAIR_SENTENCE`, with both pairs of its entities.
        observed: The token that each start and end marker of the first sentence observes, ``(num_spans, 2)``.
        chunks: The rows that the dense engine reads if it may run `MARKER_MAX_LENGTH` pairs at a time.
        passes: The rows that the fast engine reads.
        published: The samples of the published layout.
    """

    tokens: list[list[str]]
    words: list[list[tuple[int, int]]]
    dense: list[Row]
    attention: Grid
    relations: Grid
    observed: list[list[int]]
    chunks: list[Row]
    passes: list[Row]
    published: list[Row]


def build_model(engine: EngineChoice = "auto") -> SpanMarkerModel:
    """Make a tiny model: a BERT with random weights, and a tokenizer that knows the words of the figures.

    Args:
        engine: The engine that it runs on.

    Returns:
        The model.
    """
    ids = {piece: index for index, piece in enumerate(VOCABULARY)}
    backend = Tokenizer(WordPiece(ids, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=False)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(name, ids[name]) for name in ("[CLS]", "[SEP]")]
    )
    names = {f"{name}_token": token for name, token in SPECIAL_NAMES.items()}
    tokenizer = SpanMarkerTokenizer(PreTrainedTokenizerFast(tokenizer_object=backend, **names))
    encoder = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=32,
        pad_token_id=ids["[PAD]"],
    )
    torch.manual_seed(0)
    config = SpanMarkerConfig(encoder=encoder, labels=["O", "PER", "LOC"], entity_max_length=ENTITY_MAX_LENGTH)
    model = SpanMarkerModel(config, engine=engine)
    model.tokenizer = tokenizer
    return model.eval()


def collate(model: SpanMarkerModel, sentences: list[list[str]]) -> dict[str, Tensor]:
    """Let the tokenizer and the collator make a batch of sentences."""
    tokenizer = model.require_tokenizer()
    bare = tokenizer.encode_words(sentences)
    whole = [sentence.fit(tokenizer.prefix, tokenizer.suffix, MODEL_MAX_LENGTH) for sentence in bare]
    pieces = [Piece(row, tokens) for row, tokens in enumerate(whole)]
    return SpanMarkerDataCollator.for_model(tokenizer, model.config)([piece.features() for piece in pieces])


def engine_input(model: SpanMarkerModel, batch: dict[str, Tensor]) -> tuple[EngineInput, list[list[str]]]:
    """What an engine reads of a batch, and the text tokens of each sentence."""
    tokenizer = model.require_tokenizer()
    inputs = EngineInput(
        batch["input_ids"],
        batch["attention_mask"],
        batch["span_tokens"],
        batch["span_counts"].tolist(),
        torch.tensor([tokenizer.start_marker_id, tokenizer.end_marker_id]),
    )
    tokens = [
        tokenizer.tokenizer.convert_ids_to_tokens(ids[mask].tolist())
        for ids, mask in zip(inputs.input_ids, inputs.attention_mask, strict=True)
    ]
    return inputs, tokens


def look_at_pairs(model: SpanMarkerModel) -> Grid:
    """Let the dense engine read both pairs of the entities in `PAIR_SENTENCE`, and keep the mask."""
    batch = collate(model, [PAIR_SENTENCE])
    inputs, (tokens,) = engine_input(model, batch)
    spans = [batch["span_words"].tolist().index(list(span)) for span in PAIR_SPANS]
    pairs = all_pairs(np.array(PAIR_SPANS))
    observed = inputs.span_tokens[spans][pairs].flatten(1)
    embeds = torch.zeros(observed.shape[1], model.config.encoder.hidden_size)
    seen: list[DenseInput] = []
    engine = DenseEngine(replace(FAMILIES["bert"], run_dense=recorder(FAMILIES["bert"].run_dense, seen.append)), 2)
    with torch.no_grad():
        engine.encode(
            model.encoder, replace(inputs, span_tokens=observed, span_counts=[len(pairs)], marker_embeds=embeds)
        )
    names = [f"{end}{kind}{pair}" for pair in range(len(pairs)) for end in "ht" for kind in "se"]
    return Grid([*tokens, *names], len(tokens), seen[0].allowed[0])


def look() -> Picture:
    """Let both engines read the sentences, and keep what they give to the encoder."""
    model, dense_model = build_model("fast"), build_model("dense")
    batch = collate(model, SENTENCES)
    inputs, tokens = engine_input(model, batch)
    words = [[(start, end) for start, end in some.tolist()] for some in batch["span_words"].split(inputs.span_counts)]
    family, markers = FAMILIES["bert"], [marker_names(count) for count in inputs.span_counts]

    def dense_inputs(max_candidates: int) -> list[DenseInput]:
        seen: list[DenseInput] = []
        with torch.no_grad():
            engine = DenseEngine(replace(family, run_dense=recorder(family.run_dense, seen.append)), max_candidates)
            engine.encode(dense_model.encoder, inputs)
        return seen

    (dense,) = dense_inputs(max(inputs.span_counts))
    length = len(tokens[0]) + len(markers[0])
    fast: list[list[int]] = []
    run = recorder(family.run_packed, lambda embeds, position_ids, span_pass: fast.append(position_ids.tolist()))
    with torch.no_grad():
        FastEngine(replace(family, run_packed=run), max_markers=2 * MARKER_MAX_LENGTH).encode(model.encoder, inputs)
    text_names, all_markers = (list(chain.from_iterable(names)) for names in (tokens, markers))
    rest = iter(all_markers)
    passes = [Row(text_names, fast[0]), *(Row(list(islice(rest, len(some))), some) for some in fast[1:])]
    return Picture(
        tokens=tokens,
        words=words,
        dense=dense_rows(dense, tokens, markers),
        attention=Grid([*tokens[0], *markers[0]], len(tokens[0]), dense.allowed[0, :length, :length]),
        relations=look_at_pairs(dense_model),
        observed=inputs.span_tokens[: inputs.span_counts[0]].tolist(),
        chunks=[
            row
            for number, part in enumerate(dense_inputs(MARKER_MAX_LENGTH))
            for row in dense_rows(part, tokens, [names[2 * MARKER_MAX_LENGTH * number :] for names in markers])
        ],
        passes=passes,
        published=[row for text, names in zip(tokens, markers, strict=True) for row in published_samples(text, names)],
    )


def recorder(run: Callable[..., Tensor], record: Callable[..., Any]) -> Callable[..., Tensor]:
    """A run of an encoder that keeps what it is given."""

    def recorded(encoder: Any, *given: Any) -> Tensor:
        record(*given)
        return run(encoder, *given)

    return recorded


def marker_names(num_pairs: int) -> list[str]:
    """``s0 e0 s1 e1 ...``."""
    return [f"{kind}{pair}" for pair in range(num_pairs) for kind in "se"]


def dense_rows(given: DenseInput, tokens: Sequence[list[str]], markers: Sequence[list[str]]) -> list[Row]:
    """Name the tokens of each row that the dense engine reads."""
    rows = []
    num_markers = given.allowed.shape[1] - given.text_len
    for position_ids, text, names in zip(given.position_ids.tolist(), tokens, markers, strict=True):
        text_room, marker_room = given.text_len - len(text), max(num_markers - len(names), 0)
        rows.append(Row([*text, *[""] * text_room, *names[:num_markers], *[""] * marker_room], position_ids))
    return rows


def published_samples(text: list[str], markers: list[str]) -> list[Row]:
    """Lay a sentence out as the published description does, which no code of this library does any more.

    A sample has ``model_max_length + 2 * marker_max_length`` tokens. The text stands in front, and markers fill the
    rest, room of the text included; what does not fit goes into further samples, which repeat the text.
    """
    size = MODEL_MAX_LENGTH + 2 * MARKER_MAX_LENGTH
    room = (size - len(text)) // 2 * 2
    starts = range(0, max(len(markers), 1), room)
    samples = [[*text, *markers[start : start + room]] for start in starts]
    return [Row([*sample, *[""] * (size - len(sample))]) for sample in samples]


def svg(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    """A drawing on a light sheet, so that it can be read on dark pages, too."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
            f'height="{height:g}" role="img" font-size="12" fill="{INK}" text-anchor="middle" {FONT}>',
            f"<title>{escape(title)}</title>",
            f'<rect width="{width:g}" height="{height:g}" rx="8" fill="#ffffff"/>',
            *parts,
            "</svg>\n",
        ]
    )


def label(
    x: float, y: float, text: str, size: int = 12, color: str = INK, anchor: str = "middle", kind: str = ""
) -> str:
    """A piece of text; ``kind`` is its class, by which it can be found again."""
    others = {"class": kind, "font-size": size, "fill": color, "text-anchor": anchor}
    return f'<text{attributes(others)} x="{x:g}" y="{y:g}">{escape(text)}</text>'


def attributes(values: dict[str, object]) -> str:
    """Attributes of an element, without those that have no value or that of the whole drawing."""
    drawing = {"font-size": 12, "fill": INK, "text-anchor": "middle"}
    return "".join(f' {name}="{value}"' for name, value in values.items() if value not in ("", drawing.get(name)))


def box(x: float, y: float, width: float, height: float, color: str, kind: str = "") -> str:
    """A cell."""
    others = attributes({"class": kind, "fill": color})
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="3"{others}/>'


def is_marker(name: str) -> bool:
    """Whether a token of a row is a marker."""
    return name[:1] in ("s", "e") and name[1:].isdigit()


def color_of(name: str) -> str:
    """The color of a token of a row."""
    return PADDING if not name else MARKER if is_marker(name) else TEXT


def draw_positions(picture: Picture) -> str:
    """The tokens of a sentence with their position IDs, and each marker below the token that it observes."""
    row, text_len, cell = picture.dense[0], len(picture.tokens[0]), 92
    left, top, lane = 190.0, 40.0, 40.0
    parts = [label(16, top + 22, "text", anchor="start"), label(16, top + 44, "position ID", 12, FAINT, "start")]
    for place in range(text_len):
        x = left + place * cell
        parts += [box(x, top, cell - 6, 32, TEXT), label(x + cell / 2 - 3, top + 21, row.tokens[place])]
        parts.append(label(x + cell / 2 - 3, top + 46, str(row.position_ids[place]), 12, FAINT, kind="text-position"))
    for pair, ((start, end), (first, last)) in enumerate(zip(picture.words[0], picture.observed, strict=True)):
        y = top + 66 + pair * lane
        words = " ".join(SENTENCES[0][start:end])
        parts.append(label(16, y + 21, words, anchor="start"))
        x_first, x_last = (left + place * cell for place in (first, last))
        half = (cell - 10) / 2
        if first != last:
            parts.append(
                f'<line x1="{x_first + half:g}" y1="{y + 16:g}" x2="{x_last + half:g}" y2="{y + 16:g}" '
                f'stroke="{LINE}" stroke-width="1.5" stroke-dasharray="3 3"/>'
            )
        for number, (kind, x) in enumerate((("start", x_first), ("end", x_last + half + 4))):
            position_id = row.position_ids[text_len + 2 * pair + number]
            parts += [box(x, y, half, 32, MARKER), label(x + half / 2, y + 14, f"{kind[0]}{pair}", 11)]
            parts.append(label(x + half / 2, y + 28, str(position_id), 11, LINE, kind=f"{kind}-position"))
    height = top + 66 + len(picture.observed) * lane + 12
    title = "Position IDs: a start marker has that of the first token of its span, an end marker that of the last"
    return svg(left + text_len * cell + 10, height, title, parts)


def draw_packing(picture: Picture) -> str:
    """The rows of tokens that go through an encoder, in the published layout and in both engines."""
    groups = [
        ("published", "Published layout: samples of one size", picture.published),
        ("dense", "Dense engine: padded to the batch", picture.chunks),
        ("fast", "Fast engine: texts once, then markers, no padding", picture.passes),
    ]
    cell, left, y = 56.0, 16.0, 16.0
    parts = []
    for kind, caption, rows in groups:
        num_tokens = sum(len(row.tokens) for row in rows)
        num_padding = sum(not name for row in rows for name in row.tokens)
        summary = f"{caption}: {num_tokens} tokens, {num_padding} of them padding"
        parts.append(label(left, y + 14, summary, 13, anchor="start", kind=f"{kind}-summary"))
        y += 26
        for row in rows:
            position_ids: Sequence[int | str] = row.position_ids or [""] * len(row.tokens)
            for place, (name, position_id) in enumerate(zip(row.tokens, position_ids, strict=True)):
                x = left + place * cell
                parts.append(box(x, y, cell - 3, 34, color_of(name), f"{kind}-cell"))
                parts.append(label(x + cell / 2 - 1.5, y + 15, name, 11))
                if name and position_id != "":
                    parts.append(
                        label(x + cell / 2 - 1.5, y + 29, str(position_id), 10, FAINT, kind=f"{kind}-position")
                    )
            y += 40
        y += 14
    longest = max(len(row.tokens) for _, _, rows in groups for row in rows)
    return svg(2 * left + longest * cell, y, "Text and markers in rows of tokens", parts)


def draw_attention(picture: Picture) -> str:
    """The attention mask of a sentence with its candidates."""
    return draw_grid(picture.attention, "The attention mask: rows attend to columns with a 1")


def draw_relations(picture: Picture) -> str:
    """The attention mask of a sentence with pairs of its entities."""
    return draw_grid(picture.relations, "The attention mask of two pairs: rows attend to columns with a 1")


def draw_grid(grid: Grid, title: str) -> str:
    """An attention mask, a row for each token that attends, a column for each that it attends to."""
    cell, left, top = 30.0, 84.0, 78.0
    parts = []
    for row, name in enumerate(grid.names):
        y, x = top + row * cell, left + row * cell
        parts.append(label(left - 8, y + 19, name, 12, anchor="end"))
        parts.append(
            f'<text x="{x + 18:g}" y="{top - 8:g}" text-anchor="start" '
            f'transform="rotate(-60 {x + 18:g} {top - 8:g})">{escape(name)}</text>'
        )
        cells = grid.allowed[row].tolist()
        for column, is_allowed in enumerate(cells):
            color = PADDING if not is_allowed else TEXT if column < grid.text_len else MARKER
            parts.append(box(left + column * cell, y, cell - 1, cell - 1, color))
            kind = f"attention-{row}"
            parts.append(label(left + column * cell + cell / 2, y + 19, str(int(is_allowed)), 11, FAINT, kind=kind))
    size = len(grid.names) * cell
    return svg(left + size + 40, top + size + 14, title, parts)


FIGURES = {
    "positions": draw_positions,
    "packing": draw_packing,
    "attention": draw_attention,
    "relations": draw_relations,
}


def draw(folder: Path) -> list[Path]:
    """Draw all figures.

    Args:
        folder: Where they go; it is made if there is none. Files that are as they should be are left alone.

    Returns:
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    picture = look()
    paths = []
    for name, draw_one in FIGURES.items():
        path, content = folder / f"{name}.svg", draw_one(picture)
        if not path.exists() or path.read_text(encoding="utf-8") != content:
            path.write_text(content, encoding="utf-8")
        paths.append(path)
    return paths


if __name__ == "__main__":
    for path in draw(Path(sys.argv[1])):
        sys.stdout.write(f"{path}\n")
