"""Column files: what is written is read back as the same, and what cannot be read or written is refused."""

import re

import pytest
from annotation_files import CONLL_WORDS, entity, flat, lists_of, read_text, round_trip, unique, word_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from span_marker import read_annotations
from span_marker.core.labels import SCHEMES, entities_to_tags, tags_to_entities
from span_marker.data.conll import read_words, write_conll
from span_marker.data.text_files import SourceFile

CONLL = """-DOCSTART- -X- -X- O

EU NNP B-NP B-ORG
rejects VBZ B-VP O
German JJ B-NP B-MISC

Peter NNP B-NP B-PER
Blackburn NNP I-NP I-PER

-DOCSTART- -X- -X- O

BRUSSELS NNP B-NP B-LOC
"""
CONLL_ROWS = [
    {"tokens": ["EU", "rejects", "German"], "entities": [entity("ORG", 0, 1), entity("MISC", 2, 3)]},
    {"tokens": ["Peter", "Blackburn"], "entities": [entity("PER", 0, 2)]},
    {"tokens": ["BRUSSELS"], "entities": [entity("LOC", 0, 1)]},
]


@pytest.mark.parametrize(
    "change", [("\n", "\n"), ("\n", "\r\n"), ("\n", "\r"), (" ", "\t"), (" ", "   "), ("O\n", "O  \n")]
)
def test_columns_are_read(tmp_path, change):
    assert read_text(tmp_path, CONLL.replace(*change)) == CONLL_ROWS


def test_documents_are_numbered(tmp_path):
    rows = read_text(tmp_path, CONLL, documents=True)
    assert [(row.pop("document_id"), row.pop("sentence_id")) for row in rows] == [(0, 0), (0, 1), (1, 0)]
    assert rows == CONLL_ROWS
    rows = read_text(tmp_path, "x O\n\n-DOCSTART- O\n-DOCSTART- O\ny O\n", documents=True)
    assert [(row["document_id"], row["tokens"]) for row in rows] == [(0, ["x"]), (1, ["y"])]


def test_a_document_start_ends_a_sentence(tmp_path):
    assert [row["tokens"] for row in read_text(tmp_path, "a O\n-DOCSTART- O\nb O")] == [["a"], ["b"]]


def test_other_columns_can_be_chosen(tmp_path):
    rows = read_text(tmp_path, "1\tAnn\tB-PER\t_\n2\tLee\tI-PER\t_\n", token_column=1, tag_columns=2)
    assert rows == [{"tokens": ["Ann", "Lee"], "entities": [entity("PER", 0, 2)]}]


def test_several_tag_columns_are_levels(tmp_path):
    content = "c\tB-DNA\tB-protein\tO\n-\tI-DNA\tO\tO\nfos\tI-DNA\tB-DNA\tB-DNA\n"
    expected = [entity("DNA", 0, 3), entity("protein", 0, 1), entity("DNA", 2, 3)]
    for columns in ("all", [1, 2, 3], range(1, 4), (-3, -2, -1)):
        assert read_text(tmp_path, content, tag_columns=columns) == [
            {"tokens": ["c", "-", "fos"], "entities": expected}
        ]


def test_a_comment_is_no_word_and_a_word_is_no_comment(tmp_path):
    content = (
        "\ufeff# id = 1\n# text = # is a word\n#\tO\n#tag\tB-X\n# \tO\n\n# newdoc\n# id 7 domain=en\n#\tO\n\n#\tB-X\n"
    )
    rows = read_text(tmp_path, content)
    assert [row["tokens"] for row in rows] == [["#", "#tag", "# "], ["#"], ["#"]]
    rows = read_text(tmp_path, "# id 5\tdomain=en\n# _ _ O\nAnn _ _ B-PER\n\n# key = value\nBob _ _ B-PER\n")
    assert [row["tokens"] for row in rows] == [["#", "Ann"], ["Bob"]]


def test_only_line_ends_end_lines_and_only_tabs_part_cells(tmp_path):
    rows = read_text(tmp_path, "a\u2028b\tO\nc\u00a0d\tB-X\ne f\tI-X\n\x0b\tO\n")
    assert rows == [{"tokens": ["a\u2028b", "c\u00a0d", "e f", "\x0b"], "entities": [entity("X", 1, 3)]}]


