"""When a run has to be over."""

from __future__ import annotations

from datetime import datetime, timedelta

from batch.clock import Clock
from batch.settings import Settings


def find_deadline(settings: Settings, clock: Clock) -> float | None:
    """Return when no more rows are to be begun, as a time of the clock's `monotonic`; None for never.

    `--stop-at` is the next such time of day in the machine's time zone.
    """
    bounds = [settings.max_duration] if settings.max_duration is not None else []
    if settings.stop_at is not None:
        now = datetime.fromtimestamp(clock.time()).astimezone()
        hour, minute = settings.stop_at
        at = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
        if at <= now:
            at += timedelta(days=1)
        bounds.append((at - now).total_seconds())
    return clock.monotonic() + min(bounds) if bounds else None
