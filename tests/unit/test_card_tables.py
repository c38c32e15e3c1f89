from tiny import LABELS, encoder_config

from span_marker import SpanMarkerConfig
from span_marker.checkpoints.card_tables import OUTDATED, relation_table, results_table
from span_marker.checkpoints.training_record import Spread, TrainingRecord


def lines(table):
    """The cells of each line of a table but the second, which is a rule."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return [rows[0], *rows[2:]]


def relation_config(**settings):
    return SpanMarkerConfig(
        encoder=encoder_config("bert", 64), labels=LABELS, relation_labels=["knows", "lives in"], **settings
    )


def figures(f1, number=1):
    return {"precision": f1 + 0.01, "recall": f1 - 0.01, "f1": f1, "number": number}


def overall(f1, prefix):
    return {f"{prefix}{name}": value for name, value in figures(f1).items() if name != "number"}


def record(**results):
    spread = Spread.from_counts([1])
    return TrainingRecord({}, [], spread, spread, results=results)


def test_relations_are_listed_with_what_they_join():
    types = [["PER", "lives in", "LOC"], ["ORG", "lives in", "LOC"]]
    table = relation_table(relation_config(symmetric_relations=["knows"], relation_types=types))
    assert lines(table) == [
        ["Relation", "Direction", "Joins"],
        ["knows", "none", "any entities"],
        ["lives in", "head to tail", "PER → LOC, ORG → LOC"],
    ]
    for open_types in (None, "any"):
        table = relation_table(relation_config(relation_types=open_types))
        assert [row[1:] for row in lines(table)[1:]] == [["head to tail", "any entities"]] * 2
    both_ways = [["PER", "knows", "ORG"], ["ORG", "knows", "PER"], ["PER", "knows", "PER"]]
    table = relation_table(relation_config(symmetric_relations=["knows"], relation_types=both_ways))
    assert lines(table)[1] == ["knows", "none", "ORG and PER, PER and PER"]
    assert relation_table(SpanMarkerConfig(encoder=encoder_config("bert", 64), labels=LABELS)) == ""


def test_results_have_a_table_of_entities_and_one_of_relations():
    metrics = {
        **overall(0.9, "test_overall_"),
        "test_LOC": figures(0.8),
        "test_PER": figures(0.7),
        **overall(0.6, "test_relation_"),
        **overall(0.65, "test_relation_boundaries_"),
        **overall(0.75, "test_relation_gold_"),
        "test_relation_macro_f1": 0.5,
        "test_relation_knows": figures(0.5),
        "test_relation_boundaries_knows": figures(0.55),
        "test_relation_gold_knows": figures(0.57),
    }
    title, entities, sentence, found = results_table(record(test=metrics)).split("\n\n")
    assert title == "Evaluation `test`:"
    assert [row[0] for row in lines(entities)] == ["Label", "**all**", "LOC", "PER"]
    assert lines(entities)[2][1:] == ["0.8100", "0.7900", "0.8000"]
    assert "correct if" in sentence
    assert lines(found) == [
        ["Relation", "Precision", "Recall", "F1", "F1 of words alone", "F1 with gold entities"],
        ["**all**", "0.6100", "0.5900", "0.6000", "0.6500", "0.7500"],
        ["knows", "0.5100", "0.4900", "0.5000", "0.5500", "0.5700"],
    ]


def test_results_without_relations_or_gold_entities():
    metrics = {**overall(0.9, "eval_overall_"), "eval_LOC": figures(0.8)}
    table = results_table(record(eval=metrics))
    assert [row[0] for row in lines(table.split("\n\n")[1])] == ["Label", "**all**", "LOC"]
    assert table.count("\n\n") == 1
    metrics |= {**overall(0.5, "eval_relation_"), "eval_relation_knows": figures(0.4)}
    outdated = record(eval=metrics)
    outdated.outdated = {"eval"}
    table = results_table(outdated)
    assert table.startswith(f"Evaluation `eval`{OUTDATED}:\n\n")
    assert lines(table.split("\n\n")[3])[2] == ["knows", "0.4100", "0.3900", "0.4000", "", ""]
    assert results_table(None) == results_table(record(eval={"eval_f1": 0.5})) == ""
