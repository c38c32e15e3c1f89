"""CoNLL-U with tags of entities in MISC."""

import pytest
from annotation_files import entity, read_text

FILE = """\
# newdoc id = d1
# sent_id = s1
# text = Vámonos a Nueva York.
1-2\tVámonos\t_\t_\t_\t_\t_\t_\t_\t_
1\tVamos\tir\tVERB\t_\tMood=Imp\t0\troot\t_\tname=O
2\tnos\tnosotros\tPRON\t_\t_\t1\tobj\t_\tname=O
3\ta\ta\tADP\t_\t_\t5\tcase\t_\tname=O
4\tNueva\tNueva\tPROPN\t_\t_\t1\tobl\t_\tname=B-LOC
4.1\tnull\t_\t_\t_\t_\t_\t_\t_\t_
5\tYork\tYork\tPROPN\t_\t_\t4\tflat\t_\tSpaceAfter=No|name=I-LOC
6\t.\t.\tPUNCT\t_\t_\t1\tpunct\t_\t_

# newdoc id = d2
# sent_id = s2
1\tAna\tAna\tPROPN\t_\t_\t0\troot\t_\tname=B-PER
"""
ROWS = [
    {"id": "s1", "tokens": ["Vamos", "nos", "a", "Nueva", "York", "."], "entities": [entity("LOC", 3, 5)]},
    {"id": "s2", "tokens": ["Ana"], "entities": [entity("PER", 0, 1)]},
]


@pytest.mark.parametrize("name", ["x.conllu", "x.conll", "x.txt", "x.unknown"])
@pytest.mark.parametrize("key", ["name", "NE", "NER"])
def test_tags_are_those_of_the_last_column(tmp_path, name, key):
    content = FILE.replace("name=", f"{key}=")
    assert read_text(tmp_path, content, name) == ROWS
    assert read_text(tmp_path, content.replace("\n", "\r\n"), name) == ROWS


def test_odd_files_are_read(tmp_path):
    content = (
        "\ufeff\n" + FILE.replace("Nueva\tN", "Nueva Vieja\tN").replace("name=O", "_") + "\n \n# only a comment\n\n"
    )
    rows = read_text(tmp_path, content, "x.conllu")
    assert rows == [{**ROWS[0], "tokens": ["Vamos", "nos", "a", "Nueva Vieja", "York", "."]}, ROWS[1]]


def test_documents_are_numbered(tmp_path):
    rows = read_text(tmp_path, FILE, "x.conllu", documents=True)
    assert [(row["document_id"], row["sentence_id"]) for row in rows] == [(0, 0), (1, 0)]
    with pytest.raises(ValueError, match="has no '# newdoc' lines"):
        read_text(tmp_path, FILE.replace("newdoc", "doc"), "x.conllu", documents=True)


def test_bad_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"x\.conllu has no entity tags: the last column .* one of \['name=', 'NE="):
        read_text(tmp_path, FILE.replace("name=", "lemma="), "x.conllu")
    with pytest.raises(ValueError, match=r"x\.conllu has entity tags under several keys, \['name', 'NE'\]"):
        read_text(tmp_path, FILE.replace("name=I", "NE=I"), "x.conllu")
    with pytest.raises(ValueError, match=r"x\.conllu, line 6: .* has 9 columns, not 10"):
        read_text(tmp_path, FILE.replace("PRON\t_\t_", "PRON\t_"), "x.conllu")
    with pytest.raises(ValueError, match=r"x\.conllu, line 5, row 0: the tag 'LOC' has no prefix, but 'B-PER' has one"):
        read_text(tmp_path, FILE.replace("B-LOC", "LOC"), "x.conllu")
