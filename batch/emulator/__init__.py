"""A local emulator of the service: its API, quotas, failures, and a ledger of what it billed.

Imports nothing of the package around it: it reads the wire format independently, so that
a misreading of ours does not prove itself right.
"""

from __future__ import annotations

from batch.emulator.app import Emulator
from batch.emulator.config import Config
from batch.emulator.faults import FAULTS, Fault
from batch.emulator.latency import Latency
from batch.emulator.ledger import Ledger, LedgerEntry
from batch.emulator.quotas import Quotas
from batch.emulator.server import Running, background, serve

__all__ = [
    "FAULTS",
    "Config",
    "Emulator",
    "Fault",
    "Latency",
    "Ledger",
    "LedgerEntry",
    "Quotas",
    "Running",
    "background",
    "serve",
]
