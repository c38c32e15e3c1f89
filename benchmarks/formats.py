"""Takes real data through every format: each must give the model the same input.

``python benchmarks/formats.py --data FILE [FILE ...] --encoder NAME`` reads column files, writes their sentences in
every format that can carry them, in the way that this library or the tool would, reads them back, and compares the
features that the model gets. Formats with words are compared with the column file itself; formats with text are
compared with each other, the words joined by spaces. Exits with 1 unless everything is equal.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from datasets import Dataset

from span_marker import SpanMarkerModel, infer_labels, read_annotations, write_brat, write_conll, write_docbin
from span_marker import write_jsonl as write_canonical
from span_marker.preprocessing.features import prepare

Row = dict[str, Any]


def with_text(row: Row) -> Row:
    """Join the words of a row."""
    starts = [0]
    for word in row["tokens"]:
        starts.append(starts[-1] + len(word) + 1)
    entities = [{**e, "start": starts[e["start"]], "end": starts[e["end"]] - 1} for e in row["entities"]]
    return {"text": " ".join(row["tokens"]), "entities": entities}


def prodigy(row: Row) -> Any:
    """As ``prodigy db-out`` writes it."""
    tokens = [{"text": word, "id": index} for index, word in enumerate(row["text"].split(" "))]
    return {"text": row["text"], "tokens": tokens, "spans": row["entities"], "answer": "accept"}


def spacy_tuple(row: Row) -> Any:
    """As spaCy's older training data."""
    return [row["text"], {"entities": [[e["start"], e["end"], e["label"]] for e in row["entities"]]}]


def doccano(row: Row) -> Any:
    """As doccano exports sequence labeling."""
    return {"text": row["text"], "label": [[e["start"], e["end"], e["label"]] for e in row["entities"]]}


def doccano_relations(row: Row) -> Any:
    """As doccano exports projects with relations."""
    entities = [
        {"id": index, "label": e["label"], "start_offset": e["start"], "end_offset": e["end"]}
        for index, e in enumerate(row["entities"])
    ]
    return {"text": row["text"], "entities": entities, "relations": []}


def label_studio(row: Row) -> Any:
    """As Label Studio exports JSON."""
    result = [
        {
            "type": "labels",
            "value": {
                "start": e["start"],
                "end": e["end"],
                "text": row["text"][e["start"] : e["end"]],
                "labels": [e["label"]],
            },
        }
        for e in row["entities"]
    ]
    return {"data": {"text": row["text"]}, "annotations": [{"was_cancelled": False, "result": result}]}


def label_studio_min(row: Row) -> Any:
    """As Label Studio exports JSON_MIN."""
    value = label_studio(row)["annotations"][0]["result"]
    return {"text": row["text"], "label": [region["value"] for region in value]}


def argilla_1(row: Row) -> Any:
    """As Argilla 1 exports token classification."""
    return {"text": row["text"], "annotation": row["entities"], "status": "Validated"}


def argilla_2(row: Row) -> Any:
    """As Argilla 2 exports a span question."""
    return {"fields": {"text": row["text"]}, "responses": {"spans": [{"value": row["entities"], "user_id": "1"}]}}


SHAPES: tuple[Callable[[Row], Any], ...] = (
    prodigy,
    spacy_tuple,
    doccano,
    doccano_relations,
    label_studio,
    label_studio_min,
    argilla_1,
    argilla_2,
)


def files(rows: list[Row], folder: Path) -> dict[str, dict[str, Path]]:
    """Write the rows in every format."""
    texts = [with_text(row) for row in rows]
    words_files = {"conll": folder / "words.conll", "jsonl": folder / "words.jsonl"}
    write_conll(words_files["conll"], rows)
    write_canonical(words_files["jsonl"], rows)
    text_files = {"jsonl": folder / "text.jsonl", "docbin": folder / "text.spacy", "brat": folder / "brat"}
    write_canonical(text_files["jsonl"], texts)
    write_docbin(text_files["docbin"], rows)
    write_brat(text_files["brat"], rows)
    for shape in SHAPES:
        path = text_files[shape.__name__] = folder / f"{shape.__name__}.jsonl"
        path.write_text("".join(json.dumps(shape(row)) + "\n" for row in texts), encoding="utf-8")
    return {"words": words_files, "text": text_files}


def features(model: SpanMarkerModel, data: Dataset) -> list[Row]:
    """What the model gets, entities in order of their words, whatever order the data had."""
    prepared, _ = prepare(data, model.preprocessor, "training")
    return [{**row, "entities": sorted(row["entities"])} for row in prepared]


def main() -> None:
    """Compare all formats."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="column files with words and tags")
    parser.add_argument("--encoder", required=True, help="name or path of an encoder")
    options = parser.parse_args()
    all_equal = True
    for source in options.data:
        data = read_annotations(source, "conll")
        model = SpanMarkerModel.from_pretrained(options.encoder, labels=infer_labels(data))
        expected = {
            "words": features(model, data),
            "text": features(model, Dataset.from_list(list(map(with_text, data)))),
        }
        with tempfile.TemporaryDirectory() as folder:
            for kind, paths in files(list(data), Path(folder)).items():
                for name, path in paths.items():
                    equal = features(model, read_annotations(path)) == expected[kind]
                    all_equal &= equal
                    verdict = "equal" if equal else "NOT EQUAL"
                    print(f"{source}: {len(expected[kind])} rows of {kind} as {name}: {verdict}", flush=True)
    sys.exit(not all_equal)


if __name__ == "__main__":
    main()