GERMEVAL = (
    "#\thttp://de.example.org/1 [2009-10-17]\n1\tAnn\tB-PER\tO\n2\taus\tO\tO\n3\tKöln\tB-LOC\tO\n\n"
    "#\tn-tv.de vom 26.02.2005 [2005-02-26] \n1\tSV\tB-ORG\tO\n2\tKöln\tI-ORG\tB-LOC\n\n#\n1\t#\tO\tO\n"
)


def test_comments_may_have_a_tab(tmp_path):
    rows = read_text(tmp_path, GERMEVAL, token_column=1, tag_columns=[2, 3])
    assert rows == [
        {"tokens": ["Ann", "aus", "Köln"], "entities": [entity("PER", 0, 1), entity("LOC", 2, 3)]},
        {"tokens": ["SV", "Köln"], "entities": [entity("ORG", 0, 2), entity("LOC", 1, 2)]},
        {"tokens": ["#"], "entities": []},
    ]


CONLL_2012 = """#begin document (nw/wsj/00/wsj_0001); part 000
nw/wsj/00/wsj_0001   0   0   The   DT   (TOP(S(NP*   -   -   -   -   (ORG(GPE*   (ARG0*   *   (3
nw/wsj/00/wsj_0001   0   1   U.S.   NNP   *   -   -   -   -   *)   *   *   -
nw/wsj/00/wsj_0001   0   2   Army   NNP   *)   -   -   -   -   *)   *)   *   3)
nw/wsj/00/wsj_0001   0   3   #   #   *))   -   -   -   -   *   *   (V*)   -

nw/wsj/00/wsj_0001   0   0   Paris   NNP   (TOP*)   -   -   -   -   (GPE)   (12)

#end document
#begin document (nw/wsj/00/wsj_0001); part 001
nw/wsj/00/wsj_0001   1   0   Yes   UH   (TOP*)   -   -   -   -   *   *   -

#end document
"""


@pytest.mark.parametrize("name", ["x.conll", "x.txt", "x.v4_gold_conll", "x_gold_conll"])
@pytest.mark.parametrize("separator", ["   ", "\t"])
def test_files_of_conll_2012_are_read(tmp_path, name, separator):
    """Its sentences have as many columns as they have predicates."""
    content = CONLL_2012.replace("   ", separator)
    rows = read_text(tmp_path, content, name, documents=True)
    entities = [[entity("ORG", 0, 3), entity("GPE", 0, 2)], [entity("GPE", 0, 1)], []]
    assert [row["entities"] for row in rows] == entities
    assert [row["tokens"] for row in rows] == [["The", "U.S.", "Army", "#"], ["Paris"], ["Yes"]]
    assert [(row["document_id"], row["sentence_id"]) for row in rows] == [(0, 0), (0, 1), (1, 0)]
    assert read_words(SourceFile(tmp_path / name)) == [row["tokens"] for row in rows]
    assert read_text(tmp_path, content, name, token_column=4)[1]["tokens"] == ["NNP"]
    (row,) = read_text(tmp_path, content[content.rindex("#begin") :], name)
    assert row == {"tokens": ["Yes"], "entities": []}


def test_columns_of_brackets_are_read(tmp_path):
    content = "Bank NN (ORG*\nof IN *\nEngland NNP (GPE))\n\nhe PRP *\n"
    first, second = read_text(tmp_path, content)
    assert first["entities"] == [entity("ORG", 0, 3), entity("GPE", 2, 3)]
    assert second["entities"] == []
    with pytest.raises(ValueError, match=r"line 5, row 1: column 2: 'O' \(word 0\) must be \*, or contain brackets"):
        read_text(tmp_path, content.replace("PRP *", "PRP O"))
    with pytest.raises(ValueError, match=r"line 1, row 0: column 2: the bracket of 'ORG' \(word 0\) is not closed"):
        read_text(tmp_path, content.replace("))", ")"))
    with pytest.raises(ValueError, match="column 2 has no entities, but the columns"):
        read_text(tmp_path, "Ann (PER) *\nleft * *\n")
    assert read_text(tmp_path, "Ann (PER) B-X\nleft * O\n", tag_columns="all")[0]["entities"] == [
        entity("PER", 0, 1),
        entity("X", 0, 1),
    ]


