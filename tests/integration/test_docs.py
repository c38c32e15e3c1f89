"""The examples of the documentation run, as they stand there.

A page finds in its folder ``my-model``, a checkpoint, ``train.jsonl``, ``dev.jsonl``, ``test.jsonl`` and
``book.txt``; and on the Hub the encoder ``google-bert/bert-base-cased``, tiny and untrained, and the checkpoint as
``user/my-model`` and under the name of a published one. It is logged in as ``user``. A block that cannot be run says
why, in the line above it: ``<!-- not run: REASON -->``.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from docs_worker import find_blocks
from hub_server import HubServer
from tiny import TEXT, build_tokenizer, encoder_config
from transformers import AutoModel

from span_marker import SpanMarkerModel

WORKER = Path(__file__).with_name("docs_worker.py")
DOCS = Path(__file__).parents[2] / "docs"
NAMES = """
context model_cards hub pipelines parallel spacy training error_analysis install quickstart from_1x how_it_works data
entities scores validation encoders candidate_filter speed server
""".split()
PAGES = [DOCS.parent / "README.md", *(DOCS / f"{name}.md" for name in NAMES)]

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


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_encoder(folder):
    """One with room for the text limits that the pages ask for."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer("wordpiece").tokenizer
    config = encoder_config("bert", len(tokenizer))
    config.max_position_embeddings = 512
    AutoModel.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write_checkpoint(folder, encoder):
    """A model with random weights that are large enough for it to find something."""
    labels = ["O", "person", "place"]
    model = SpanMarkerModel.from_pretrained(encoder, labels=labels, entity_max_length=3, candidates_per_word=None)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.3)
    model.save_pretrained(folder)


FAILING = """
```python
first = 1
```

Some text.

<!-- not run: it would fail -->
```python
raise SystemExit("excused")
```

- In a list:

  ```python
  second = first + 1
  assert second == 3
  ```
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Run the pages, and one of ours that fails, in one process, each in a folder of its own."""
    folder = tmp_path_factory.mktemp("docs")
    page_folder, failing = folder / "things", folder / "failing.md"
    page_folder.mkdir()
    write_encoder(folder / "encoder")
    write_checkpoint(page_folder / "my-model", folder / "encoder")
    write_rows(page_folder / "train.jsonl", [annotate(index) for index in range(16)])
    for split in ("dev", "test"):
        write_rows(page_folder / f"{split}.jsonl", [annotate(3 * index + 1) for index in range(16)])
    (page_folder / "book.txt").write_text(f"{TEXT}\n" * 10, encoding="utf-8")
    failing.write_text(FAILING, encoding="utf-8")
    pages = [failing, *PAGES]
    for page in pages:
        shutil.copytree(page_folder, folder / page.stem)
    with HubServer(tokens={"hf_writer": "user"}) as hub:
        hub.add("google-bert/bert-base-cased", folder / "encoder")
        hub.add("user/my-model", page_folder / "my-model")
        hub.add("tomaarsen/span-marker-bert-base-fewnerd-fine-super", page_folder / "my-model")
        environment = {**hub.environment(folder / "home", token="hf_writer"), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(WORKER), str(folder), *map(str, pages)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=400, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_examples_of_a_page_run(page, report):
    outcome = report[page.stem]
    if failed := outcome["failed"]:
        lines = f"{page.name}, line {failed['line']}:\n\n{failed['source']}\n{failed['traceback']}"
        pytest.fail(lines, pytrace=False)
    assert outcome["run"]


def test_a_block_that_fails_is_reported(report):
    failed = report["failing"]["failed"]
    assert report["failing"]["run"] == 1
    assert (failed["line"], failed["source"]) == (16, "second = first + 1\nassert second == 3\n")
    assert 'failing.md", line 17, in <module>\n    assert second == 3' in failed["traceback"]


def test_an_excuse_gives_a_reason():
    page = "```python\n1\n```\n<!-- not run: needs a GPU -->\n```python\n2\n```\n<!-- not run: -->\n```python\n3\n```\n"
    assert [tuple(block) for block in find_blocks(page)] == [(2, "1\n", False), (6, "2\n", True), (10, "3\n", False)]
