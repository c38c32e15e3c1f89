"""Files of options for a training."""

import pytest

from span_marker.training.recipes import read_options


@pytest.mark.parametrize("dev", ["dev.conll", "[dev.conll]", "\n- dev.conll"])
def test_one_file_is_a_list_of_one(tmp_path, dev):
    (tmp_path / "x.yaml").write_text(f"dev: {dev}\nmodel-max-length: 48\n")
    assert read_options(tmp_path / "x.yaml") == {"dev": ["dev.conll"], "model_max_length": 48}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("dev: 3", "dev must be a file or a list of files, such as .*, not 3"),
        ("dev: [3]", r"dev must be a file or a list of files, such as .*, not \[3\]"),
        ("dev:", "dev must be a file or a list of files, such as .*, not None"),
        ("epoch: 3", "there is no option 'epoch'"),
        ("- 3", "must have options by name"),
    ],
)
def test_bad_files_are_refused(tmp_path, content, message):
    (tmp_path / "x.yaml").write_text(content)
    with pytest.raises(ValueError, match=rf"x\.yaml:? {message}"):
        read_options(tmp_path / "x.yaml")


def test_an_empty_file_has_no_options(tmp_path):
    (tmp_path / "x.yaml").touch()
    assert read_options(tmp_path / "x.yaml") == {}