NUMERALS = "1\tCD\tB-N\n2\tCD\tI-N\n\n1\tCD\tO\n"


def test_numbers_of_words_are_no_words(tmp_path):
    with pytest.raises(ValueError, match=r"column 0 numbers the words, such as '1'.*pass token_column= the column"):
        read_text(tmp_path, GERMEVAL)
    (tmp_path / "x.conll").write_text(GERMEVAL, encoding="utf-8")
    with pytest.raises(ValueError, match=r"numbers the words.*pass token_column= the column .*, or .* input_format="):
        read_words(SourceFile(tmp_path / "x.conll"))
    assert read_words(SourceFile(tmp_path / "x.conll"), 1) == [["Ann", "aus", "Köln"], ["SV", "Köln"], ["#"]]
    with pytest.raises(ValueError, match="line 2: there is no column 4, since a line has 4 columns"):
        read_words(SourceFile(tmp_path / "x.conll"), 4)
    with pytest.raises(ValueError, match="column 0 numbers the words"):
        read_text(tmp_path, NUMERALS)
    assert [row["tokens"] for row in read_text(tmp_path, NUMERALS, token_column=0)] == [["1", "2"], ["1"]]
    assert read_text(tmp_path, "1\tB-X\n2\tI-X\n")[0]["tokens"] == ["1", "2"]
    assert read_text(tmp_path, "1\t_\tB-X\n3\t_\tI-X\n")[0]["tokens"] == ["1", "3"]


CONLLU = """# sent_id = 1
1-2\tZum\t_\t_\t_\t_\t_\t_\t_\t_
1\tZu\t_\tADP\t_\t_\t_\t_\t_\tname=O
2\tdem\t_\tDET\t_\t_\t_\t_\t_\tname=O
2.1\tX\t_\tDET\t_\t_\t_\t_\t_\t_
3\tRhein\t_\tPROPN\t_\t_\t_\t_\t_\tname=B-LOC

1\tJa\t_\tADV\t_\t_\t_\t_\t_\tname=O
"""


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (CONLLU, "numbers the words, such as '1-2'"),
        ("1-1\t0-2\tZu\tB-X\n1-2\t3-8\tRhein\tI-X\n\n2-1\t9-11\tJa\tO\n", "numbers the words, such as '1-1'"),
        ("0\tZu\tO\n1\tRhein\tB-X\n", "numbers the words, such as '0'"),
        ("bc/cctv\tZu\tO\nbc/cctv\tRhein\tB-X\n\nbc/cnn\tJa\tO\n", "has one value per sentence, such as 'bc/cctv'"),
    ],
)
def test_other_columns_are_not_taken_for_words(tmp_path, text, problem):
    """Whatever the format that was passed: these files were read without a word."""
    path = tmp_path / "x.conllu"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"column 0 {problem}: pass token_column="):
        read_annotations(path, format="conll")
    with pytest.raises(ValueError, match=f"column 0 {problem}"):
        read_words(SourceFile(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Ann,B-PER\nleft,O\n", "there are no tabs or spaces between words and tags, but ',' may separate them"),
        ("B-PER Ann\nO left\n", "column 0 has tags: pass token_column="),
    ],
)
def test_words_alone_are_no_tags(tmp_path, text, message):
    path = tmp_path / "x.conll"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_words(SourceFile(path))


@pytest.mark.parametrize("tag", ["B-PER|B-HERO", "I-PER;I-HERO", "B-PER+I-HERO"])
def test_several_tags_of_a_word_are_no_label(tmp_path, tag):
    with pytest.raises(ValueError, match=f"line 1, row 0: the tag {re.escape(repr(tag))} contains several tags: write"):
        read_text(tmp_path, f"Ann {tag}\nleft O\n")
    assert read_text(tmp_path, "Ann B-PER|HERO\nleft O\n")[0]["entities"] == [entity("PER|HERO", 0, 1)]


