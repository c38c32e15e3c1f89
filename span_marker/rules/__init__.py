"""Rules that complement a model: regular expressions, word lists and spaCy patterns."""

from span_marker.rules.entity_ruler import read_entity_ruler
from span_marker.rules.kinds import ListRule, RegexRule, TokenRule
from span_marker.rules.rules import Rules

__all__ = ["ListRule", "RegexRule", "Rules", "TokenRule", "read_entity_ruler"]
