"""Gold entities and predictions drawn at random, and error reports on them."""

from datasets import Dataset
from hypothesis import settings
from hypothesis import strategies as st

from span_marker.core.labels import LabelledSpan
from span_marker.error_analysis.matching import JudgedSentence, match
from span_marker.error_analysis.report import ErrorReport

NUM_WORDS = 8
FIGURES = ("precision", "recall", "f1")
DATA = Dataset.from_list([{"tokens": ["Ann", "Lee"], "entities": [{"label": "PER", "start": 0, "end": 2}]}])

bounds = st.tuples(st.integers(0, NUM_WORDS), st.integers(0, NUM_WORDS)).filter(lambda pair: pair[0] != pair[1])
spans = st.builds(lambda label, pair: LabelledSpan(label, min(pair), max(pair)), st.sampled_from("XYZ"), bounds)
entities = st.lists(spans, max_size=6, unique=True)
sentences = st.lists(st.tuples(entities, entities), min_size=1, max_size=6)
flat = st.lists(st.sampled_from(["O", "B-X", "I-X", "B-Y", "I-Y"]), min_size=NUM_WORDS, max_size=NUM_WORDS)
few = settings(max_examples=40)


def judge(pairs):
    """Sentences of `NUM_WORDS` words with these pairs of gold entities and predictions."""
    words = [f"w{place}" for place in range(NUM_WORDS)]
    return [JudgedSentence(words, match(*pair), row=row) for row, pair in enumerate(pairs)]


def report_on(pairs, **options):
    """The report on these pairs of gold entities and predictions."""
    return ErrorReport.from_sentences(judge(pairs), **{"num_resamples": 20, **options})
