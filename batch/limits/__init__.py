"""How much may be asked at once and in a time: slots, rate windows, pauses; adapted to what the service does.

A limit is taken before a request leaves. Knows nothing of requests.
"""

from __future__ import annotations

from batch.limits.concurrency import Concurrency, Known
from batch.limits.gate import LimitChange, Limits, TooLate
from batch.limits.shared import Demand, Grant
from batch.limits.windows import Window

__all__ = ["Concurrency", "Demand", "Grant", "Known", "LimitChange", "Limits", "TooLate", "Window"]
