"""`chatbatch prices`: the table in force, what a file or flags replace, and what is unknown."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from e2e.harness import Shell

FILE = 'dated = "2026-11-01"\ncurrency = "RUB"\nsource = "contract 17"\n'
FILE += '[models."yandexgpt/latest@sales"]\nsync = { input = "1.234567", output = "12" }\n'
FILE += '[models.yandexgpt]\nsync = { units = "5" }\n'


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.toml"
    path.write_text(FILE, encoding="utf-8")
    return path


def _rows(text: str) -> dict[tuple[str, str], list[str]]:
    """Return the cells of a table's rows from the mode on, by model and mode."""
    cells = [re.split(r" {2,}", line) for line in text.splitlines() if "  " in line]
    return {(row[0], row[1]): row[2:] for row in cells}


def test_the_table_has_every_price_with_date_and_source(shell: Shell) -> None:
    """Without a name every built-in price is a row with its currency, units and date; sources stand below."""
    shell.setenv(API_KEY="", FOLDER_ID="")
    ran = shell("prices")
    assert (ran.code, ran.stderr) == (0, "")
    rows = _rows(ran.stdout)
    assert len(rows) == 1 + 18
    assert rows["model", "mode"] == ["input", "output", "currency", "units", "dated", "source"]
    assert rows["yandexgpt-lite", "sync"] == ["0.20", "0.20", "RUB", "1", "2024", "[1]"]
    assert rows["aliceai-llm", "async"] == ["0.25", "1.00", "RUB", "1.25 / 5", "2024", "[1]"]
    assert "*" not in ran.stdout
    last = ran.stdout.splitlines()[-1]
    assert last.startswith("[1] ")
    assert "price list of 2024" in last


def test_columns_are_aligned(shell: Shell) -> None:
    """Every cell of a column begins where its heading does, and figures end where theirs does."""
    _, heads, *lines = shell("prices", "yandexgpt-lite", "aliceai-llm", "ds:x").stdout.splitlines()
    rows = lines[:6]
    for head in ("mode", "currency", "units", "dated", "source"):
        at = heads.rindex(head)
        assert {line[at - 2 : at] for line in rows if len(line) > at} == {"  "}
        assert all(line[at] != " " for line in rows if len(line) > at)
    for head in ("input", "output"):
        end = heads.index(head) + len(head)
        assert all(line[end - 1] != " " and line[end : end + 1] in ("", " ") for line in rows)


def test_a_named_model_is_shown_in_both_modes(shell: Shell) -> None:
    """A name, a name with a version and a URI are the same model, shown once; other rows are left out."""
    ran = shell("prices", "yandexgpt-lite", "yandexgpt-lite/latest", "gpt://b1gfolder/yandexgpt-lite")
    assert list(_rows(ran.stdout)) == [("model", "mode"), ("yandexgpt-lite", "sync"), ("yandexgpt-lite", "async")]


def test_what_is_unknown_is_said_with_what_to_set(shell: Shell) -> None:
    """A model without a price is unknown and not zero, and the flags that set it are named; the exit code is 0."""
    ran = shell("prices", "yandexgpt-lite/latest@sales", "gpt-oss-20b")
    assert (ran.code, ran.stderr) == (0, "")
    rows = _rows(ran.stdout)
    for row in (("yandexgpt-lite/latest@sales", mode) for mode in ("sync", "async")):
        assert rows[row] == ["unknown", "unknown"]
    assert rows["gpt-oss-20b", "sync"][:2] == ["0.10", "0.10"]
    assert rows["gpt-oss-20b", "async"] == ["unknown", "unknown"]
    last = ran.stdout.splitlines()[-1]
    assert all(flag in last for flag in ("--price-input", "--price-output", "--prices"))


def test_what_a_file_replaces_is_marked(own: Path, shell: Shell) -> None:
    """Prices of a file are marked and have its date and source; the others are as built in, unmarked."""
    ran = shell("prices", "--prices", own)
    rows = _rows(ran.stdout)
    assert rows["yandexgpt/latest@sales *", "sync"][:3] == ["1.234567", "12.00", "RUB"]
    assert rows["yandexgpt *", "sync"][:4] == ["1.00", "1.00", "RUB", "5"]
    assert rows["yandexgpt", "async"][:4] == ["0.60", "0.60", "RUB", "3"]
    assert [name for name, _ in rows if "*" in name] == ["yandexgpt *", "yandexgpt/latest@sales *"]
    assert str(own) in ran.stdout.splitlines()[0]
    assert sum("contract 17" in line for line in ran.stdout.splitlines()) == 2


def test_flags_are_shown_for_whatever_is_named(shell: Shell) -> None:
    """With flags every model has their price, in their currency, whichever the mode."""
    flags = ("--price-input", "0.25", "--price-output", "1", "--currency", "usd")
    assert list(_rows(shell("prices", *flags).stdout)) == [
        ("model", "mode"), ("every model *", "sync"), ("every model *", "async"),
    ]  # fmt: skip
    rows = _rows(shell("prices", "my-model", *flags).stdout)
    assert rows["my-model *", "async"][:3] == ["0.25", "1.00", "USD"]


