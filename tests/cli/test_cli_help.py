"""The help, the version and wrong flags: cheap, complete, and to the point."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from e2e.harness import Shell, environment

from batch import __version__
from batch.settings import Settings, declared

COMMANDS = ("run", "check", "status", "export", "doctor", "send", "emulator")
HEAVY = ("httpx", "aiohttp", "pyarrow", "starlette", "uvicorn", "rich", "sqlite3", "tenacity")
_LOOK = """
import json, sys
from batch.cli.main import run_command_line
code = run_command_line(sys.argv[1:])
print(json.dumps([code, sorted(name for name in sys.modules if "." not in name)]), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["-h"],
        ["--version"],
        *([name, "--help"] for name in COMMANDS),
        ["run", "--concurency", "3"],
    ],
    ids=" ".join,
)
def test_help_costs_no_import(words: list[str]) -> None:
    """Help, version and a wrong flag import no HTTP, no Parquet, no server and no database."""
    looked = subprocess.run(
        [sys.executable, "-c", _LOOK, *words],
        env=environment(),
        capture_output=True,
        timeout=20,
        check=True,
    )
    code, modules = json.loads(looked.stderr.splitlines()[-1])
    assert code == (2 if "--concurency" in words else 0)
    assert "click" in modules
    assert not set(HEAVY) & set(modules)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_group_lists_every_command_and_each_has_help(name: str, shell: Shell) -> None:
    """Every command is in the group's help, and its own help says what it does."""
    assert f"\n  {name} " in shell("--help").stdout
    ran = shell(name, "--help")
    assert (ran.code, ran.stderr) == (0, "")
    assert re.match(rf"Usage: .* {name} \[OPTIONS\]", ran.stdout)


@pytest.mark.parametrize("name", ["run", "check", "send"])
def test_every_flag_names_its_variable(name: str, shell: Shell) -> None:
    """The help of each setting ends with the environment variable that sets it."""
    told = " ".join(shell(name, "--help").stdout.split())
    shown = [item for item in declared() if f"{item.flag} " in told]
    assert len(shown) >= (len(declared()) if name == "run" else 5)
    assert [item.flag for item in shown if f"[env: {item.variable}]" not in told] == []


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_the_examples_are_lines_of_their_own(name: str, shell: Shell) -> None:
    """The examples in the help can be copied: one to a line, without click's own marks."""
    told = shell(*([name] if name else []), "--help").stdout
    assert "\\b" not in told
    examples = [line for line in told.splitlines() if line.strip().startswith(("chatbatch ", "API_KEY="))]
    assert examples
    assert all(line.count("chatbatch ") == 1 for line in examples)


def test_the_version_is_the_packages(shell: Shell) -> None:
    """`--version` names the program and the version, on stdout."""
    ran = shell("--version")
    assert (ran.code, ran.stdout.split(), ran.stderr) == (0, ["chatbatch,", "version", __version__], "")


@pytest.mark.parametrize(
    ("words", "nearest"),
    [
        (["run", "in.jsonl", "--concurency", "3"], "--concurrency"),
        (["run", "in.jsonl", "--max-row", "3"], "--max-rows"),
        (["check", "in.jsonl", "--promt-column", "x"], "--prompt-column"),
        (["send", "body.json", "--emulat"], "--emulate"),
        (["emulator", "--latencie", "0"], "--latency"),
    ],
)
def test_an_unknown_flag_is_refused_with_the_nearest(words: list[str], nearest: str, shell: Shell) -> None:
    """A misspelt flag gives exit 2 and the flag that was probably meant."""
    ran = shell(*words)
    assert (ran.code, ran.stdout) == (2, "")
    assert nearest in ran.stderr


@pytest.mark.parametrize("words", [["rnu"], ["run"], ["run", "in.jsonl", "--limit"], ["check"], ["send"], []])
def test_a_wrong_command_line_gives_two(words: list[str], shell: Shell) -> None:
    """A command that cannot be understood gives exit 2, words on stderr and nothing on stdout."""
    ran = shell(*words)
    assert (ran.code, ran.stdout) == (2, "")
    assert re.search(r"^(Error|Usage): ", ran.stderr, re.MULTILINE)


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--concurrency", "0"),
        ("--concurrency", "-1"),
        ("--concurrency", "ten"),
        ("--limit", "10/fortnight"),
        ("--limit", "10"),
        ("--temperature", "1.5"),
        ("--temperature", "nan"),
        ("--max-tokens", "0"),
        ("--retries", "-1"),
        ("--timeout", "soon"),
        ("--timeout", "0"),
        ("--max-failed", "101%"),
        ("--max-failed", "few"),
        ("--keep", "a:decimal"),
        ("--base-url", "llm.api.cloud.yandex.net"),
        ("--base-url", "https://user:word@host"),
        ("--template", "no field"),
        ("--template", "{broken"),
        ("--system", "@/not/there"),
        ("--stats", "often"),
    ],
)
def test_a_wrong_value_names_its_flag(flag: str, value: str, shell: Shell) -> None:
    """A value that a flag cannot take gives exit 2 and a sentence with the flag and the value."""
    ran = shell("run", "in.jsonl", "-o", "out.parquet", "--emulate", "-n", flag, value)
    assert (ran.code, ran.stdout) == (2, "")
    assert flag in ran.stderr
    assert "Traceback" not in ran.stderr
    assert len(ran.stderr.splitlines()) <= 2


@pytest.mark.parametrize(
    ("variable", "nearest"), [("CHATBATCH_CONCURENCY", "CHATBATCH_CONCURRENCY"), ("CHATBATCH_XYZ", "")]
)
def test_an_unknown_variable_is_refused(variable: str, nearest: str, shell: Shell) -> None:
    """A misspelt environment variable of ours is not silently passed over: exit 2 and the nearest name."""
    shell.setenv(**{variable: "3"})
    ran = shell("check", "in.jsonl")
    assert ran.code == 2
    assert variable in ran.stderr
    assert nearest in ran.stderr


def test_a_wrong_value_in_the_environment_names_its_variable(shell: Shell) -> None:
    """A wrong value from the environment is blamed on the variable and not on a flag."""
    shell.setenv(CHATBATCH_CONCURRENCY="lots")
    ran = shell("run", "in.jsonl", "-o", "out.parquet")
    assert ran.code == 2
    assert "CHATBATCH_CONCURRENCY" in ran.stderr


def test_no_flag_takes_a_secret() -> None:
    """No setting is a credential, so none can stand on a command line or in a recorded run."""
    names = {item.name for item in declared()}
    assert names == set(Settings.__dataclass_fields__)
    names -= {"service_account_key", "iam_url"}  # a file's name, and an address
    assert not [name for name in names if any(word in name for word in ("key", "token_", "secret", "iam"))]
