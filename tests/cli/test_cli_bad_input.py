"""What bad input gets: the exact exit code, a sentence that names the fault, and nothing sent before it."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from e2e.harness import (
    FOLDER,
    SAMPLES,
    Shell,
    chat,
    read_output,
    requests,
    write_chats,
    write_rows,
)

from batch.emulator import Config, Running, background
from batch.writer import COLUMNS


@pytest.fixture(scope="module")
def shared() -> Iterator[Running]:
    """One service for tests that send nothing."""
    with background() as service:
        yield service


def _missing(folder: Path) -> list[object]:
    return [folder / "not-there.jsonl"]


def _no_match(folder: Path) -> list[object]:
    return [str(folder / "*.jsonl")]


def _empty_folder(folder: Path) -> list[object]:
    (folder / "empty").mkdir()
    return [folder / "empty"]


def _unknown(folder: Path) -> list[object]:
    (folder / "rows.xlsx").write_bytes(b"PK")
    return [folder / "rows.xlsx"]


def _cut_parquet(folder: Path) -> list[object]:
    whole = (SAMPLES / "conversations.parquet").read_bytes()
    (folder / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    return [folder / "cut.parquet"]


def _not_parquet(folder: Path) -> list[object]:
    (folder / "fake.parquet").write_bytes(b"")
    return [folder / "fake.parquet"]


def _cut_gzip(folder: Path) -> list[object]:
    whole = (SAMPLES / "chats.jsonl.gz").read_bytes()
    (folder / "cut.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    return [folder / "cut.jsonl.gz"]


def _cut_zstd(folder: Path) -> list[object]:
    whole = (SAMPLES / "chats.ndjson.zst").read_bytes()
    (folder / "cut.ndjson.zst").write_bytes(whole[: len(whole) // 2])
    return [folder / "cut.ndjson.zst"]


def _cut_bzip(folder: Path) -> list[object]:
    whole = (SAMPLES / "dataset.jsonl.bz2").read_bytes()
    (folder / "cut.jsonl.bz2").write_bytes(whole[: len(whole) // 2])
    return [folder / "cut.jsonl.bz2"]


def _not_gzip(folder: Path) -> list[object]:
    (folder / "plain.jsonl.gz").write_text(json.dumps(chat("hello")) + "\n")
    return [folder / "plain.jsonl.gz"]


UNREADABLE = [
    _missing,
    _no_match,
    _empty_folder,
    _unknown,
    _cut_parquet,
    _not_parquet,
    _cut_gzip,
    _cut_zstd,
    _cut_bzip,
    _not_gzip,
]


@pytest.mark.parametrize("beside_a_good_one", [False, True], ids=["alone", "beside a good one"])
@pytest.mark.parametrize("make", UNREADABLE, ids=lambda make: make.__name__.strip("_"))
def test_an_unreadable_input_ends_the_run_before_it_begins(
    make: Callable[[Path], list[object]],
    beside_a_good_one: bool,
    shared: Running,
    shell: Shell,
    tmp_path: Path,
) -> None:
    """An input that is missing, unknown or cut off gives exit 6 and its path, and nothing is sent."""
    inputs = make(tmp_path)
    if beside_a_good_one:
        good = "conversations.parquet" if str(inputs[0]).endswith(".parquet") else "dataset.jsonl"
        inputs = [SAMPLES / good, *inputs]
    sent = requests(shared)
    output = tmp_path / "out" / "answers.parquet"
    ran = shell("run", *inputs, "-o", output, "--base-url", shared.base_url)
    assert (ran.code, ran.stdout, requests(shared)) == (6, "", sent)
    assert str(inputs[-1]) in ran.stderr
    assert ran.stderr.startswith("Error: ")
    assert "Traceback" not in ran.stderr
    assert not output.exists()
    assert not list(tmp_path.rglob("*.journal"))


@pytest.mark.parametrize(
    ("flags", "missing"),
    [(("--prompt-column", "txet"), "txet"), (("--template", "Sum: {body}"), "body"), ((), "messages")],
)
def test_a_column_that_is_not_there_is_named_with_those_that_are(
    flags: tuple[str, ...], missing: str, shared: Running, shell: Shell, tmp_path: Path
) -> None:
    """A column that a Parquet file does not have gives exit 2, its name and the columns that are there."""
    sent = requests(shared)
    words = ["run", SAMPLES / "reviews.parquet", "-o", tmp_path / "out.parquet", *flags]
    ran = shell(*words, "--base-url", shared.base_url)
    assert (ran.code, requests(shared)) == (2, sent)
    assert f'"{missing}"' in ran.stderr
    for column in pq.read_schema(SAMPLES / "reviews.parquet").names:
        assert column in ran.stderr


def test_a_missing_id_column_is_named(shared: Running, shell: Shell, tmp_path: Path) -> None:
    """The same holds for --id-column, and the nearest name is offered."""
    words = ["run", SAMPLES / "conversations.parquet", "-o", tmp_path / "out.parquet"]
    ran = shell(*words, "--id-column", "conversation-id", "--base-url", shared.base_url)
    assert ran.code == 2
    assert "did you mean conversation_id?" in ran.stderr


@pytest.mark.parametrize("name", ["empty.jsonl", "blank.jsonl", "empty.jsonl.gz", "empty.parquet", "folder"])
@pytest.mark.parametrize("ending", [".parquet", ".jsonl"])
def test_an_empty_input_gives_an_empty_output(
    name: str, ending: str, shared: Running, shell: Shell, tmp_path: Path
) -> None:
    """An input without rows gives exit 0 (9 if asked) and an output with the full schema and no rows."""
    file, output, sent = tmp_path / "in" / name, tmp_path / f"out{ending}", requests(shared)
    file.parent.mkdir()
    schema = pa.schema([("messages", pa.string()), ("note", pa.int32())])
    if name.endswith(".parquet"):
        pq.write_table(schema.empty_table(), file)
    elif name == "folder":
        file.mkdir()
        (file / "a.jsonl").write_bytes(b"")
    else:
        data = b"\n  \n\n" if name.startswith("blank") else b""
        file.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    words = ["run", file, "-o", output, "--base-url", shared.base_url]
    assert shell(*words).code == 0
    assert shell(*words, "--error-on-empty").code == 9
    assert requests(shared) == sent
    assert read_output(output) == []
    if ending == ".parquet":
        own = ["messages", "note"] if name.endswith(".parquet") else ["id", "messages", "extra"]
        assert pq.read_schema(output).names == [*own, *COLUMNS]
        assert pa.null() not in pq.read_schema(output).types


def test_a_400_fails_its_row_and_no_other(shell: Shell, tmp_path: Path) -> None:
    """A row that the service refuses is failed with the service's code and message; the others go on."""
    rows = [chat(f"question {n}", id=str(n)) for n in range(5)]
    rows[2]["modelUri"] = "gpt://b1gsomebodyelses/yandexgpt-lite"
    output = tmp_path / "out.jsonl"
    with background(Config(folder=FOLDER)) as service:
        words = ["run", write_rows(tmp_path / "in.jsonl", rows), "-o", output]
        assert shell(*words, "--base-url", service.base_url).code == 3
        assert requests(service) == 5
    out = read_output(output)
    assert [row["status"] for row in out] == ["ok", "ok", "failed", "ok", "ok"]
    assert out[2]["error_code"] == "INVALID_ARGUMENT"
    assert "b1gsomebodyelses" in str(out[2]["error_message"])
    assert (out[2]["attempts"], out[2]["input_tokens"]) == (1, None)


