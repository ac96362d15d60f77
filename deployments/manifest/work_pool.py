"""The work pool that the deployments run in."""

from __future__ import annotations

POOL = "evergreen"