def test_odd_sentences_are_said(tmp_path, caplog):
    read_text(tmp_path, "Ann B-PER\n\nleft O\n\n" * 10)
    assert "each of 20 sentences has one word: a blank line ends a sentence" in caplog.text
    caplog.clear()
    read_text(tmp_path, "Ann B-PER\nleft O\n" * 250)
    assert "all 500 words are one sentence, since no blank line ends one before" in caplog.text


def test_line_ends_that_were_converted_twice_are_line_ends(tmp_path):
    """Each word was a sentence."""
    text = "Ann B-PER\nleft O\n\nBo B-PER\n"
    assert read_text(tmp_path, text.replace("\n", "\r\r\n")) == read_text(tmp_path, text)
    table = "word,tag\nAnn,B-PER\nleft,O\n\nBo,B-PER\n"
    assert read_text(tmp_path, table.replace("\n", "\r\r\n"), "x.csv") == read_text(tmp_path, table, "x.csv")


NESTED = {
    "prefixes": "a\tB-X\tB-Y\tO\nb\tI-X\tO\tO\n\nc\tO\tO\tO\n",
    "plain labels": "a\tX\tO\nb\tX\tO\n\nc\tO\tO\nd\tO\tO\n",
}


@pytest.mark.parametrize("name", NESTED)
def test_the_last_column_of_nested_entities_is_not_taken_for_all(tmp_path, caplog, name):
    content = NESTED[name]
    last = content.split("\n")[0].count("\t")
    with pytest.raises(
        ValueError, match=rf"column {last} has no entities, but the columns .* pass tag_columns='all' if"
    ):
        read_text(tmp_path, content)
    assert not caplog.messages
    assert not any(row["entities"] for row in read_text(tmp_path, content, tag_columns=last))
    assert f"column {last} has no entities, but the columns" in caplog.text
    caplog.clear()
    assert any(row["entities"] for row in read_text(tmp_path, content, tag_columns="all"))
    assert not caplog.messages


@pytest.mark.parametrize("content", ["a\tNN\tO\nO\tO\tO\nb\tVB\tO\n", "a O O\nb O O\n", "a O\n"])
def test_a_file_without_entities_is_one(tmp_path, content):
    assert not any(row["entities"] for row in read_text(tmp_path, content))


@given(st.lists(st.lists(st.sampled_from(["O", "B-A", "I-A", "B-B", "I-B"]), min_size=1, max_size=6), min_size=1))
def test_tags_are_read_as_the_label_module_reads_them(tmp_path_factory, sentences):
    content = "\n\n".join("\n".join(f"w {tag}" for tag in tags) for tags in sentences)
    rows = read_text(tmp_path_factory.mktemp("tags"), content)
    expected = [[span._asdict() for span in tags_to_entities(tags, "IOB")] for tags in sentences]
    assert [row["entities"] for row in rows] == expected


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_scheme_is_that_of_the_whole_file(tmp_path, scheme):
    single = {"IOB": "B", "BILO": "B", "BILOU": "U", "BIOES": "S"}[scheme]
    last = {"IOB": "I", "BILO": "L", "BILOU": "L", "BIOES": "E"}[scheme]
    rows = read_text(tmp_path, f"a B-X\nb {last}-X\nc {single}-X\n\nd I-X\n")
    assert [row["entities"] for row in rows] == [[entity("X", 0, 2), entity("X", 2, 3)], [entity("X", 0, 1)]]


def test_plain_labels_are_read(tmp_path):
    assert read_text(tmp_path, "a person\nb person\nc O\nd place\n")[0]["entities"] == [
        entity("person", 0, 2),
        entity("place", 3, 4),
    ]


HEADERS = [
    "token label",
    "TOKEN POS CHUNK NE",
    "Word\tNER-Tag",
    "# Token Tag",
    "sentence_id word entity_type",
    "\ufeffWord Tag",
]


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("before", ["", "-DOCSTART- O\n\n", "# a comment of five cells\n"])
@pytest.mark.parametrize("after", ["\n", "\n\n"])
@pytest.mark.parametrize("tags", [("PER", "LOC"), ("B-PER", "B-LOC")])
def test_the_names_of_columns_are_no_words(tmp_path, caplog, header, before, after, tags):
    separator = "\t" if "\t" in header else " "
    width = len(header.split(separator))
    rows = [("Ann", tags[0]), ("saw", "O"), ("Rome", tags[1])]
    # Words are in the second of three columns and more if the first one has numbers.
    token = 1 if header.startswith(("#", "sentence")) else 0
    lines = [separator.join(["7"] * token + [word] + ["x"] * (width - 2 - token) + [tag]) for word, tag in rows]
    content = before + header + after + "\n".join(lines)
    (row,) = read_text(tmp_path, content, token_column=token)
    assert row == {"tokens": ["Ann", "saw", "Rome"], "entities": [entity("PER", 0, 1), entity("LOC", 2, 3)]}
    assert "is read as column names: [" in caplog.text


