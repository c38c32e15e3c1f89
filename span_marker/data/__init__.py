"""Annotated data: reading and writing files of annotation tools, rows in memory, and HTML pages."""

from span_marker.data.brat import write_brat
from span_marker.data.columns import infer_labels
from span_marker.data.conll import write_conll
from span_marker.data.csv_files import to_dataframe, write_csv
from span_marker.data.files import read_annotations, write_annotations
from span_marker.data.html import write_html
from span_marker.data.jsonl import write_jsonl
from span_marker.data.relation_labels import infer_relation_labels
from span_marker.data.row_relations import RowRelation
from span_marker.data.rows import Row, RowEntity
from span_marker.data.spacy_docs import from_docs, to_docs, write_docbin
from span_marker.data.task_files import write_tasks

__all__ = [
    "Row",
    "RowEntity",
    "RowRelation",
    "from_docs",
    "infer_labels",
    "infer_relation_labels",
    "read_annotations",
    "to_dataframe",
    "to_docs",
    "write_annotations",
    "write_brat",
    "write_conll",
    "write_csv",
    "write_docbin",
    "write_html",
    "write_jsonl",
    "write_tasks",
]
