"""PubTator's abstracts."""

import pytest
from annotation_files import entity, read_text

TITLE = "Lidocaine-induced cardiac asystole."
ABSTRACT = "Intravenous administration of lidocaine to a patient."
FILE = (
    f"354896|t|{TITLE}\n354896|a|{ABSTRACT}\n"
    "354896\t0\t9\tLidocaine\tChemical\tD008012\n"
    "354896\t18\t34\tcardiac asystole\tDisease\tD006323\n"
    "354896\t66\t75\tlidocaine\tChemical\tD008012\n"
    "354896\tCID\tD008012\tD006323\n"
    "\n"
    "26094|t|No abstract\n26094|a|\n"
)
ROWS = [
    {
        "id": "354896",
        "text": f"{TITLE} {ABSTRACT}",
        "entities": [entity("Chemical", 0, 9), entity("Disease", 18, 34), entity("Chemical", 66, 75)],
    },
    {"id": "26094", "text": "No abstract ", "entities": []},
]


@pytest.mark.parametrize("name", ["x.pubtator", "x.txt", "x"])
def test_abstracts_are_read(tmp_path, caplog, name):
    assert read_text(tmp_path, FILE, name) == ROWS
    assert "1 lines with relations are not read: lines [6]" in caplog.text
    assert read_text(tmp_path, FILE.replace("\n", "\r\n"), name) == ROWS


def test_odd_files_are_read(tmp_path):
    content = "\ufeff\n" + FILE.replace("|No abstract", "|a|b| c").replace("asystole.", "asystole. ", 0) + "\n\n \n"
    (first, second) = read_text(tmp_path, content, "x.txt")
    assert first == ROWS[0]
    assert second == {**ROWS[1], "text": "a|b| c "}


BAD = {
    "copy": (
        FILE.replace("66\t75", "67\t76"),
        "line 5, row 0: characters 67 to 76 of the text are 'idocaine ', but the",
    ),
    "outside": (FILE.replace("66\t75", "66\t99"), "line 5, row 0: entity 'Chemical' ends at character 99, but"),
    "columns": (FILE.replace("\tDisease\tD006323", ""), "line 4, row 0: .* has none of the forms 'ARTICLE"),
    "no title": ("1\t0\t3\tAnn\tPER\n", "line 1, row 0: the article 1 has no title above this line"),
    "twice": (FILE + f"354896|t|{TITLE}\n", "line 10, row 1: the article 354896 occurs twice"),
    "two abstracts": ("1|t|a\n1|a|b\n1|a|c\n", "line 3, row 0: the article 1 has two abstracts"),
    "late": ("1|t|a\n1\t0\t1\ta\tX\n1|a|b\n", "line 3, row 0: the abstract of 1 must follow its title"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused(tmp_path, name):
    content, message = BAD[name]
    with pytest.raises(ValueError, match=rf"x\.pubtator, {message}"):
        read_text(tmp_path, content, "x.pubtator")
