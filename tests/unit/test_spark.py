"""What is said about Spark before it runs; `test_clusters.py` runs it."""

import sys

import pytest

from span_marker.integrations.spark import predict_dataframe, warn_of_retries


def test_without_spark_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyspark", None)
    with pytest.raises(ImportError, match=r"needs pyspark, .*: pip install 'pyspark\[sql\]', or .* the extra 'spark'"):
        predict_dataframe(None, "my-model")


@pytest.mark.parametrize(
    ("master", "advice"),
    [("local", "1,4"), ("local[2]", "2,4"), ("local[*]", "*,4"), ("local[2,4]", None), ("yarn", None), ("", None)],
)
def test_sessions_without_retries_are_told(master, advice, caplog):
    warn_of_retries(master)
    assert caplog.messages == (
        []
        if advice is None
        else [
            f"Spark does not retry tasks with master={master!r}: a killed worker ends the job. Use "
            f"master='local[{advice}]' for three retries."
        ]
    )
