"""What the quickstart leaves in its folder, small: two labels, a few sentences, a tiny model that finds something."""

import json

import torch
from tiny import build_tokenizer, encoder_config
from transformers import AutoModel

from span_marker import SpanMarkerModel

LABELS = ["O", "person", "place"]
SENTENCES = (
    "{person} flew across the Atlantic to {place}.",
    "{place} is located between France and Spain.",
    "Her name was {person} and she ruled {place} from Alexandria.",
    "The fox jumps over the dog.",
)
PERSONS = ("Amelia Earhart", "Leonardo da Vinci", "Cleopatra", "Mona Lisa")
PLACES = ("Paris", "New York", "Egypt", "Florence", "Andorra")


def annotate(index):
    """A sentence with its entities, in characters."""
    person, place = PERSONS[index % len(PERSONS)], PLACES[index % len(PLACES)]
    text = SENTENCES[index // 4 % len(SENTENCES)].format(person=person, place=place)
    labels = {person: "person", place: "place", "Alexandria": "place", "France": "place", "Spain": "place"}
    places = [(text.index(name), name, label) for name, label in labels.items() if name in text]
    return {
        "text": text,
        "entities": [{"label": label, "start": at, "end": at + len(name)} for at, name, label in sorted(places)],
    }


def write_encoder(folder):
    """One with room for the text limits that pages and notebooks ask for."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer("wordpiece").tokenizer
    config = encoder_config("bert", len(tokenizer))
    config.max_position_embeddings, config.num_hidden_layers = 512, 2
    AutoModel.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write_quickstart(folder, encoder):
    """The files, with a model whose heads have random weights that are large enough for it to find something.

    Those of its encoder stay small: layers that amplify rounding errors would make it hesitate in 16 bits.
    """
    folder.mkdir()
    torch.manual_seed(0)
    model = SpanMarkerModel.from_pretrained(encoder, labels=LABELS, entity_max_length=3, candidates_per_word=None)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and not name.startswith("encoder."):
                parameter.normal_(std=0.3)
        model.classifier.bias[model.config.outside_id] = -4
    model.save_pretrained(folder / "my-model")
    for split, rows in (
        ("train", range(16)),
        ("dev", range(1, 49, 3)),
        ("test", range(1, 49, 3)),
    ):
        lines = "".join(json.dumps(annotate(index)) + "\n" for index in rows)
        (folder / f"{split}.jsonl").write_text(lines, encoding="utf-8")


def write_quickstart_with_rules(folder, rules):
    """The files, with a model that finds what its rules find, whatever its weights; returns their folder."""
    write_encoder(folder / "encoder")
    write_quickstart(folder / "files", folder / "encoder")
    model = SpanMarkerModel.from_pretrained(folder / "files" / "my-model")
    model.config.thresholds = dict.fromkeys(model.labels, 1.0)
    model.rules = rules
    model.save_pretrained(folder / "files" / "my-model")
    return folder / "files"