@pytest.mark.parametrize(
    "content", ["Text type\nsaw O\nIt type\n", "Word x\nsaw O\n", "a label\nsaw O\n", "x O\n\nWord tag\n"]
)
def test_a_line_that_may_be_words_is_no_header(tmp_path, caplog, content):
    num_words = len(content.split()) // 2
    assert sum(len(row["tokens"]) for row in read_text(tmp_path, content)) == num_words
    assert "column names" not in caplog.text


BAD_CONLL = {
    "too few": ("a\tO\nb\n", {}, r"line 2, row 0: 'b' has 1 columns, but 'a\\tO' has 2"),
    "hash without a tag": ("a\tO\n\n#tag\n", {}, r"line 3, row 1: '#tag' has 1 columns"),
    "comment in a sentence": ("a\tO\n# b\n", {}, r"line 2, row 0: '# b' has 1 columns"),
    "tab as a word": (
        "a O\nb O\n\t O\n",
        {},
        r"line 3, row 0: '\\t O' has a tab, but spaces separate the columns of most lines, such as 'a O': if the tab",
    ),
    "unusual first line": ("New York O\na O\nb O\n", {}, r"line 1, row 0: 'New York O' has 3 columns, but 'a O' has 2"),
    "too many": ("a O\nNew York O\n", {}, r"line 2, row 0: 'New York O' has 3 columns"),
    "no prefix": ("a\tB-X\n\nb\tperson\n", {}, r"line 3, row 1: the tag 'person' has no prefix, but 'B-X' has one"),
    "no scheme": ("a\tE-X\nb\tL-X\n", {}, r"line 1, row 0: the tag 'E-X' has the prefix 'E', which the scheme of"),
    "no label": ("a\tB\nb\tB\nc\tO\n", {}, r"line 1, row 0: the tag 'B' may be a prefix without a label or a plain"),
    "empty word": ("a\tO\n\tO\n", {}, r"line 2, row 0: the word is empty"),
    "empty tag": ("a\t\tO\n", {"tag_columns": 1}, r"line 1, row 0: the tag is empty"),
    "no column": ("a\tO\n", {"tag_columns": 2}, r"line 1: there is no column 2, since a line has 2 columns"),
    "same column": ("a\tO\n", {"tag_columns": 0}, r"column 0 of 2 has the words"),
    "one column": ("a\nb\n", {}, r"looks like plain text without annotations, .* such as 'a' are .*: to find"),
    "commas": (
        "Ann,B-PER\nwent,O\n",
        {},
        r"line 1: there are no tabs or spaces .*, but ',' may separate them, as in 'Ann",
    ),
    "wide spaces": ("Ann\u3000B-PER\nwent\u3000O\n", {}, r"line 1: .*, but '\\u3000'"),
    "slashes": ("Ann/PER\nwent/O\n", {}, r"line 1: .*, but '/' may"),
    "no tab": (
        "a b\tO\nEU   B-ORG\nrejects\tO\n",
        {},
        r"line 2, row 0: 'EU   B-ORG' has no tab, but tabs separate the",
    ),
    "no tab first": ("EU   B-ORG\nrejects\tO\n", {}, r"line 1, row 0: 'EU   B-ORG' has no tab, but tabs separate the"),
    "wrong word": ("a\tO\n", {"tag_columns": "every"}, r"tag_columns='every' must be"),
    "no documents": ("a\tO\n", {"documents": True}, r"no -DOCSTART- lines"),
    "nothing": ("\n\n", {}, r" has no annotated rows"),
    "only comments": ("\n# a\n\n", {}, r"only lines that begin with '# '"),
}


