"""The flags of `run`, each seen in what is sent and in what comes out."""

from __future__ import annotations

import bz2
import gzip
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from e2e.harness import (
    FOLDER,
    SAMPLES,
    Shell,
    billed,
    chat,
    read_output,
    requests,
    run_cli,
    statuses,
    write_chats,
    write_rows,
)

from batch.emulator import Config, Quotas, Running, background


def _bodies(service: Running) -> list[dict[str, object]]:
    return [json.loads(captured.body) for captured in service.emulator.captured]


def _sent(shell: Shell, folder: Path, rows: Sequence[object], *flags: object) -> list[dict[str, object]]:
    """The bodies that a run over these rows sends, in order."""
    with background(Config(capture=50)) as service:
        words = ["run", write_rows(folder / "in.jsonl", rows), "-o", folder / "out.jsonl"]
        ran = shell(*words, "--base-url", service.base_url, "--concurrency", "1", *flags)
        assert ran.code == 0, ran.stderr
        return _bodies(service)


def _turns(body: dict[str, object]) -> list[tuple[str, str]]:
    messages = body["messages"]
    assert isinstance(messages, list)
    return [(turn["role"], turn["text"]) for turn in messages]


def test_limit_keeps_to_the_quota(shell: Shell, tmp_path: Path) -> None:
    """With --limit 20/s no second sees more than 20 requests, so a service with that quota refuses none."""
    rows = write_chats(tmp_path / "in.jsonl", 45)
    with background(Config(quotas=Quotas(concurrent=None, per_second=20))) as service:
        words = ["run", rows, "-o", tmp_path / "out.parquet", "--base-url", service.base_url]
        assert shell(*words, "--limit", "20/s", "--concurrency", "30").code == 0
        totals = service.emulator.totals()
        times = [entry.time for entry in service.ledger.entries()]
    assert (totals["requests"], totals["too_many_requests"]) == (45, 0)
    assert 1.2 < times[-1] - times[0] < 6
    assert all(later - earlier >= 0.95 for earlier, later in zip(times, times[20:], strict=False))


def test_the_strictest_of_several_limits_holds(shell: Shell, tmp_path: Path) -> None:
    """Limits may be repeated, and all of them hold: after an hour's quota nothing more is sent."""
    rows = write_chats(tmp_path / "in.jsonl", 30)
    with background() as service:
        words = ["run", rows, "-o", tmp_path / "out.parquet", "--base-url", service.base_url]
        limits = ["--limit", "1000/s", "--limit", "7/min"]
        ran = shell(*words, *limits, "--max-rows", "7")
        assert (ran.code, requests(service)) == (8, 7)


@pytest.mark.parametrize("concurrency", [1, 4])
def test_concurrency_is_the_most_at_once(concurrency: int, shell: Shell, tmp_path: Path) -> None:
    """No more than --concurrency requests are in flight, and that many are where there is work."""
    from batch.emulator import Latency

    config = Config(quotas=Quotas(concurrent=None), latency=Latency.parse("fixed:0.02"))
    with background(config) as service:
        words = ["run", write_chats(tmp_path / "in.jsonl", 20), "-o", tmp_path / "out.parquet"]
        assert shell(*words, "--base-url", service.base_url, "--concurrency", concurrency).code == 0
        assert service.emulator.totals()["max_concurrent"] == concurrency


def test_max_rows_sends_so_many_and_leaves_the_rest(shell: Shell, tmp_path: Path) -> None:
    """A run sends at most --max-rows, the rest is pending with exit 8, and the next run takes the next."""
    rows, output = write_chats(tmp_path / "in.jsonl", 12), tmp_path / "out.parquet"
    with background() as service:
        words = ["run", rows, "-o", output, "--base-url", service.base_url, "--max-rows", "5"]
        for sent, code in ((5, 8), (10, 8), (12, 0), (12, 0)):
            assert (shell(*words).code, requests(service)) == (code, sent)
            left = 12 - sent
            assert statuses(output) == {"ok": sent, **({"pending": left} if left else {})}
    assert [row["id"] for row in read_output(output)] == [f"row-{n}" for n in range(12)]


@pytest.mark.parametrize(("allowed", "code"), [("50%", 0), ("49%", 3), ("2", 0), ("1", 3), ("off", 0)])
def test_max_failed_says_how_much_may_fail(allowed: str, code: int, shell: Shell, tmp_path: Path) -> None:
    """Failed and invalid rows up to --max-failed, a number or a share, still end with 0."""
    rows = write_rows(tmp_path / "in.jsonl", [chat("a"), {}, chat("b"), [1]])
    ran = shell("run", rows, "-o", tmp_path / "out.jsonl", "--emulate", "--max-failed", allowed)
    assert ran.code == code


def test_standard_input_is_an_input(tmp_path: Path) -> None:
    """`-` reads JSON Lines from standard input in a real process, and the same rows again buy nothing."""
    rows = write_chats(tmp_path / "in.jsonl", 8).read_bytes()
    output = tmp_path / "out.parquet"
    with background() as service:
        for _ in range(2):
            ran = run_cli("run", "-", "-o", output, "--base-url", service.base_url, stdin=rows)
            assert (ran.code, billed(service)) == (0, 8)
    assert [row["id"] for row in read_output(output)] == [f"row-{n}" for n in range(8)]


