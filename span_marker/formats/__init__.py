"""Data in and out: files of annotation tools and data sets, in one form."""
