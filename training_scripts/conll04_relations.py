"""CoNLL04 with bert-base-cased: entities and the relations between them, with one model.

``--data FOLDER`` has files train, dev and test (Roth and Yih 2004, in any format of the library with relations, such
as JSON lines with ``tokens``, ``entities`` and ``relations``). The figures of relations are strict: label, and words
and labels of both entities. ``--help`` lists all options.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets import DatasetDict
from experiment import fine_tune, parse_options, read_data, run_seeds
from transformers import set_seed

from span_marker import (
    SpanMarkerModel,
    SpanMarkerModelCardData,
    Trainer,
    infer_labels,
    infer_relation_labels,
)

MEASURES = ("relation_f1", "relation_precision", "relation_recall", "relation_gold_f1")


def no_hub() -> DatasetDict:
    """Say where the data has to come from."""
    raise SystemExit("--data FOLDER is needed: CoNLL04 is not downloaded")


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the experiment, and return the figures of each seed, their means and standard errors."""
    options = parse_options(__doc__, encoder="google-bert/bert-base-cased", epochs=20, arguments=arguments)
    data = read_data(options, no_hub, document_context=False)
    for name, split in data.items():
        if "relations" not in split.column_names or all(relations is None for relations in split["relations"]):
            raise SystemExit(f"the {name} data has no relations, which are trained on and measured")

    def train(seed: int, folder: Path) -> Trainer:
        set_seed(seed)
        model = SpanMarkerModel.from_pretrained(
            options.encoder,
            labels=infer_labels(data),
            relation_labels=infer_relation_labels(data),
            model_max_length=256,
            entity_max_length=12,
            candidates_per_word=options.candidates_per_word,
            model_card_data=SpanMarkerModelCardData(language="en", dataset_name="CoNLL04"),
        )
        return fine_tune(model, data, options, seed, folder, learning_rate=5e-5, per_device_train_batch_size=8)

    return run_seeds(train, data["test"], options, MEASURES)


if __name__ == "__main__":
    main()
