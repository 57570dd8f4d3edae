"""Every setting of a run, declared once, and how its value is found.

Values arrive as text and are parsed by the setting's own function, so that a wrong one gets the same sentence
wherever it came from. Imports no command-line library.
"""

from __future__ import annotations

from batch.settings.declaring import ENVIRONMENT_PREFIX, Declared, Value
from batch.settings.fields import Settings
from batch.settings.layers import JOBS_VARIABLE, Layer, Resolved, declared, from_environment, resolve

__all__ = [
    "ENVIRONMENT_PREFIX",
    "JOBS_VARIABLE",
    "Declared",
    "Layer",
    "Resolved",
    "Settings",
    "Value",
    "declared",
    "from_environment",
    "resolve",
]
