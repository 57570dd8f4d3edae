"""How much may be asked at once and in a time: slots, rate windows, pauses; adapted to what the service does.

A limit is taken before a request leaves. Knows nothing of requests.
"""

from __future__ import annotations

from batch.limits.concurrency import Concurrency
from batch.limits.gate import LimitChange, Limits, TooLate
from batch.limits.windows import Window

__all__ = ["Concurrency", "LimitChange", "Limits", "TooLate", "Window"]
