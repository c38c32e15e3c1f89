"""Encoders: which ones are supported, and how texts and markers run through them."""
