"""Measures what is left over of secrets that were planted in documents: names, IBANs, card and phone numbers, e-mails.

``python benchmarks/planted_secrets.py --model quickstart/my-model`` writes 2,000 documents with known secrets. A model
reads them alone, and then with rules and propagation. It prints which share of the secrets is found, what is left over,
by kind, and what is found that is none. Figures are written to ``benchmarks/results/planted_secrets.json``.

A person's name comes whole once, and then again: whole, in lower case or in capitals, with another person's, as the
last name alone, and within a file name. Other sentences are from the test split of the bundled corpus, which the
quickstart's model has not seen, and have no persons. Half of the documents also have numbers that look like secrets,
but whose checksums are wrong.
"""

from __future__ import annotations

import argparse
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from speed import machine
from studies import write_json

from span_marker import SpanMarkerModel, read_annotations
from span_marker.prediction.propagation import Propagation, propagate_names
from span_marker.preprocessing.inputs import Sentences
from span_marker.redaction import redact
from span_marker.rules import RegexRule, Rules
from span_marker.rules.validators import is_card_number

HERE = Path(__file__).parent

FIRST_NAMES = (
    "Aisha Aleksander Amara Anselm Beatriz Bertil Chidi Clara Dmitri Eleni Emeka Farida Gwen Hassan Ingrid Jakub Kenji "
    "Lucía Mateus Mirjam Nadia Oskar Priya Quentin Ravi Saoirse Tomasz Uma Viktor Wanjiru Yusuf Zofia"
).split()

LAST_NAMES = (
    "Abernathy Achterberg Adeyemi Baptista Castellanos Czarnecki Dlamini Eriksson Fontaine Ghorbani Hakimi Iwasaki "
    "Jovanović Kaminski Lindqvist Mbeki Nakagawa O'Sullivan Petrov Quispe Rasmussen Sánchez Takahashi Ueda Vandermeer "
    "Whitcombe Xanthos Yilmaz Zielinski Öztürk"
).split()

SENTENCES = {
    "name": (
        "{name} signed the contract on behalf of the family.",
        "We spoke with {name} about the delayed delivery.",
        "The complaint by {name} was answered within two days.",
        "According to {name}, nobody had asked for a receipt.",
        "Please send {name}'s file to the archive.",
    ),
    "name in lower case": ("hi, this is {name} again, any news?", "pls call {name} back asap"),
    "name in capitals": ("ATTN: {name} / SECOND REMINDER", "RE: CLAIM OF {name}"),
    "name in a list": ("Present: {other}, {name}; absent: none.", "cc: {other}; {name}"),
    "last name alone": ("{name} called again in the afternoon.", "Later, {name} withdrew the offer."),
    "name within a word": ("The attachment scan_{name}_final.pdf could not be opened.",),
    "iban": ("Refunds go to {iban}.", "IBAN: {iban}, no reference needed"),
    "card": ("The card {card} was charged twice.", "card no. {card}"),
    "email": ("Write to {email} for details.", "From: {email}"),
    "phone": ("You can reach the office at {phone}.", "tel {phone} (mornings)"),
    "decoy": (
        "The order {decoy} has left the warehouse.",
        "Version 10.4.2 of 2024-03-17 fixes ticket 4711.",
        "Reference GB00 TEST 0000 0000 0000 00 is a dummy.",
    ),
}
"""Sentences by the kind of secret in them."""

NUMBERS = {
    "iban": r"\b[A-Z]{2}\d{2}(?: ?[A-Z\d]{4}){2,7}(?: ?[A-Z\d]{1,3})?\b",
    "card": r"(?<![\w-])[2-6](?:[ -]?\d){11,18}(?![\w-])",
    "email": r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+",
    "phone": r"(?<![\w+])(?:\+|00)[1-9]\d{0,2}(?:[ ./-]?\(?\d{1,4}\)?){2,5}(?!\w)",
}
"""An expression for each kind of secret with a form."""

RULES = Rules(
    [RegexRule(kind, pattern) for kind, pattern in NUMBERS.items()], "rules first", {"iban": "iban", "card": "card"}
)

LABELS = ("person", *NUMBERS)
"""What is redacted: the model's other labels are no secrets here."""


class Secret(NamedTuple):
    """A secret of a document, and its characters."""

    kind: str
    start: int
    end: int


