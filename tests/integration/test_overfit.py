"""Two sentences are learned by heart, saved, loaded, and read back."""

import pytest
import torch
from datasets import Dataset
from tiny import UNLIKE, build_model

from span_marker import SpanMarkerModel, Trainer, TrainingArguments

SENTENCES = [
    ["Amelia", "Earhart", "flew", "her", "Lockheed", "Vega", "across", "the", "Atlantic", "to", "Paris", "."],
    ["Leonardo", "da", "Vinci", "painted", "the", "Mona", "Lisa", "in", "Florence", "."],
]
TAGS = [
    ["B-PER", "I-PER", "O", "O", "B-ORG", "I-ORG", "O", "O", "B-LOC", "O", "B-LOC", "O"],
    ["B-PER", "I-PER", "I-PER", "O", "O", "B-ORG", "I-ORG", "O", "B-LOC", "O"],
]
ENTITIES = [
    [("PER", 0, 2), ("ORG", 4, 6), ("LOC", 8, 9), ("LOC", 10, 11)],
    [("PER", 0, 3), ("ORG", 5, 7), ("LOC", 8, 9)],
]


# That the others learn follows from their gradients, which are compared with the oracle's.
@pytest.mark.parametrize("family", UNLIKE)
def test_two_sentences_by_heart(family, tmp_path):
    model = build_model(family, entity_max_length=5)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    options = {"num_train_epochs": 100, "learning_rate": 4e-3, "per_device_train_batch_size": 2, "disable_tqdm": True}
    args = TrainingArguments(
        str(tmp_path), **options, save_strategy="no", report_to="none", use_cpu=True, warmup_steps=5
    )
    data = Dataset.from_dict({"tokens": SENTENCES, "ner_tags": TAGS})
    trainer = Trainer(model, args, data, data)
    trainer.train()
    metrics = trainer.evaluate()
    assert metrics["eval_loss"] < 0.01
    assert metrics["eval_overall_f1"] == 1.0

    def spans(found):
        return [[(e["label"], e["word_start_index"], e["word_end_index"]) for e in entities] for entities in found]

    expected = model.predict(SENTENCES)
    assert spans(expected) == ENTITIES
    model.save_pretrained(tmp_path / "checkpoint")
    assert SpanMarkerModel.from_pretrained(tmp_path / "checkpoint").predict(SENTENCES) == expected
