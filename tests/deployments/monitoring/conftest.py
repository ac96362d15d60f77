"""An app to read the series of the server of predictions from."""

from __future__ import annotations

from tests.serving.conftest import make_app, make_version, version

__all__ = ["make_app", "make_version", "version"]
