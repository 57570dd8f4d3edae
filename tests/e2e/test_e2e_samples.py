"""Every sample file, end to end over real sockets, held against the emulator's ledger."""

from __future__ import annotations

import bz2
import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from e2e.harness import (
    ACCOUNT,
    SAMPLE_RUNS,
    SAMPLES,
    Sample,
    Shell,
    delivered,
    read_output,
    run_cli,
    tokens,
)

from batch.cli.main import run_command_line
from batch.emulator import Config, background
from batch.emulator.ledger import LedgerTotals
from batch.emulator.wire import parse_completion

BROKEN = SAMPLE_RUNS[-1]
WHOLE = SAMPLE_RUNS[:-1]


@dataclass(frozen=True, slots=True)
class Answered:
    """What one run over a sample left: its exit code, its output, and what the service saw of it."""

    code: int
    output: Path
    bodies: tuple[bytes, ...]
    ledger: dict[str | None, tuple[int, int, int]]
    totals: LedgerTotals

    def rows(self) -> list[dict[str, object]]:
        return read_output(self.output)


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Sample], Answered]:
    """Runs each sample once, in this process, whoever asks for it."""

    @cache
    def run(sample: Sample) -> Answered:
        output = tmp_path_factory.mktemp("sample") / "out.parquet"
        with pytest.MonkeyPatch.context() as patch, background(Config(capture=500)) as service:
            for name, value in ACCOUNT.items():
                patch.setenv(name, value)
            words = ["run", *sample.files, *sample.flags, "-o", str(output), "--base-url", service.base_url]
            code = run_command_line([*words, "-q"])
            bodies = tuple(captured.body for captured in service.emulator.captured)
            return Answered(code, output, bodies, delivered(service), service.ledger.totals())

    return run


def _raw(file: str) -> bytes:
    raw = Path(file).read_bytes()
    if file.endswith(".gz"):
        return gzip.decompress(raw)
    if file.endswith(".bz2"):
        return bz2.decompress(raw)
    if file.endswith(".zst"):
        with pa.CompressedInputStream(pa.BufferReader(raw), "zstd") as stream:
            return bytes(stream.read())
    return raw


def _rows(sample: Sample) -> list[dict[str, object]]:
    if sample.is_parquet:
        return [row for file in sample.files for row in pq.read_table(file).to_pylist()]
    lines = b"".join(_raw(file) for file in sample.files).splitlines()
    return [json.loads(line) for line in lines if line.strip()]


def _texts(turns: object) -> list[str]:
    """The texts of a conversation in the order of its turns; parts of a text are lines of it."""
    assert isinstance(turns, list)
    said = [turn.get("text") or turn.get("content") or "" for turn in turns]
    return ["\n".join(p["text"] for p in text) if isinstance(text, list) else text for text in said]


def _asked(row: dict[str, object]) -> Sequence[str]:
    return _texts(row["messages"] if "messages" in row else row["request"])


@pytest.mark.parametrize("sample", WHOLE, ids=str)
def test_every_sample_row_is_answered_once_in_order(
    sample: Sample, answered: Callable[[Sample], Answered]
) -> None:
    """A run over a sample file gives as many rows as went in, in input order, and all of them are ok."""
    run, incoming = answered(sample), _rows(sample)
    out = run.rows()
    assert (run.code, len(out), {row["status"] for row in out}) == (0, sample.rows, {"ok"})
    if sample.is_parquet:
        assert [row[sample.id_column or ""] for row in out] == [row[sample.id_column or ""] for row in incoming]
    elif sample.id_column:
        assert [row["id"] for row in out] == [str(row[sample.id_column]) for row in incoming]
    if not sample.is_parquet and "text" not in incoming[0]:
        assert [_texts(row["messages"]) for row in out] == [_asked(row) for row in incoming]
    assert run.totals.requests == sample.rows


@pytest.mark.parametrize("sample", SAMPLE_RUNS, ids=str)
def test_sample_tokens_are_those_of_the_ledger(sample: Sample, answered: Callable[[Sample], Answered]) -> None:
    """Tokens in the output are the ledger's, row by row under the same request id and in the sum."""
    run = answered(sample)
    paid = [row for row in run.rows() if row["status"] == "ok"]
    assert {row["request_id"]: tokens(row) for row in paid} == run.ledger
    sums = [sum(int(str(tokens(row)[n])) for row in paid) for n in range(3)]
    assert sums == [run.totals.input_tokens, run.totals.completion_tokens, run.totals.total_tokens]
    assert len(paid) == run.totals.requests == (sample.answered or sample.rows)


