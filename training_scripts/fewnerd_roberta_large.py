"""FewNERD, supervised, with roberta-large: sentences of Wikipedia, 66 fine labels.

All candidates are trained on, as in the thesis; ``--candidates-per-word 1`` trains with the library's candidate
filter, in a fraction of the time. ``--data FOLDER`` reads files train, dev and test in place of the Hub's. ``--help``
lists all options.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets import DatasetDict, load_dataset
from experiment import fine_tune, parse_options, read_data, run_seeds
from transformers import set_seed

from span_marker import SpanMarkerModel, SpanMarkerModelCardData, Trainer

HUB_NAME = "DFKI-SLT/few-nerd"


def load_hub(revision: str | None) -> DatasetDict:
    """Load the data of the supervised setting, with the 66 fine labels as ``ner_tags``."""
    data = load_dataset(HUB_NAME, "supervised", revision=revision)
    return data.remove_columns("ner_tags").rename_column("fine_ner_tags", "ner_tags")


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the experiment, and return the figures of each seed, their means and standard errors."""
    options = parse_options(__doc__, encoder="FacebookAI/roberta-large", epochs=3, arguments=arguments)
    data = read_data(options, lambda: load_hub(options.revision), document_context=False)

    def train(seed: int, folder: Path) -> Trainer:
        set_seed(seed)
        model = SpanMarkerModel.from_pretrained(
            options.encoder,
            labels=data,
            model_max_length=256,
            marker_max_length=128,
            entity_max_length=8,
            candidates_per_word=options.candidates_per_word,
            model_card_data=SpanMarkerModelCardData(
                language="en", dataset_name="FewNERD", dataset_id=None if options.data else HUB_NAME
            ),
        )
        return fine_tune(model, data, options, seed, folder, learning_rate=1e-5, per_device_train_batch_size=8)

    return run_seeds(train, data["test"], options)


if __name__ == "__main__":
    main()
