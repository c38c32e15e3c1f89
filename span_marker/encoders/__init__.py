"""Texts and markers through an encoder: which are supported, the engines, and how each family runs."""
