"""Annotated data: files of annotation tools, rows and columns."""