class Document(NamedTuple):
    """A text and its secrets."""

    text: str
    secrets: list[Secret]


Entities = list[dict[str, Any]]


def random_iban(rng: random.Random) -> str:
    """An IBAN of Germany or the United Kingdom, with or without spaces (ISO 13616)."""
    country, account = rng.choice([("DE", digits(rng, 18)), ("GB", "WEST" + digits(rng, 14))])
    value = int("".join(str(int(character, 36)) for character in f"{account}{country}00"))
    iban = f"{country}{98 - value % 97:02}{account}"
    return rng.choice([iban, re.sub("(.{4})(?=.)", r"\1 ", iban)])


def random_card(rng: random.Random, is_valid: bool = True) -> str:
    """Sixteen digits with the checksum of a card number, or with another one."""
    number = rng.choice("45") + digits(rng, 14)
    fitting = next(digit for digit in "0123456789" if is_card_number(number + digit))
    number += fitting if is_valid else str((int(fitting) + rng.randint(1, 9)) % 10)
    return re.sub("(.{4})(?=.)", rf"\1{rng.choice(['', ' ', '-'])}", number)


def random_phone(rng: random.Random) -> str:
    """A phone number with a country code."""
    return rng.choice(["+44 20 7946 {}", "+49 (30) 901820-{}", "0033 1 99 00 {}", "+1-202-555-{}"]).format(
        digits(rng, 4)
    )


def digits(rng: random.Random, count: int) -> str:
    """Random digits."""
    return "".join(rng.choice("0123456789") for _ in range(count))


def plant_secrets(num_documents: int, filler: Sequence[str], seed: int = 0) -> list[Document]:
    """Write documents with secrets.

    Args:
        num_documents: Number of documents.
        filler: Sentences without secrets.
        seed: The same seed makes the same documents.

    Returns:
        The documents, with a sentence per line.
    """
    rng = random.Random(seed)
    return [plant(rng, filler) for _ in range(num_documents)]


def plant(rng: random.Random, filler: Sequence[str]) -> Document:
    """Write one document: a name and its other mentions, some numbers, and sentences without secrets between them."""
    first, last = rng.choice(FIRST_NAMES), rng.choice(LAST_NAMES)
    name, other = f"{first} {last}", f"{rng.choice(FIRST_NAMES)} {rng.choice(LAST_NAMES)}"
    forms = {
        "name": name,
        "name in lower case": name.lower(),
        "name in capitals": name.upper(),
        "name in a list": name,
        "last name alone": last,
        "name within a word": last.lower(),
    }
    mentions = rng.sample(list(forms), 3)
    numbers = rng.sample(list(NUMBERS), 2)
    kinds = ["name", *mentions, *numbers, *(["decoy"] if rng.random() < 0.5 else [])]
    made = {
        "iban": random_iban(rng),
        "card": random_card(rng),
        "email": f"{first}.{last}@example.org".lower().replace("'", ""),
        "phone": random_phone(rng),
        "decoy": random_card(rng, is_valid=False),
    }
    text, secrets = "", []
    for kind in kinds:
        sentence = rng.choice(SENTENCES[kind])
        for part in re.split(r"(\{\w+\})", sentence):
            value = {"{name}": forms.get(kind), "{other}": other}.get(part) or made.get(part.strip("{}"), part)
            if part.startswith("{") and part != "{decoy}":
                secrets.append(Secret(kind, len(text), len(text) + len(value)))
            text += value
        text += "\n" + "".join(line + "\n" for line in rng.sample(filler, rng.randint(0, 2)))
    return Document(text, secrets)


def lines_of(text: str) -> list[tuple[int, int]]:
    """Start and end of each line."""
    return [match.span() for match in re.finditer("[^\n]+", text)]


def with_names_everywhere(text: str, entities: Entities, propagation: Propagation) -> Entities:
    """Propagate names in one document."""
    (found,) = propagate_names(Sentences([text], True), [entities], propagation)
    return found


ANY_CASE = Propagation(min_score=0.5, ignore_case=True)

