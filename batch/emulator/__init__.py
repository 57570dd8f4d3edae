"""A local emulator of the service: its API in both modes, quotas, failures, tokens, and a ledger of its bills.

Imports nothing of the package around it: it reads the wire format independently, so that
a misreading of ours does not prove itself right.
"""

from __future__ import annotations

from batch.emulator.app import Emulator
from batch.emulator.clocks import Clock, SpedUp
from batch.emulator.config import Config
from batch.emulator.faults import FAULTS, OPERATION_FAULTS, ROUTES, Fault
from batch.emulator.latency import Latency
from batch.emulator.ledger import Activity, Ledger, LedgerEntry, LedgerTotals
from batch.emulator.quotas import Quotas
from batch.emulator.server import Running, background, serve

__all__ = [
    "FAULTS",
    "OPERATION_FAULTS",
    "ROUTES",
    "Activity",
    "Clock",
    "Config",
    "Emulator",
    "Fault",
    "Latency",
    "Ledger",
    "LedgerEntry",
    "LedgerTotals",
    "Quotas",
    "Running",
    "SpedUp",
    "background",
    "serve",
]
