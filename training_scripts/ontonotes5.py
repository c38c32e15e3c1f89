"""OntoNotes v5 with roberta-large: text of many kinds, 18 labels.

All candidates are trained on, as in the thesis; ``--candidates-per-word 1`` trains with the library's candidate
filter, in a fraction of the time. ``--data FOLDER`` reads files train, dev and test in place of the Hub's. ``--help``
lists all options.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets import ClassLabel, DatasetDict, List, load_dataset
from experiment import fine_tune, parse_options, read_data, run_seeds
from transformers import set_seed

from span_marker import SpanMarkerModel, SpanMarkerModelCardData, Trainer

HUB_NAME = "tner/ontonotes5"
FILES = {"train": "train*.json", "validation": "valid.json", "test": "test.json"}
TAGS = """
O B-CARDINAL B-DATE I-DATE B-PERSON I-PERSON B-NORP B-GPE I-GPE B-LAW I-LAW B-ORG I-ORG B-PERCENT I-PERCENT B-ORDINAL
B-MONEY I-MONEY B-WORK_OF_ART I-WORK_OF_ART B-FAC B-TIME I-CARDINAL B-LOC B-QUANTITY I-QUANTITY I-NORP I-LOC B-PRODUCT
I-TIME B-EVENT I-EVENT I-FAC B-LANGUAGE I-PRODUCT I-ORDINAL I-LANGUAGE
""".split()  # the data has numbers alone; these are their names, in the order of its card


def load_hub(revision: str | None) -> DatasetDict:
    """Load the data, and give its tags their names."""
    folder = f"hf://datasets/{HUB_NAME}@{revision or 'main'}/dataset"
    data = load_dataset("json", data_files={split: f"{folder}/{name}" for split, name in FILES.items()})
    return data.rename_column("tags", "ner_tags").cast_column("ner_tags", List(ClassLabel(names=TAGS)))


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the experiment, and return the figures of each seed, their means and standard errors."""
    options = parse_options(__doc__, encoder="FacebookAI/roberta-large", epochs=4, arguments=arguments)
    data = read_data(options, lambda: load_hub(options.revision), document_context=False)

    def train(seed: int, folder: Path) -> Trainer:
        set_seed(seed)
        model = SpanMarkerModel.from_pretrained(
            options.encoder,
            labels=data,
            model_max_length=256,
            marker_max_length=128,
            entity_max_length=10,
            candidates_per_word=options.candidates_per_word,
            model_card_data=SpanMarkerModelCardData(
                language="en", dataset_name="OntoNotes v5", dataset_id=None if options.data else HUB_NAME
            ),
        )
        return fine_tune(
            model,
            data,
            options,
            seed,
            folder,
            learning_rate=1e-5,
            per_device_train_batch_size=8,
            gradient_accumulation_steps=2,
        )

    return run_seeds(train, data["test"], options)


if __name__ == "__main__":
    main()
