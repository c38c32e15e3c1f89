"""The command ``span-marker``, as real processes and as forks of this one."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from functools import partial

import pytest
from commands import FORKS, PATIENCE, Fork, run, start
from tiny import SENTENCES, TAGS, build_model

from span_marker import SpanMarkerModel, read_annotations

IN_TURN = """
import json, sys
from span_marker_cli import main
for arguments in json.loads(sys.argv[1]):
    try:
        main(arguments)
    except SystemExit as end:
        print(f"{arguments[0]} ends with {end.code}")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, an encoder, annotated files and texts."""
    folder = tmp_path_factory.mktemp("files")
    model = build_model(entity_max_length=3)
    model.save_pretrained(folder / "model")
    model.encoder.save_pretrained(folder / "encoder")
    model.tokenizer.tokenizer.save_pretrained(folder / "encoder")
    rows = zip(SENTENCES, TAGS, strict=True)
    lines = ["\n".join(f"{w} {t}" for w, t in zip(words, tags, strict=True)) for words, tags in rows if words]
    (folder / "train.conll").write_text("\n\n".join(lines * 4) + "\n")
    (folder / "dev.conll").write_text("\n\n".join(lines) + "\n")
    (folder / "annotated.jsonl").write_text('{"text": "Ann left", "entities": []}\n')
    (folder / "texts.jsonl").write_text(
        "".join(json.dumps({"id": n, "text": " ".join(words)}) + "\n" for n, words in enumerate(SENTENCES * 400))
    )
    return folder


def test_help_does_not_wait_for_torch():
    code = "import sys; sys.argv = ['span-marker', '--help']\nfrom span_marker_cli import main\ntry: main()\n"
    code += "except SystemExit: print(sorted({'torch', 'transformers', 'span_marker', 'datasets'} & set(sys.modules)))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "predict" in output
    assert output.splitlines()[-1] == "[]"


@pytest.mark.parametrize("given", [None, "7"])
def test_kernels_for_few_lengths_are_kept_in_memory(given):
    code = "import os; from span_marker_cli.main import options; options()\n"
    code += "print(os.environ['ONEDNN_PRIMITIVE_CACHE_CAPACITY'])"
    environment = {**os.environ, **({} if given is None else {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": given})}
    command = [sys.executable, "-c", code]
    output = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    assert output.strip() == (given or "64")


def test_the_script_is_installed():
    from importlib.metadata import entry_points

    (script,) = (point for point in entry_points(group="console_scripts") if point.name == "span-marker")
    assert script.load().__module__ == "span_marker_cli.main"


def test_commands_import_what_they_need(folder, tmp_path):
    """In one process, to which nothing has been imported."""
    model, dev = folder / "model", folder / "dev.conll"
    options = ("--model-max-length", 64, "--use_cpu", "--max-steps", 1)
    (folder / "text.txt").write_text("Amelia flew to Paris .\n")
    commands = [
        ("version",),
        ("convert", dev, tmp_path / "dev.jsonl"),
        ("validate", dev),
        ("suggest-limits", dev, "--encoder", folder / "encoder"),
        ("info", model),
        ("card", model),
        ("predict", model, dev),
        ("redact", model, folder / "text.txt", "--output", tmp_path / "redacted.txt"),
        ("evaluate", model, dev, "--device", "cpu"),
        ("analyze", model, dev),
        ("tune-thresholds", model, dev, "--output", tmp_path / "tuned"),
        ("bench", model, dev, "--sentences", 4, "--rounds", 1),
        ("train", dev, "--encoder", folder / "encoder", "--output", tmp_path / "new", *options),
        ("calibrate", model, dev, "--output", tmp_path / "calibrated"),
    ]
    given = json.dumps([[*map(str, arguments)] for arguments in commands])
    process = start(given, program=("-c", IN_TURN))
    output, errors = process.communicate(timeout=PATIENCE)
    ends = re.findall(r"^(\S+) ends with (\S+)$", output, re.MULTILINE)
    assert ends == [(name, "1" if name == "calibrate" else "0") for name, *_ in commands], errors
    assert re.search(r"error: the model proposes \d+ entities in the held-out data, but no temperature", errors)


@pytest.mark.slow
def test_train_evaluate_predict(folder, tmp_path):
    settings = tmp_path / "settings.yaml"
    options = f"learning-rate: 5.0e-3\nseed: 3\ndev: {folder / 'dev.conll'}\nmodel_max_length: 48\n"
    settings.write_text(options)
    arguments = ["train", folder / "train.conll", "--encoder", folder / "encoder"]
    arguments += ["--output", tmp_path / "model", "--config", settings, "--use_cpu"]
    _, plan = run(*arguments, "--epochs", 7, "--dry-run")
    assert f"{len(read_annotations(folder / 'dev.conll'))} to evaluate on" in plan
    assert "texts of up to 48 tokens" in plan
    arguments += ["--model-max-length", 64]
    assert "learning_rate=0.005, num_train_epochs=7" in plan
    assert "labels: LOC, ORG, PER" in plan
    assert not (tmp_path / "model" / "config.json").exists()
    table, _ = run(*arguments, "--epochs", 40, "--per-device-train-batch-size=4", "--eval_strategy", "no")
    evaluated, _ = run("evaluate", tmp_path / "model", folder / "dev.conll", "--json", "--device", "cpu")
    metrics = json.loads(evaluated)
    assert f"{metrics['overall_f1']:.3f}" in table
    assert metrics["overall_f1"] > 0.5
    found, _ = run("predict", tmp_path / "model", "-", "--no-progress", input_text="Amelia flew to Paris .\n")
    (row,) = map(json.loads, found.splitlines())
    assert row["text"] == "Amelia flew to Paris ."
    report, _ = run("analyze", tmp_path / "model", folder / "dev.conll", "--html", tmp_path / "errors.html")
    assert "precision" in report
    assert (tmp_path / "errors.html").stat().st_size > 1_000
    _, errors = run(*arguments, "--learning_rat", "1", status=1)
    assert errors.strip().splitlines()[-1] == "error: there is no option --learning_rat: see span-marker train --help"


def test_data_commands(folder, tmp_path):
    run("convert", folder / "dev.conll", tmp_path / "dev.jsonl")
    run("convert", tmp_path / "dev.jsonl", tmp_path / "again.conll")
    assert len((tmp_path / "again.conll").read_text().split()) == len((folder / "dev.conll").read_text().split())
    output, _ = run("validate", folder / "dev.conll", "--json")
    assert json.loads(output)["problems"] == []
    (tmp_path / "bad.jsonl").write_text('{"text": "Ann went", "entities": [{"label": "PER", "start": 0, "end": 5}]}\n')
    output, _ = run("validate", tmp_path / "bad.jsonl", status=1)
    assert "begins or ends inside a word" in output
    (tmp_path / "broken.txt").write_text("Ann\tB-PER\tx\n\nBob\t-\n\nOslo\tB-LOC\tx\n")
    output, _ = run("validate", tmp_path / "broken.txt", "--read", "tag_columns=1", status=1)
    assert re.search(r"error +unreadable-row +1 .*\n.*broken.txt, line 3, row 1: 'Bob", output)
    output, _ = run("suggest-limits", folder / "dev.conll", "--encoder", folder / "encoder")
    assert "suggested: entity_max_length=" in output


def test_model_commands(folder, tmp_path):
    facts = json.loads(run("info", folder / "model", "--json")[0])
    assert facts["thresholds"] is facts["relation_thresholds"] is None
    assert facts["labels"] == ["PER", "ORG", "LOC"] or set(facts["labels"]) == {"PER", "ORG", "LOC"}
    assert (facts["relation labels"], facts["labels of rules"]) == (None, None)
    card, _ = run("card", folder / "model")
    assert "span-marker" in card
    texts = [folder / "texts.jsonl", folder / "dev.conll"]  # texts and lists of words
    rate = json.loads(run("bench", folder / "model", *reversed(texts), "--sentences", 20, "--rounds", 1, "--json")[0])
    assert [pace["batch_size"] for pace in rate["paces"]] == [1, 8, 32]
    assert "torch" in run("version")[0]
    assert run("version") == run("--version")
    assert re.search(r"predicts with all candidates  (yes|no)\n", run("info", folder / "model")[0])


@pytest.mark.slow
def test_quiet_commands_say_nothing_but_results(folder, tmp_path):
    process = start("--quiet", "predict", folder / "model", "-", stdin=subprocess.PIPE)  # bars are hidden by imports
    assert process.communicate("Amelia flew to Paris .\n", timeout=PATIENCE)[1] == ""
    assert run("--quiet", "convert", folder / "dev.conll", tmp_path / "x.jsonl") == ("", "")
    table, errors = run("evaluate", folder / "model", tmp_path / "x.jsonl", "--device", "cpu")
    assert "overall" in table
    assert "eval_loss" not in errors


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("predict", "no-such-model", "-"), 1, "error: "),
        (("predict", "{model}", "no-such-file"), 1, "error: there is no no-such-file"),
        (("predict", "{model}", "-", "--batch-size", "0"), 2, "--batch-size"),
        (("predict", "{model}", "-", "--threshold", "2"), 1, "error: --threshold 2.0 must be from 0 to 1"),
        (("nothing",), 2, "No such command"),
        (("evaluate", "{model}"), 2, "Missing argument"),
        (("train", "{model}/config.json"), 1, "error: "),
        (("convert", "{model}/../dev.conll", "{model}/../x/../dev.conll"), 1, "cannot be both input and output"),
        (
            ("calibrate", "{model}", "{model}/../dev.conll", "-o", "{model}/../encoder"),
            1,
            "encoder already has a model: pass an empty folder as --output",
        ),
        (
            ("evaluate", "{model}", "{model}/../dev.conll", "{model}/../annotated.jsonl"),
            1,
            "dev.conll has 'tokens', but {model}/../annotated.jsonl has 'text'",
        ),
        (
            ("validate", "{model}/../dev.conll", "{model}/../dev.conll"),
            1,
            "dev.conll is given twice",
        ),
        (("info", "{model}/config.json"), 1, "config.json' is a file: a model is a folder"),
        (
            ("predict", "{model}", "-", "--device", "gpu"),
            1,
            "error: --device 'gpu' cannot be used",
        ),
        (("card", "{model}", "-o", "{model}"), 1, "model is a folder: pass a file"),
        (
            ("analyze", "{model}", "{model}/../dev.conll", "--html", "{model}"),
            1,
            "model is a folder: pass a file",
        ),
        (("tune-thresholds", "{model}", "{model}/../dev.conll", "-o", "{model}/config.json"), 1, "is a file: pass a f"),
        (
            ("calibrate", "no-such-model", "{model}/../dev.conll"),
            1,
            "error: no-such-model is not a folder: pass",
        ),
    ],
)
def test_errors_are_a_line(folder, arguments, status, message):
    output, errors = run(*(argument.format(model=folder / "model") for argument in arguments), status=status)
    assert output == ""
    assert message.format(model=folder / "model") in errors
    assert "Traceback" not in errors
    if status == 1:
        assert len([line for line in errors.splitlines() if line.startswith("error: ")]) == 1


def test_errors_are_debugged():
    assert "Traceback" in run("--debug", "info", "no-such-model", status=1)[1]


@pytest.mark.skipif(os.name == "nt", reason="interrupts are signals of groups of processes")
@pytest.mark.parametrize("num_workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_an_interrupted_run_ends_with_a_line(folder, tmp_path, num_workers):
    """A terminal interrupts all processes of a command, workers that still start among them."""
    arguments = ["predict", folder / "model", folder / "texts.jsonl", "--no-progress", "--num-workers", num_workers]
    # In jobs of the background, interrupts are ignored.
    process = start(
        *arguments, start_new_session=True, preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    )
    process.stdout.readline()
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    assert errors == "interrupted\n"
    assert process.returncode == 130


def test_redacted_texts_are_apart_from_what_was_redacted(folder, tmp_path):
    arguments = ["redact", folder / "model", "-", "--map", tmp_path / "map", "--report", tmp_path / "report"]
    redacted, table = run(*arguments, "--threshold", 0.3, input_text="Amelia flew to Paris .\n")
    assert json.loads((tmp_path / "report").read_text())["num_texts"] == 1
    assert "1 texts" in table
    (kept,) = map(json.loads, (tmp_path / "map").read_text().splitlines())
    assert all(old not in redacted for _, _, old in kept["pieces"])
    _, errors = run("redact", folder / "model", "-", "--how", "hash", status=1, input_text="a")
    assert "needs a secret key: pass --key-file, such as" in errors
    _, errors = run("redact", folder / "model", "-", "--how", "hash", "--key-env", "NO_SUCH_VARIABLE", status=1)
    assert "--key-env NO_SUCH_VARIABLE: this environment variable is not set" in errors


def test_a_report_replaces_nothing(folder, tmp_path):
    (tmp_path / "x.txt").write_text("Amelia left")
    arguments = ["redact", folder / "model", tmp_path / "x.txt", "-o", tmp_path / "y.txt", "--map", tmp_path / "map"]
    for name in ("x.txt", "y.txt", "map"):
        _, errors = run(*arguments, "--overwrite", "--report", tmp_path / name, status=1)
        assert f"{name} is an input, the output or the map: choose another file" in errors
    (tmp_path / "report").touch()
    assert "report exists: pass --overwrite" in run(*arguments, "--report", tmp_path / "report", status=1)[1]
    assert {path.name for path in tmp_path.iterdir()} == {"x.txt", "report"}


def test_whoever_reads_the_output_may_leave(folder):
    process = start("predict", folder / "model", folder / "texts.jsonl", "--no-progress")
    process.stdout.readline()
    process.stdout.close()
    with process.stderr:
        errors = process.stderr.read()
    process.wait(timeout=PATIENCE)
    assert errors == ""
    assert process.returncode == 1


@pytest.mark.skipif(not FORKS, reason="runs are forks")
def test_killed_runs_are_resumed(folder, tmp_path):
    kill_and_resume(folder, tmp_path, 2, num_workers=1)


@pytest.mark.slow
@pytest.mark.skipif(not FORKS, reason="runs are forks")
def test_killed_runs_with_workers_are_resumed(folder, tmp_path):
    kill_and_resume(folder, tmp_path, 1, num_workers=2)


def kill_and_resume(folder, tmp_path, num_kills, num_workers):
    """Kill a run so many times while it writes, resume it to its end, and compare with what one run finds."""
    output, chance = tmp_path / "out.jsonl", random.Random(num_kills)
    arguments = ["predict", folder / "model", folder / "texts.jsonl", "-o", output, "--no-progress", "--resume"]
    arguments += ["--num-workers", num_workers]
    sizes = []
    for _ in range(num_kills):
        fork = Fork(*arguments)
        part, deadline = tmp_path / "out.jsonl.part", time.monotonic() + PATIENCE
        before = part.stat().st_size if part.exists() else 0
        while not (part.exists() and part.stat().st_size > before) and fork.process.is_alive():
            assert time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(chance.random() * 0.2)
        fork.process.kill()
        fork.wait()
        if output.exists():
            break
        sizes.append(part.stat().st_size)
    assert sizes
    assert sizes == sorted(set(sizes)), "each run adds to what the one before has left"
    run(*arguments)
    rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert [row["id"] for row in rows] == list(range(len(SENTENCES) * 400))
    model = SpanMarkerModel.from_pretrained(folder / "model")
    found = model.predict([" ".join(words) for words in SENTENCES], is_split_into_words=False)
    for row in rows:
        expected = found[row["id"] % len(SENTENCES)]
        assert [(e["label"], e["char_start_index"]) for e in row["entities"]] == [
            (e["label"], e["char_start_index"]) for e in expected
        ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl"]


def test_errors_and_warnings_name_options(folder, tmp_path):
    (tmp_path / "latin.csv").write_bytes("text,start,end,label\nZoë,0,3,PER\n".encode("latin-1"))
    (tmp_path / "other.csv").write_text("body,start,end,label\nAnn,0,3,PER\n")
    (tmp_path / "texts.csv").write_text("body;label\nAnn flew;x\n")
    _, errors = run("validate", tmp_path / "latin.csv", status=1)
    assert "pass --read encoding= with the encoding of the file, such as --read encoding='cp1252'" in errors
    assert run("validate", tmp_path / "latin.csv", "--read", "encoding=latin-1")[0]
    _, errors = run("convert", tmp_path / "other.csv", tmp_path / "x.jsonl", status=1)
    assert "pass --read columns=" in errors
    run("convert", tmp_path / "other.csv", tmp_path / "x.jsonl", "--read", "columns={text: body}")
    for arguments, message in (
        ((tmp_path / "x.jsonl", tmp_path / "x.xlsx"), "pass --to one of"),
        (
            (tmp_path / "x.jsonl", tmp_path / "x.csv", "--write", "offsets=utf-8"),
            "--write offsets='utf-8' does not apply",
        ),
        ((tmp_path / "x.jsonl", tmp_path / "y.jsonl", "--read", "shape=1"), "--read shape: the name must be one of"),
    ):
        assert message in run("convert", *arguments, status=1)[1]
    output = tmp_path / "out.jsonl"
    _, errors = run("predict", folder / "model", tmp_path / "texts.csv", "-o", output, status=1)
    assert "pass --text-column with the name of one" in errors
    run("predict", folder / "model", tmp_path / "texts.csv", "-o", output, "--text-column", "body")
    (tmp_path / "numbered.conll").write_text("1 Ann O\n2 flew O\n")
    chosen = ("predict", folder / "model", tmp_path / "numbered.conll", "-o", tmp_path / "words.jsonl")
    assert "numbers the words, such as '1': pass --token-column the column" in run(*chosen, status=1)[1]
    run(*chosen, "--token-column", "1", "--overwrite")
    assert json.loads((tmp_path / "words.jsonl").read_text())["tokens"] == ["Ann", "flew"]
    _, errors = run("predict", folder / "model", tmp_path / "texts.csv", "-o", output, status=1)
    assert "pass --resume to continue it, or --overwrite to start again" in errors
