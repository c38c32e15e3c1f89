"""The columns of rows say what they are; if they do not, an error lists what they could be."""

import pytest

from span_marker.data.forms import FORMS, find_form, is_entity_table


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_found_beside_other_columns(form):
    assert find_form([*FORMS[form], "id"], "the data") == form
    assert not is_entity_table([*FORMS[form], "start", "end", "label"])


def test_an_error_lists_all_forms_that_are_read():
    with pytest.raises(ValueError, match=r"the data has the columns \['ticket', 'from'\]") as error:
        find_form(["ticket", "from"], "the data")
    for name in {name for columns in FORMS.values() for name in columns} | {"start", "end", "label"}:
        assert repr(name) in str(error.value).split("but annotated data has")[1]


@pytest.mark.parametrize("content", ["text", "tokens"])
@pytest.mark.parametrize("missing", [None, "start", "end", "label"])
def test_a_table_of_entities_has_their_places_and_labels(content, missing):
    names = [name for name in ("id", content, "start", "end", "label") if name != missing]
    assert is_entity_table(names) == (missing is None)
    assert not is_entity_table(names[2:])