def test_a_bad_row_of_standard_input_is_named_as_such(shell: Shell, tmp_path: Path) -> None:
    """The reason of an invalid row from standard input names `<stdin>` and the line."""
    output = tmp_path / "out.jsonl"
    ran = shell("run", "-", "-o", output, "--emulate", stdin=json.dumps(chat("x")).encode() + b"\n{}\n")
    assert ran.code == 3
    assert str(read_output(output)[1]["error_message"]).startswith("<stdin>:2: ")


def test_standard_input_stands_alone(shell: Shell, tmp_path: Path) -> None:
    """`-` beside a file is refused with exit 2, since its rows could not be told apart."""
    rows = write_chats(tmp_path / "in.jsonl", 1)
    assert shell("run", "-", rows, "-o", tmp_path / "out.jsonl", "--emulate", stdin=b"").code == 2


def test_files_folders_and_globs_are_read_in_order_and_once(shell: Shell, tmp_path: Path) -> None:
    """Inputs are read in the order that they are named, each file once however often it is named."""
    (tmp_path / "deep" / "er").mkdir(parents=True)
    b = write_chats(tmp_path / "b.jsonl", 2, first=2)
    a = write_chats(tmp_path / "deep" / "a.ndjson", 2)
    inner = write_chats(tmp_path / "deep" / "er" / "z.jsonl", 2, first=4)
    (tmp_path / "deep" / "c.jsonl.gz").write_bytes(gzip.compress(json.dumps(chat("c", id="gz")).encode()))
    (tmp_path / "deep" / ".hidden.jsonl").write_text("{}")
    (tmp_path / "deep" / "d.jsonl.bz2").write_bytes(bz2.compress(json.dumps(chat("d", id="bz")).encode()))
    output = tmp_path / "out.jsonl"
    words = ["run", b, tmp_path / "deep", str(tmp_path / "*.jsonl"), a, inner, "-o", output, "--emulate"]
    for _ in range(2):
        assert shell(*words).code == 0
        ids = [row["id"] for row in read_output(output)]
        assert ids == ["row-2", "row-3", "row-0", "row-1", "gz", "bz", "row-4", "row-5"]


def test_parquet_files_of_different_columns_are_united(shell: Shell, tmp_path: Path) -> None:
    """Several Parquet files come out as one, with nulls where a file has no such column."""
    pq.write_table(pa.table({"text": ["a", "b"], "n": [1, 2]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"tag": ["t"], "text": ["c"]}), tmp_path / "2.parquet")
    output = tmp_path / "out" / "out.parquet"
    words = ["run", str(tmp_path / "*.parquet"), "--prompt-column", "text", "-o", output, "--emulate"]
    assert shell(*words).code == 0
    out = pq.read_table(output).select(["text", "n", "tag"]).to_pylist()
    assert out == [
        {"text": "a", "n": 1, "tag": None},
        {"text": "b", "n": 2, "tag": None},
        {"text": "c", "n": None, "tag": "t"},
    ]


def test_the_two_kinds_of_input_are_not_mixed(shell: Shell, tmp_path: Path) -> None:
    """JSON Lines and Parquet in one run are refused with exit 2, since their columns differ."""
    inputs = [SAMPLES / "dataset.jsonl", SAMPLES / "conversations.parquet"]
    assert shell("run", *inputs, "-o", tmp_path / "out.parquet", "--emulate").code == 2


def test_keep_lifts_fields_into_columns_of_their_types(shell: Shell, tmp_path: Path) -> None:
    """--keep makes a typed column of a field; what does not fit is null there and stays in `extra`."""
    rows = [
        chat("a", lang="ru", stars=5, price=1.5, paid=True, tags=["x"], other="o"),
        chat("b", lang=7, stars="five", price=2, paid="yes", tags=None),
        chat("c"),
    ]
    output = tmp_path / "out.parquet"
    kept = ["lang", "stars:int", "price:float", "paid:bool", "tags:json"]
    flags = [word for name in kept for word in ("--keep", name)]
    words = ["run", write_rows(tmp_path / "in.jsonl", rows), "-o", output, "--emulate", *flags]
    assert shell(*words).code == 0
    schema, out = pq.read_schema(output), read_output(output)
    types = [str(schema.field(name.partition(":")[0]).type) for name in kept]
    assert types == ["string", "int64", "double", "bool", "string"]
    names = ["lang", "stars", "price", "paid", "tags"]
    assert [[row[name] for name in names] for row in out] == [
        ["ru", 5, 1.5, True, '["x"]'],
        [None, None, 2.0, None, None],
        [None] * 5,
    ]
    extra = [json.loads(str(row["extra"] or "{}")) for row in out]
    assert extra[0] == {"other": "o"}
    assert {"lang": 7, "stars": "five", "paid": "yes"}.items() <= extra[1].items()


