"""The table of families, by model type."""

from __future__ import annotations

from transformers import PreTrainedConfig

from span_marker.encoders.families.bert import MEGATRON_BERT, REMBERT
from span_marker.encoders.families.common import ALBERT, MODERNBERT, ROTARY, STANDARD, Family
from span_marker.encoders.families.deberta import DEBERTA, DEBERTA_V2
from span_marker.encoders.families.mobilebert import MOBILEBERT
from span_marker.encoders.families.mpnet import MPNET
from span_marker.encoders.families.t5 import T5

FAMILIES: dict[str, Family] = {
    "albert": ALBERT,
    "bert": STANDARD,
    "camembert": STANDARD,
    "deberta": DEBERTA,
    "deberta-v2": DEBERTA_V2,
    "distilbert": STANDARD,
    "electra": STANDARD,
    "eurobert": ROTARY,
    "megatron-bert": MEGATRON_BERT,
    "mobilebert": MOBILEBERT,
    "modernbert": MODERNBERT,
    "mpnet": MPNET,
    "mt5": T5,
    "nomic_bert": ROTARY,
    "rembert": REMBERT,
    "roberta": STANDARD,
    "roberta-prelayernorm": STANDARD,
    "t5": T5,
    "xlm-roberta": STANDARD,
    "xlm-roberta-xl": STANDARD,
}
"""Families that are tested on both engines, by model type."""


def family_of(config: PreTrainedConfig) -> Family:
    """Look up the family of an encoder.

    Args:
        config: The encoder's configuration.

    Returns:
        Its family; `STANDARD` if its model type is not in the table.
    """
    return FAMILIES.get(config.model_type, STANDARD)