@pytest.mark.parametrize("name", BAD_CONLL)
def test_bad_columns_are_refused(tmp_path, name):
    content, options, message = BAD_CONLL[name]
    with pytest.raises(ValueError, match=message):
        read_text(tmp_path, content, **options)


PLAIN = {
    "one line": "Ann flew to Paris.\n",
    "lines of the same length": "Amelia Earhart\nMarie Curie\n",
    "lines": "Ann flew to Paris in May.\nBob left.\n\nIt was a sunny B-52 day on the Isle of O\n\nWhat next?\n",
    "fields": "ticket: 5\n\nDear all,\nplease send it to Bob Lee.\n",
}


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("errors", ["raise", "skip"])
def test_plain_text_is_told_apart(tmp_path, name, errors):
    message = r"^\S+ looks like plain text .* \(span-marker predict\).* format='inline' for"
    with pytest.raises(ValueError, match=message):
        read_text(tmp_path, PLAIN[name], errors=errors)


def test_entities_of_a_level_are_those_of_its_tags():
    spans = tags_to_entities(["B-X", "I-X", "O"], "IOB")
    assert entities_to_tags(spans, 3) == ["B-X", "I-X", "O"]


@settings(max_examples=30)
@given(lists_of(word_rows(CONLL_WORDS, min_words=1)))
def test_columns_are_read_back(rows):
    found = round_trip(write_conll, rows, "x.conll", tag_columns="all")
    assert [row["tokens"] for row in found] == [row["tokens"] for row in rows]
    assert [unique(row["entities"]) for row in found] == [unique(row["entities"]) for row in rows]
    assert all(len(row["entities"]) == len(unique(row["entities"])) for row in found)


@settings(max_examples=30)
@given(lists_of(word_rows(CONLL_WORDS, min_words=1)))
def test_flat_entities_need_one_column(rows):
    rows = [flat(row) for row in rows]
    assert round_trip(write_conll, rows, "x.conll") == rows


@settings(max_examples=30)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=6))
def test_documents_are_read_back(document_ids):
    rows = [{"document_id": id_, "tokens": ["a"], "entities": []} for id_ in document_ids]
    found = round_trip(write_conll, rows, "x.conll", documents=True)
    changes = [index > 0 and document_ids[index] != document_ids[index - 1] for index in range(len(rows))]
    assert [row["document_id"] for row in found] == [sum(changes[: index + 1]) for index in range(len(rows))]
    assert [row["sentence_id"] == 0 for row in found] == [index == 0 or change for index, change in enumerate(changes)]


def test_columns_are_written_as_everyone_writes_them(tmp_path):
    places = {"X": (1, 2), "PER": (0, 1), "ORG": (0, 2)}
    nested = [{"label": label, "start": start, "end": end} for label, (start, end) in places.items()]
    rows = [
        {"tokens": ["Ann", "Lee"], "entities": nested, "document_id": "a"},
        {"tokens": ["#"], "entities": [], "document_id": "b"},
    ]
    write_conll(tmp_path / "x", rows)
    assert (tmp_path / "x").read_text() == (
        "-DOCSTART-\tO\tO\n\nAnn\tB-ORG\tB-PER\nLee\tI-ORG\tB-X\n\n-DOCSTART-\tO\tO\n\n#\tO\tO\n\n"
    )


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "a", "entities": []}, "row 0 has 'text', but CoNLL files have words"),
        ({"tokens": [], "entities": []}, "row 0 has no words"),
        ({"tokens": ["a", ""], "entities": []}, "row 0: the word ''"),
        ({"tokens": ["a b"], "entities": []}, "row 0: the word 'a b'"),
        ({"tokens": ["a\u2028b"], "entities": []}, "row 0: the word"),
        ({"tokens": ["-DOCSTART-"], "entities": []}, "row 0: the word '-DOCSTART-'"),
        ({"tokens": ["a"], "entities": [{"label": "X Y", "start": 0, "end": 1}]}, "row 0: the label 'X Y'"),
    ],
)
def test_what_columns_cannot_hold_is_refused(tmp_path, row, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        write_conll(tmp_path / "x", [row])
    assert not list(tmp_path.iterdir())