def test_template_and_system_make_the_conversation(shell: Shell, tmp_path: Path) -> None:
    """A template fills fields into the user's text, and --system goes before it."""
    rows = [{"title": "T1", "n": 3, "text": "body {x}"}, {"title": "Заголовок", "n": 0, "text": "тело"}]
    template = "{{{title}}} ({n}): {text}"
    bodies = _sent(shell, tmp_path, rows, "--template", template, "-s", "Be brief.")
    assert [_turns(body) for body in bodies] == [
        [("system", "Be brief."), ("user", "{T1} (3): body {x}")],
        [("system", "Be brief."), ("user", "{Заголовок} (0): тело")],
    ]


def test_prompts_come_from_files(shell: Shell, tmp_path: Path) -> None:
    """`@FILE` reads the system prompt and the template from files, whose last line end is not part of it."""
    (tmp_path / "system.txt").write_text("Отвечай коротко.\nПо-русски.\n", encoding="utf-8")
    (tmp_path / "template.txt").write_text("Итог: {text}\n", encoding="utf-8")
    flags = ("-s", f"@{tmp_path / 'system.txt'}", "--template", f"@{tmp_path / 'template.txt'}")
    body = _sent(shell, tmp_path, [{"text": "x"}], *flags)[0]
    assert _turns(body) == [("system", "Отвечай коротко.\nПо-русски."), ("user", "Итог: x")]


def test_a_rows_own_system_prompt_wins(shell: Shell, tmp_path: Path) -> None:
    """--system is for rows that have none of their own."""
    own = {"messages": [{"role": "system", "text": "Own."}, {"role": "user", "text": "a"}]}
    bodies = _sent(shell, tmp_path, [own, chat("b")], "-s", "Ours.")
    assert [_turns(body)[0] for body in bodies] == [("system", "Own."), ("system", "Ours.")]


def test_a_row_overrides_the_runs_settings(shell: Shell, tmp_path: Path) -> None:
    """What a row sets itself is sent for that row, and the run's flags for the others, int64 as text."""
    own = {
        **chat("a"),
        "modelUri": "gpt://<folder_ID>/yandexgpt/rc",
        "completionOptions": {"temperature": 0.9, "maxTokens": 77},
    }
    flags = ("-m", "yandexgpt-lite", "--temperature", "0.1", "--max-tokens", "500")
    bodies = _sent(shell, tmp_path, [own, chat("b")], *flags)
    assert [body["modelUri"] for body in bodies] == [
        f"gpt://{FOLDER}/yandexgpt/rc",
        f"gpt://{FOLDER}/yandexgpt-lite",
    ]
    assert [body["completionOptions"] for body in bodies] == [
        {"stream": False, "temperature": 0.9, "maxTokens": "77"},
        {"stream": False, "temperature": 0.1, "maxTokens": "500"},
    ]


def test_nothing_is_asked_that_nobody_asked_for(shell: Shell, tmp_path: Path) -> None:
    """Without flags and overrides the options hold `stream` alone, so the service's defaults apply."""
    body = _sent(shell, tmp_path, [chat("a")])[0]
    assert body == {
        "modelUri": f"gpt://{FOLDER}/yandexgpt-lite",
        "completionOptions": {"stream": False},
        "messages": [{"role": "user", "text": "a"}],
    }


def test_an_output_folder_is_made(shell: Shell, tmp_path: Path) -> None:
    """A folder of the output that is not there yet is made, and holds the journal too unless named."""
    rows = write_chats(tmp_path / "in.jsonl", 2)
    output, journal = tmp_path / "a" / "b" / "out.parquet", tmp_path / "elsewhere.db"
    assert shell("run", rows, "-o", output, "--emulate").code == 0
    assert output.with_name("out.parquet.journal").exists()
    second = tmp_path / "c" / "out.parquet"
    assert shell("run", rows, "-o", second, "--emulate", "--journal", journal).code == 0
    assert journal.exists()
    assert not second.with_name("out.parquet.journal").exists()


def test_emulate_and_an_address_exclude_each_other(shell: Shell, tmp_path: Path) -> None:
    """--emulate beside --base-url is refused with exit 2."""
    words = ["run", write_chats(tmp_path / "in.jsonl", 1), "-o", tmp_path / "out.parquet", "--emulate"]
    assert shell(*words, "--base-url", "http://127.0.0.1:9").code == 2


def test_truncated_and_filtered_answers_are_answers(shell: Shell, tmp_path: Path) -> None:
    """An answer that --max-tokens cut is ok with its usage and finish reason, and is not bought again."""
    shutil.copy(SAMPLES / "dataset.jsonl", tmp_path / "in.jsonl")
    output = tmp_path / "out.parquet"
    with background() as service:
        words = ["run", tmp_path / "in.jsonl", "-o", output, "--base-url", service.base_url]
        for _ in range(2):
            assert shell(*words, "--max-tokens", "5").code == 0
            assert billed(service) == 60
    out = read_output(output)
    cut = [row for row in out if row["finish_reason"] == "length"]
    assert len(cut) > 30
    assert all(row["status"] == "ok" and int(str(row["completion_tokens"])) <= 5 for row in out)
