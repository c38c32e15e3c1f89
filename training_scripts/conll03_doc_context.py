"""CoNLL03 with xlm-roberta-large and document context.

Sentences are read with those around them: files of ``--data`` in CoNLL format need ``-DOCSTART-`` lines. All
candidates are trained on, as in the thesis; ``--candidates-per-word 1`` trains with the library's candidate filter, in
a fraction of the time. ``--data FOLDER`` reads files train, dev and test in place of the Hub's. ``--help`` lists all
options.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from datasets import load_dataset
from experiment import parse_options, read_data, run_seeds
from transformers import set_seed

from span_marker import SpanMarkerModel, SpanMarkerModelCardData, Trainer, TrainingArguments
from span_marker.training.arguments import has_fast_bfloat16

HUB_NAME = "tomaarsen/conll2003"


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the experiment, and return the figures of each seed, their means and standard errors."""
    options = parse_options(__doc__, encoder="FacebookAI/xlm-roberta-large", epochs=3, arguments=arguments)
    data = read_data(options, lambda: load_dataset(HUB_NAME, revision=options.revision), document_context=True)

    def train(seed: int, folder: Path) -> Trainer:
        set_seed(seed)
        model = SpanMarkerModel.from_pretrained(
            options.encoder,
            labels=data,
            model_max_length=512,
            marker_max_length=128,
            entity_max_length=8,
            candidates_per_word=options.candidates_per_word,
            model_card_data=SpanMarkerModelCardData(
                language="en", dataset_name="CoNLL03", dataset_id=None if options.data else HUB_NAME
            ),
        )
        args = TrainingArguments(
            output_dir=str(folder),
            learning_rate=1e-5,
            per_device_train_batch_size=4,
            gradient_accumulation_steps=2,
            num_train_epochs=options.epochs,
            optim="adamw_torch",
            lr_scheduler_type="linear",
            warmup_steps=0.1,  # a share of all steps
            weight_decay=0.01,
            bf16=has_fast_bfloat16(),
            use_cpu=not torch.cuda.is_available(),
            eval_strategy="epoch",
            save_strategy="no",
            report_to="none",
            seed=seed,
        )
        trainer = Trainer(model, args, data["train"], data["validation"])
        trainer.train()
        return trainer

    return run_seeds(train, data["test"], options)


if __name__ == "__main__":
    main()