READERS: dict[str, Callable[[str, Entities], Entities]] = {
    "model": lambda text, found: found,
    "model, propagation": lambda text, found: with_names_everywhere(text, found, Propagation()),
    "model, rules": lambda text, found: RULES.apply(text, found),
    "model, rules, propagation": lambda text, found: with_names_everywhere(
        text, RULES.apply(text, found), Propagation()
    ),
    "model, rules, propagation in any case from 0.5": lambda text, found: with_names_everywhere(
        text, RULES.apply(text, found), ANY_CASE
    ),
}
"""Ways to read, each from what the model found: as in `predict`, rules come before propagation."""


def measure(documents: Sequence[Document], found: Iterable[Entities]) -> dict[str, Any]:
    """Compare what was redacted with the secrets.

    Args:
        documents: The documents.
        found: What was found in each.

    Returns:
        By kind and for all: number of mentions and characters, the shares of them that are redacted, and examples of
        what is left over; the share of documents of which nothing is; and what was redacted without being a secret, by
        label.
    """
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in ("all", *SENTENCES) if kind != "decoy"}
    left: dict[str, list[str]] = {kind: [] for kind in counts}
    wrong, num_clean = Counter[str](), 0
    for (text, secrets), entities in zip(documents, found, strict=True):
        entities = [entity for entity in entities if entity["label"] in LABELS]
        redacted = redact(text, entities, "mask").text
        num_left = 0
        for kind, start, end in secrets:
            hidden = sum(
                old != new or old == "*" for old, new in zip(text[start:end], redacted[start:end], strict=True)
            )
            num_left += hidden < end - start
            for counter in (counts["all"], counts[kind]):
                counter += Counter(mentions=1, characters=end - start, hidden=hidden, whole=int(hidden == end - start))
            if hidden < end - start and len(left[kind]) < 3:
                left[kind].append(redacted[start:end])
        num_clean += not num_left
        for entity in entities:
            start, end = entity["char_start_index"], entity["char_end_index"]
            wrong[entity["label"]] += not any(start < secret.end and secret.start < end for secret in secrets)
    return {
        "kinds": {
            kind: {
                "mentions": counter["mentions"],
                "mention_recall": counter["whole"] / max(counter["mentions"], 1),
                "character_recall": counter["hidden"] / max(counter["characters"], 1),
                "left": left[kind],
            }
            for kind, counter in counts.items()
        },
        "documents_without_rest": num_clean / max(len(documents), 1),
        "false_positives": dict(sorted(wrong.items())),
    }


def read_all(model: Any, documents: Sequence[Document]) -> list[Entities]:
    """Let a model read documents line by line."""
    texts = [document.text for document in documents]
    return list(model.predict(texts, is_split_into_words=False, split_sentences=lines_of))


def filler_sentences() -> list[str]:
    """Sentences of the bundled corpus without persons, of the split that the quickstart's model has not seen."""
    rows = read_annotations(HERE.parent / "training_scripts" / "corpus" / "test.txt", format="inline")
    return [row["text"] for row in rows if not any(entity["label"] == "person" for entity in row["entities"])]


def describe(measured: Mapping[str, Any]) -> str:
    """Say what was measured, in lines."""
    lines = [f"  nothing left in {measured['documents_without_rest']:.1%} of documents"]
    for kind, row in measured["kinds"].items():
        shares = f"{row['mention_recall']:6.1%} of mentions, {row['character_recall']:6.1%} of characters"
        lines.append(f"  {kind:20}{row['mentions']:7,}: {shares}  {', '.join(row['left'])}")
    return "\n".join([*lines, f"  no secrets: {measured['false_positives']}"])


def main() -> None:
    """Print what is measured, and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="quickstart/my-model")
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=HERE / "results" / "planted_secrets.json")
    arguments = parser.parse_args()
    documents = plant_secrets(arguments.documents, filler_sentences(), arguments.seed)
    found = read_all(SpanMarkerModel.from_pretrained(arguments.model), documents)
    results: dict[str, Any] = {
        "machine": machine(),
        "documents": len(documents),
        "characters": sum(len(document.text) for document in documents),
        "readers": {},
    }
    for title, read in READERS.items():
        pairs = zip(documents, found, strict=True)
        results["readers"][title] = measure(documents, [read(text, list(entities)) for (text, _), entities in pairs])
        print(f"{title}\n{describe(results['readers'][title])}")
    write_json(arguments.results, results)


if __name__ == "__main__":
    main()
