"""Texts to run models on when they are exported, in several languages and of many lengths."""

from __future__ import annotations

from span_marker.modeling import SpanMarkerModel

TEXTS = (
    "Paris",
    "Amelia Earhart flew her single engine Lockheed Vega 5B across the Atlantic to Paris.",
    "U.N. official Ekeus heads for Baghdad.",
    "The European Commission said on Thursday that it disagreed with German advice to consumers.",
    "In 1867, Karl Marx published the first volume of Das Kapital in Hamburg; Friedrich Engels edited the others.",
    "Die Deutsche Bahn will bis 2030 mehrere Bahnhöfe zwischen Köln und Frankfurt am Main modernisieren.",
    "Marie Curie, née Skłodowska, est la seule femme à avoir reçu deux prix Nobel.",
    "El río Amazonas nace en los Andes peruanos y desemboca en el océano Atlántico, cerca de Belém.",
    "東京スカイツリーは東京都墨田区にある電波塔である。",
    "Мария Шарапова родилась в Нягани и выросла в Сочи.",
    "RT @nasa: Perseverance has landed on Mars!!! 🚀 #CountdownToMars https://example.org/mars",
    "The patient was given 5 mg/kg of infliximab at Mount Sinai Hospital, New York City, and was discharged on day 3, "
    "after a follow-up with Dr. Sarah O'Neill-Jones of the Department of Gastroenterology.",
    "",
)
"""Sentences in several languages, of one word to about fifty."""

LONG_TEXT = 512
"""Number of tokens that the longest text exceeds."""


def long_text(model: SpanMarkerModel) -> str:
    """Make a text of more than one window, unless windows are very long.

    Args:
        model: The model.

    Returns:
        `TEXTS`, repeated.
    """
    limit = min(model.max_text_length, LONG_TEXT)
    text = " ".join(TEXTS)
    (sentence,) = model.require_tokenizer().encode_texts([text])
    return " ".join([text] * (1 + limit // len(sentence.input_ids)))