@pytest.mark.parametrize("sample", SAMPLE_RUNS, ids=str)
def test_every_sample_request_is_valid(sample: Sample, answered: Callable[[Sample], Answered]) -> None:
    """Every body that leaves is valid under the service's strict definition, with int64 as text."""
    bodies = answered(sample).bodies
    assert len(bodies) == (sample.answered or sample.rows)
    for body in bodies:
        parse_completion(body)
        raw = json.loads(body)
        assert raw["completionOptions"]["stream"] is False
        assert isinstance(raw["completionOptions"].get("maxTokens", ""), str)
        assert "<" not in raw["modelUri"]


@pytest.mark.parametrize("sample", SAMPLE_RUNS, ids=str)
def test_json_lines_say_what_parquet_says(
    sample: Sample, answered: Callable[[Sample], Answered], shell: Shell, tmp_path: Path
) -> None:
    """An output in JSON Lines, made from the same journal at no cost, holds the same rows as Parquet."""
    run, lines = answered(sample), tmp_path / "out.jsonl"
    journal = run.output.with_name(run.output.name + ".journal")
    with background() as service:
        words = [*sample.files, *sample.flags, "--journal", journal, "--base-url", service.base_url]
        assert shell("run", *words, "-o", lines).code == run.code
        assert service.ledger.totals().requests == 0
    ours = [
        "status",
        "completion",
        "finish_reason",
        "input_tokens",
        "error_message",
        "request_id",
        "tool_calls",
    ]
    assert [[row[name] for name in ours] for row in read_output(lines)] == [
        [row[name] for name in ours] for row in run.rows()
    ]
    assert [list(row) for row in read_output(lines)] == [list(row) for row in run.rows()]


@pytest.mark.parametrize("sample", [s for s in WHOLE if s.is_parquet], ids=str)
def test_parquet_columns_come_out_untouched(sample: Sample, answered: Callable[[Sample], Answered]) -> None:
    """A Parquet input's columns stand first in the output, with their own types and values."""
    before, after = pq.read_table(sample.files[0]), pq.read_table(answered(sample).output)
    names = before.schema.names
    assert after.schema.names[: len(names)] == names
    assert after.select(names).schema.remove_metadata() == before.schema.remove_metadata()
    assert after.select(names).to_pylist() == before.to_pylist()


def test_broken_rows_come_out_as_invalid(tmp_path: Path) -> None:
    """Of the broken sample the good rows are answered, the others say file, line and reason; exit 3."""
    output = tmp_path / "out.parquet"
    with background() as service:
        ran = run_cli("run", *BROKEN.files, "-o", output, "--base-url", service.base_url)
    assert ran.code == 3
    out = read_output(output)
    good = [row["id"] for row in out if row["status"] == "ok"]
    assert good == [f"good-{n}" for n in range(1, 7)]
    wrong = [row for row in out if row["status"] != "ok"]
    assert {(row["status"], row["error_code"]) for row in wrong} == {("invalid", "INVALID_ROW")}
    lines = (SAMPLES / "broken.jsonl").read_bytes().split(b"\n")
    numbers = [n for n, line in enumerate(lines, 1) if line.strip() and b'"good-' not in line]
    reasons = [str(row["error_message"]) for row in wrong]
    assert [reason.partition(": ")[0] for reason in reasons] == [f"{BROKEN.files[0]}:{n}" for n in numbers]
    assert all(len(reason.partition(": ")[2]) > 10 for reason in reasons)
    assert all(tokens(row) == (None, None, None) for row in wrong)


def test_a_real_process_answers_a_sample_with_the_built_in_emulator(tmp_path: Path) -> None:
    """`run --emulate` needs no account, says that the answers are made up, and ends with exit 0."""
    output = tmp_path / "out.parquet"
    ran = run_cli("run", SAMPLES / "support.jsonl", "--emulate", "-o", output, env={})
    assert (ran.code, ran.stdout) == (0, "")
    assert "EMULATED" in ran.stderr
    assert len(read_output(output)) == 120
    metadata = json.loads(pq.read_metadata(output).metadata[b"chatbatch"])
    assert (metadata["emulated"], metadata["totals"]["rows"]["ok"]) == (True, 120)


def test_a_folder_of_samples_is_one_input(shell: Shell, tmp_path: Path) -> None:
    """Folders are read whole in the order of names, and the run's own output in it is no input."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("dataset.jsonl", "chats.jsonl.gz", "support.jsonl"):
        (folder / name).write_bytes((SAMPLES / name).read_bytes())
    (folder / "notes.txt").write_text("not rows")
    output = folder / "out.jsonl"
    with background() as service:
        for sent in (240, 240):
            assert shell("run", folder, "-o", output, "--base-url", service.base_url).code == 0
            assert service.ledger.totals().requests == sent
    ids = [row["id"] for row in read_output(output)]
    assert len(ids) == 240
    assert (ids[0], ids[60], ids[120]) == ("chat-001", None, "ticket-0001")