def test_a_row_of_ten_megabytes_is_one_bad_row(shell: Shell, tmp_path: Path) -> None:
    """A row far beyond what any model reads is invalid, and the rows around it are answered."""
    rows = [chat("before"), chat("x" * 10_000_000), chat("after")]
    output = tmp_path / "out.jsonl"
    with background() as service:
        words = ["run", write_rows(tmp_path / "in.jsonl", rows), "-o", output]
        assert shell(*words, "--base-url", service.base_url).code == 3
        assert requests(service) == 2
    assert [row["status"] for row in read_output(output)] == ["ok", "invalid", "ok"]
    assert os.path.getsize(output) < 100_000


def test_a_service_that_is_not_there_fails_rows_and_not_the_command(shell: Shell, tmp_path: Path) -> None:
    """With nobody listening every row fails with the connection's code, and the output says so."""
    rows, output = write_chats(tmp_path / "in.jsonl", 3), tmp_path / "out.jsonl"
    with background() as service:
        service.refuse()
        words = ["run", rows, "-o", output, "--base-url", service.base_url, "--retries", "0"]
        ran = shell(*words)
    assert ran.code == 3
    assert {row["error_code"] for row in read_output(output)} == {"CONNECTION_REFUSED"}


def test_a_parquet_file_damaged_in_the_middle_keeps_what_was_answered(shell: Shell, tmp_path: Path) -> None:
    """Damage that shows only when rows are read gives exit 6 with the path, and no answer is lost."""
    file, output = tmp_path / "rows.parquet", tmp_path / "out.parquet"
    table = pa.table({"text": [f"question {n}?" for n in range(40)]})
    pq.write_table(table, file, row_group_size=20, compression="none", use_dictionary=False)
    whole = file.read_bytes()
    words = ["run", file, "--prompt-column", "text", "-o", output, "--base-url"]
    with background() as service:
        middle = pq.ParquetFile(file).metadata.row_group(1).column(0).data_page_offset
        file.write_bytes(whole[:middle] + b"\xff" * 40 + whole[middle + 40 :])
        ran = shell(*words, service.base_url)
        assert ran.code == 6
        assert str(file) in ran.stderr
        bought = requests(service)
        file.write_bytes(whole)
        assert shell(*words, service.base_url).code == 0
        assert requests(service) == 40 >= bought
        assert set(service.ledger.by_request_id().values()) == {1}
