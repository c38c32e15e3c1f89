"""Serve predictions over HTTP: a server that batches concurrent requests, and its page."""

from span_marker.serving.app import create_app
from span_marker.serving.limits import Limits
from span_marker.serving.server import listen, serve

__all__ = ["Limits", "create_app", "listen", "serve"]
