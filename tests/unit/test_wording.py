"""Sentences for people: the summary of a run."""

from __future__ import annotations

from batch import wording
from batch.errors import ExitCode
from batch.events import RunFinished


def _finished(reason: str = "", unstated: int = 0) -> RunFinished:
    return RunFinished(
        output="out.parquet",
        rows={"ok": 8, "failed": 0, "invalid": 0, "pending": 2},
        input_tokens=80,
        completion_tokens=40,
        total_tokens=120,
        spending=[],
        estimated=None,
        needs=None,
        requests=8,
        retries=0,
        not_billed=0,
        maybe_billed=0,
        unknown_billed=0,
        open_operations=0,
        modes=[],
        concurrency=7,
        limit_changes=0,
        paused_s=0.0,
        duration_s=14.0,
        emulated=False,
        reason=reason,
        exit_code=ExitCode.OK,
        unstated=unstated,
    )


def test_the_reason_of_an_early_end_is_a_sentence_of_its_own() -> None:
    """How long a run took and why it ended do not run into each other."""
    assert wording.summary(_finished()).startswith("Done in 14s.\n")
    early = wording.summary(_finished("--max-rows reached; 240 rows are left"))
    assert early.startswith("Ended after 14s: --max-rows reached; 240 rows are left.\n")


def test_tokens_that_nobody_stated_are_no_zeros() -> None:
    """Where answers came without their tokens, the line of tokens says how many."""
    assert "tokens    80 in, 40 out, 120 in all\n" in wording.summary(_finished())
    assert "120 in all; 3 answers without, which may cost their worst case\n" in wording.summary(_finished("", 3))
