"""CoNLL03 with xlm-roberta-large, each sentence by itself.

All candidates are trained on, as in the thesis; ``--candidates-per-word 1`` trains with the library's candidate
filter, in a fraction of the time. ``--data FOLDER`` reads files train, dev and test in place of the Hub's. ``--help``
lists all options.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datasets import load_dataset
from experiment import fine_tune, parse_options, read_data, run_seeds
from transformers import set_seed

from span_marker import SpanMarkerModel, SpanMarkerModelCardData, Trainer

HUB_NAME = "tomaarsen/conll2003"


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the experiment, and return the figures of each seed, their means and standard errors."""
    options = parse_options(__doc__, encoder="FacebookAI/xlm-roberta-large", epochs=3, arguments=arguments)
    data = read_data(options, lambda: load_dataset(HUB_NAME, revision=options.revision), document_context=False)

    def train(seed: int, folder: Path) -> Trainer:
        set_seed(seed)
        model = SpanMarkerModel.from_pretrained(
            options.encoder,
            labels=data,
            model_max_length=128,
            marker_max_length=64,
            entity_max_length=6,
            candidates_per_word=options.candidates_per_word,
            model_card_data=SpanMarkerModelCardData(
                language="en", dataset_name="CoNLL03", dataset_id=None if options.data else HUB_NAME
            ),
        )
        return fine_tune(
            model,
            data,
            options,
            seed,
            folder,
            learning_rate=1e-5,
            per_device_train_batch_size=4,
            gradient_accumulation_steps=2,
        )

    return run_seeds(train, data["test"], options)


if __name__ == "__main__":
    main()
