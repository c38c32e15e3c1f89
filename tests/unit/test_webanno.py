"""WebAnno TSV 3, as WebAnno and INCEpTION export it."""

import pytest
from annotation_files import entity, read_text

NE = "#T_SP=de.tudarmstadt.ukp.dkpro.core.api.ner.type.NamedEntity|identifier|value"
FILE = f"""\
#FORMAT=WebAnno TSV 3.2
#T_SP=webanno.custom.Topic|kind
{NE}
#T_RL=webanno.custom.Relation|type|BT_de.tudarmstadt.ukp.dkpro.core.api.ner.type.NamedEntity


#Text=Ann Lee met 💩 Bob in Köln.
1-1\t0-3\tAnn\t_\t*[1]\tPER[1]\t_\t_\t
1-2\t4-7\tLee\t_\t*[1]|*[2]\tPER[1]|NAME\\_2[2]\t_\t_\t
1-3\t8-11\tmet\t_\t_\t_\t_\t_\t
1-4\t12-14\t💩\t*\t*\t*\t_\t_\t
1-5\t15-18\tBob\tx\t*\tPER\tlikes\t1-1[1_0]\t
1-6\t19-21\tin\t_\t_\t_\t_\t_\t
1-7\t22-26\tKöln\t_\t*\tLOC\t_\t_\t
1-8\t26-27\t.\t_\t_\t_\t_\t_\t

#Text=Zweizeilig:
#Text=Frankfurtreise
2-1\t28-38\tZweizeilig\t_\t_\t_\t_\t_\t
2-2\t38-39\t:\t_\t_\t_\t_\t_\t
2-3\t40-54\tFrankfurtreise\t_\t_\t_\t_\t_\t
2-3.1\t40-49\tFrankfurt\t_\t*\tLOC\t_\t_\t
"""
ROWS = [
    {
        "text": "Ann Lee met 💩 Bob in Köln.",
        "entities": [entity("PER", 0, 7), entity("NAME_2", 4, 7), entity("PER", 14, 17), entity("LOC", 21, 25)],
    },
    {"text": "Zweizeilig:\nFrankfurtreise", "entities": [entity("LOC", 12, 21)]},
]


@pytest.mark.parametrize("name", ["x.tsv", "x.txt", "x"])
def test_annotations_are_read(tmp_path, caplog, name):
    assert read_text(tmp_path, FILE, name) == ROWS
    assert "1 entities without a value of NamedEntity|value are left out: lines [11]" in caplog.text
    assert "relations of the layers ['Relation'] are not read: lines [12]" in caplog.text


def test_offsets_may_count_characters(tmp_path):
    lines = FILE.split("\n\n#Text=Zwei")[0].split("\n")
    for index in range(10, len(lines)):  # from the character of two units on
        number, offsets, *cells = lines[index].split("\t")
        start, end = map(int, offsets.split("-"))
        lines[index] = "\t".join([number, f"{start - (index > 10)}-{end - 1}", *cells])
    assert read_text(tmp_path, "\n".join(lines), "x.tsv") == ROWS[:1]


def test_texts_may_be_escaped(tmp_path):
    content = f"#FORMAT=WebAnno TSV 3.3\n{NE}\n\n\n#Text=A\\\\B\\tC\n1-1\t0-3\tA\\\\B\t*\tX\t\n1-2\t4-5\tC\t*\tY\t\n"
    (row,) = read_text(tmp_path, content, "x.tsv")
    assert row == {"text": "A\\B\tC", "entities": [entity("X", 0, 3), entity("Y", 4, 5)]}


def test_chains_may_come_before_spans_and_texts_may_have_no_tokens(tmp_path):
    content = (
        "\ufeff#FORMAT=WebAnno TSV 3.3\n#T_CH=x.CoreferenceLink|referenceType|referenceRelation\n"
        f"{NE}\n\n\n#Text= \n\n# a comment\n#Sentence.id=s2\n#Text=a_b C\n1-1\t2-5\ta\\_b\tt[1]\t*->1-1\t_\t_\t\n"
        "1-2\t6-7\tC\t_\t_\t*[1]|*[2]\tX[1]|Y\\|Z[2]\t\n\n\n \n"
    )
    (row,) = read_text(tmp_path, content, "x.tsv")
    assert row == {"text": "a_b C", "entities": [entity("X", 4, 5), entity("Y|Z", 4, 5)]}


def test_another_layer_can_be_read(tmp_path):
    for layer in ("Topic|kind", "webanno.custom.Topic|kind"):
        rows = read_text(tmp_path, FILE, "x.tsv", layer=layer)
        assert rows[0]["entities"] == [entity("x", 14, 17)]
    with pytest.raises(ValueError, match=r"layer='Topic' is not one of \['Topic\|kind', 'NamedEntity\|identifier'"):
        read_text(tmp_path, FILE, "x.tsv", layer="Topic")
    with pytest.raises(ValueError, match=r"it is unclear which layer has the entities; there are \['Topic\|kind', 'X"):
        read_text(tmp_path, FILE.replace("NamedEntity", "X"), "x.tsv")


BAD = {
    "version": (FILE.replace("TSV 3.2", "TSV 1"), "line 1: '#FORMAT=WebAnno TSV 1' is not '#FORMAT=WebAnno TSV 3'"),
    "offsets": (
        FILE.replace("22-26", "22-25"),
        "line 8, row 0: the offsets of the tokens do not fit the text 'Ann Lee",
    ),
    "value": (
        FILE.replace("PER[1]|", "PER[1"),
        r"line 9, row 0: 'PER\[1NAME.*' is not of the form LABEL or LABEL\[1\]",
    ),
    "columns": (
        FILE.replace("\tin\t_\t_\t_\t_\t_", "\tin\t_"),
        r"line 13, row 0: .* has no NamedEntity\|value or",
    ),
    "no text": (FILE.replace("#Text=Ann", "#Ann"), "line 8, row 0: there is no '#Text=' above the first token"),
    "stray": (FILE + "stray\n", "line 23, row 1: 'stray' is neither a token nor a comment"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused(tmp_path, name):
    content, message = BAD[name]
    with pytest.raises(ValueError, match=rf"x\.tsv, {message}"):
        read_text(tmp_path, content, "x.tsv", format="webanno")
