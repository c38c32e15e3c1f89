"""Publishes and loads tiny models on the Hub of its environment; run by test_hub.py.

``python hub_worker.py FOLDER STEPS`` runs all steps called ``STEPS_...`` in order and writes what each of them
returned, or the error that it ended with, to ``FOLDER/STEPS.json``.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from attempt import Attempt  # noqa: E402
from datasets import Dataset  # noqa: E402
from huggingface_hub import snapshot_download  # noqa: E402
from tiny import LABELS, TEXT, build_model  # noqa: E402
from train_worker import TOKENS, tags  # noqa: E402

from span_marker import SpanMarkerModel, Trainer, TrainingArguments  # noqa: E402

IMPORTED_SPACY = "spacy" in sys.modules
SENTENCES = TEXT.strip().splitlines()


class Steps:
    """Each step leaves what later ones need in attributes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, *args: Any, **kwargs: Any) -> Any:
        return SpanMarkerModel.from_pretrained(*args, **kwargs).predict(SENTENCES)

    def refuse(self, *args: Any, **kwargs: Any) -> list[str]:
        """The error of a model that can't be loaded."""
        try:
            SpanMarkerModel.from_pretrained(*args, **kwargs)
        except (OSError, ValueError) as error:
            return [type(error).__name__, str(error)]
        raise AssertionError("it was loaded")

    def online_imports(self) -> Any:
        return {"spacy": IMPORTED_SPACY}

    def online_push(self) -> Any:
        self.model = build_model("bert", entity_max_length=3)
        self.first = self.model.push_to_hub("user/tiny").oid
        return {"commit": self.first, "predicted": self.model.predict(SENTENCES)}

    def online_load(self) -> Any:
        return self.load("user/tiny")

    def online_push_again(self) -> Any:
        other = build_model("bert", labels=["O", "person", "place"], entity_max_length=2, seed=1)
        other.push_to_hub("user/tiny", commit_message="Other weights")
        return other.predict(SENTENCES)

    def online_load_main(self) -> Any:
        return self.load("user/tiny")

    def online_load_commit(self) -> Any:
        return self.load("user/tiny", revision=self.first)

    def online_push_branch(self) -> Any:
        self.model.push_to_hub("user/tiny", revision="experiment")
        return self.load("user/tiny", revision="experiment")

    def online_load_missing_revision(self) -> Any:
        return self.refuse("user/tiny", revision="no-such-branch")

    def online_load_missing(self) -> Any:
        return self.refuse("user/nothing")

    def online_push_private(self) -> Any:
        """By somebody else than the one who is logged in."""
        self.model.push_to_hub("other/secret", private=True, token="hf_other")

    def online_load_private_without_token(self) -> Any:
        return self.refuse("other/secret", token=False)

    def online_load_private_with_own_token(self) -> Any:
        return self.refuse("other/secret")

    def online_load_private_with_wrong_token(self) -> Any:
        return self.refuse("other/secret", token="hf_wrong")

    def online_load_private(self) -> Any:
        return self.load("other/secret", token="hf_other")

    def online_push_elsewhere(self) -> Any:
        """To a name that belongs to somebody else."""
        try:
            self.model.push_to_hub("other/tiny")
        except OSError as error:  # what huggingface_hub's errors are
            return str(error)
        raise AssertionError("it was pushed")

    def online_save(self) -> Any:
        """To a new folder, and to one that has an earlier checkpoint and other files."""
        used = self.folder / "used"
        self.model.save_pretrained(self.folder / "saved", push_to_hub=True, repo_id="user/saved")
        self.model.save_pretrained(used)
        (used / "notes.txt").write_text("mine")
        self.model.save_pretrained(used, push_to_hub=True, repo_id="user/used", commit_message="Saved", revision="dev")
        return [self.load("user/saved"), self.load("user/used", revision="dev"), self.load(used)]

    def train(self, model: SpanMarkerModel, name: str) -> Trainer:
        """Train a little and publish the one checkpoint that is saved on the way."""
        args = TrainingArguments(
            output_dir=str(self.folder / name),
            push_to_hub=True,
            hub_model_id=f"user/{name}",
            hub_strategy="every_save",
            save_strategy="epoch",
            num_train_epochs=1,
            learning_rate=1e-3,
            report_to="none",
            use_cpu=True,
        )
        data = Dataset.from_dict({"tokens": TOKENS, "ner_tags": [tags(words) for words in TOKENS]})
        trainer = Trainer(model, args, data)
        trainer.train()
        model.eval()
        return trainer

    def online_train(self) -> Any:
        model = build_model("bert", entity_max_length=3, seed=2)
        before = model.predict(SENTENCES)
        self.trainer = self.train(model, "trained")
        return {"before": before, "predicted": model.predict(SENTENCES)}

    def online_load_trained(self) -> Any:
        return self.load("user/trained")

    def online_push_trainer(self) -> Any:
        """What was trained, and changed since."""
        with torch.no_grad():
            self.trainer.model.classifier.bias[0] -= 1
        self.trainer.push_to_hub()
        return self.trainer.model.predict(SENTENCES)

    def online_load_pushed(self) -> Any:
        return self.load("user/trained")

    def online_train_with_code(self) -> Any:
        """With an encoder that comes with code of its own."""
        model = SpanMarkerModel.from_pretrained(
            "user/encoder-with-code",
            labels=LABELS,
            entity_max_length=3,
            candidates_per_word=None,
            trust_remote_code=True,
        )
        torch.nn.init.zeros_(model.classifier.bias)  # which makes a new model find nothing
        self.train(model, "trained-with-code")
        return model.predict(SENTENCES)

    def online_load_with_code(self) -> Any:
        return self.load("user/trained-with-code", trust_remote_code=True)

    def online_download(self) -> Any:
        """What a tool other than ours put into the cache, without the card."""
        self.model.push_to_hub("user/downloaded")
        snapshot_download("user/downloaded", ignore_patterns="README.md")

    @property
    def online(self) -> Any:
        return json.loads((self.folder / "online.json").read_text(encoding="utf-8"))

    def offline_load(self) -> Any:
        return self.load("user/tiny")

    def offline_load_commit(self) -> Any:
        return self.load("user/tiny", revision=self.online["push"]["commit"])

    def offline_load_downloaded(self) -> Any:
        return self.load("user/downloaded")

    def offline_load_missing(self) -> Any:
        return self.refuse("user/nothing")


def main(folder: Path, kind: str) -> None:
    torch.set_num_threads(1)
    steps = Steps(folder)
    names = [name.removeprefix(f"{kind}_") for name in vars(Steps) if name.startswith(f"{kind}_")]
    results: dict[str, Any] = {}
    for name in names:
        with Attempt() as attempt:
            results[name] = getattr(steps, f"{kind}_{name}")()
        if attempt.traceback:
            results[name] = {"traceback": attempt.traceback}
    (folder / f"{kind}.json").write_text(json.dumps(results), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