def test_the_environment_sets_prices_too(own: Path, shell: Shell) -> None:
    """The file and the flags have variables, as every setting has."""
    shell.setenv(CHATBATCH_PRICES=str(own))
    assert _rows(shell("prices", "yandexgpt").stdout)["yandexgpt *", "sync"][0] == "1.00"
    shell.setenv(CHATBATCH_PRICE_INPUT="3", CHATBATCH_PRICE_OUTPUT="4")
    assert _rows(shell("prices", "yandexgpt").stdout)["yandexgpt *", "sync"][:3] == ["3.00", "4.00", "RUB"]


def test_prices_in_json_lines(own: Path, shell: Shell) -> None:
    """With --json each price is one line, with money as decimal text and null for what there is not."""
    ran = shell("prices", "aliceai-llm", "yandexgpt/latest@sales", "--prices", own, "--json", "-q")
    alice, _, sales, unknown = ran.events()
    source = alice.pop("source")
    assert alice == {
        "event": "price", "model": "gpt:aliceai-llm/latest", "mode": "sync", "input": "0.5", "output": "2",
        "currency": "RUB", "unit": "0.0002", "units_input": "2.5", "units_output": "10", "dated": "2024",
        "origin": "built in",
    }  # fmt: skip
    assert isinstance(source, str)
    assert "price list of 2024" in source
    assert sales == {
        "event": "price", "model": "gpt:yandexgpt/latest@sales", "mode": "sync",
        "input": "1.234567", "output": "12", "currency": "RUB", "unit": None,
        "units_input": None, "units_output": None, "dated": "2026-11-01",
        "source": "contract 17", "origin": str(own),
    }  # fmt: skip
    assert list(unknown) == ["event", "model", "mode", "fix"]
    assert (unknown["event"], unknown["mode"]) == ("price_unknown", "async")
    assert len(shell("prices", "--json").events()) == 18


def test_flags_in_json_have_no_date(shell: Shell) -> None:
    """A price given by flags has no date that anybody stated, and is every model's."""
    events = shell("prices", "--json", "--price-input", "1", "--price-output", "1").events()
    assert [(event["model"], event["dated"], event["origin"]) for event in events] == [("*", None, "flags")] * 2


def test_quiet_says_only_what_is_unknown(shell: Shell) -> None:
    """With -q nothing is said of prices that are known."""
    assert shell("prices", "-q").said == ""
    assert shell("prices", "yandexgpt", "-q").said == ""
    first, *_ = shell("prices", "yandexgpt", "nobody", "-q").stdout.splitlines()
    assert first.split() == ["nobody", "sync", "unknown", "unknown"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--prices", "/not/there.toml"], "/not/there.toml"),
        (["--price-input", "1"], "--price-output"),
        (["--price-input", "-1", "--price-output", "1"], "--price-input"),
        (["--price-input", "cheap", "--price-output", "1"], "--price-input"),
        (["--price-inptu", "1"], "--price-input"),
    ],
)
def test_a_wrong_command_line_is_refused(words: list[str], said: str, shell: Shell) -> None:
    """A file that is not there, half of the flags and wrong values give exit 2 and a sentence with the culprit."""
    ran = shell("prices", *words)
    assert (ran.code, ran.stdout) == (2, "")
    assert said in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_float_in_a_file_is_refused_with_the_line_to_write(own: Path, shell: Shell) -> None:
    """A figure without quotes is refused by file, table and key, with the figure in quotes to copy."""
    own.write_text(FILE.replace('"1.234567"', "1.234567"), encoding="utf-8")
    ran = shell("prices", "--prices", own)
    assert (ran.code, ran.stdout) == (2, "")
    assert (
        f'{own}: [models."yandexgpt/latest@sales".sync] input: write it in quotes, input = "1.234567"'
        in ran.stderr
    )


def test_hostile_names_do_not_steer_the_terminal(own: Path, shell: Shell) -> None:
    """Control characters in a model's name or a file's source are not printed."""
    own.write_text(FILE.replace("contract 17", "\\u001b[2Jcontract"), encoding="utf-8")
    assert "\x1b" not in shell("prices", "evil\x1b[2J", "yandexgpt", "--prices", own).stdout


def test_the_form_in_the_help_is_a_price_list(own: Path, shell: Shell) -> None:
    """The file that the help shows can be copied, and used as it stands."""
    told = shell("prices", "--help").stdout
    form = re.search(r"A file for --prices.*?:\n(.*?)\n\n", told, re.DOTALL)
    assert form
    assert tomllib.loads(form[1])
    own.write_text(form[1], encoding="utf-8")
    rows = _rows(shell("prices", "--prices", own, "yandexgpt-lite/latest@sales").stdout)
    assert rows["yandexgpt-lite/latest@sales *", "sync"][:4] == ["0.27", "0.27", "RUB", "1.5"]
    assert rows["yandexgpt-lite/latest@sales *", "async"][:3] == ["0.15", "0.30", "RUB"]


def test_long_lines_on_a_terminal(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that are too long for a terminal are folded between words, and stay indented; others stay whole."""
    plain = shell("prices").stdout
    monkeypatch.setattr("batch.cli.tables.sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "84")
    folded = shell("prices").stdout
    assert max(map(len, plain.splitlines())) > 84 >= max(map(len, folded.splitlines()))
    assert folded.split() == plain.split()
    assert folded.splitlines()[-1].startswith("  ")
