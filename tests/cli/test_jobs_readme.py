"""jobs/README.md: its commands run as printed, its files load, its tables are those of the code."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from e2e.harness import FOLDER, SECRET, environment, statuses

from batch.errors import ExitCode
from batch.jobfile import TABLES, load
from batch.notify import is_failure

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "jobs/README.md").read_text(encoding="utf-8")
# What the five minutes call and a test must not: a crontab in a file, and a service manager that only listens.
STAND_INS = {
    "crontab": 'if [ "$1" = -l ]; then cat "$HOME/crontab"; else cat > "$HOME/crontab.new" && '
    'mv "$HOME/crontab.new" "$HOME/crontab"; fi',
    "systemctl": 'echo "$@" >> "$HOME/systemctl"',
    "loginctl": 'echo "$@" >> "$HOME/loginctl"',
}


def _blocks() -> Iterator[tuple[str, str]]:
    """Yield kind and content of each fenced block."""
    for match in re.finditer(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL):
        yield match[1], match[2]


def _of(kind: str) -> list[str]:
    return [content for of, content in _blocks() if of == kind]


def _script() -> str:
    """Return the five minutes as one script: commands as they stand, files written where they are said to be."""
    parts = ["set -e"]
    for kind, content in _blocks():
        if kind == "shell":
            parts.append(content)
        elif kind == "toml" and (name := re.match(r"# (jobs/\S+\.toml)\n", content)):
            parts.append(f"cat > {name[1]} <<'END'\n{content}END\n")
        elif kind == "env":
            account = content.replace("AQVN…", SECRET).replace("b1g…", FOLDER)
            assert "…" not in account
            parts.append(f"cat > jobs/.env <<'END'\n{account}END\n")
    return "\n".join(parts)


def test_the_five_minutes_run_as_printed(tmp_path: Path) -> None:
    """Every command exits 0; then there are answers, a line in the crontab, two units, and a history."""
    tools = tmp_path / "tools"
    tools.mkdir()
    chatbatch = f'exec "{sys.executable}" -m batch "$@"'
    for name, content in {**STAND_INS, "chatbatch": chatbatch}.items():
        (tools / name).write_text(f"#!/bin/sh\n{content}\n", encoding="utf-8")
        (tools / name).chmod(0o755)
    env = {
        **environment({}),
        "HOME": str(tmp_path),
        "PATH": f"{tools}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    ran = subprocess.run(
        ["/bin/sh", "-c", _script()], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    assert "Nothing is wrong." in ran.stdout
    folder = tmp_path / "chats"
    assert (folder / "jobs/.env").stat().st_mode & 0o777 == 0o600
    assert statuses(folder / "trial.parquet") == {"ok": 1}
    [line] = (tmp_path / "crontab").read_text(encoding="utf-8").splitlines()
    assert line.startswith("30 2 * * * cd ")
    assert f". {folder}/jobs/.env" in line
    units = sorted(path.name for path in (tmp_path / ".config/systemd/user").iterdir())
    assert units == ["chatbatch-nightly.service", "chatbatch-nightly.timer"]
    assert "enable --now chatbatch-nightly.timer" in (tmp_path / "systemctl").read_text(encoding="utf-8")
    assert "Warning" not in ran.stderr
    assert SECRET not in ran.stdout + ran.stderr + line


@pytest.mark.parametrize("number", range(len(_of("toml"))))
def test_the_files_load(tmp_path: Path, number: int) -> None:
    """Each block of TOML is a job file, or a part of one, whose values are understood."""
    path = tmp_path / "jobs/shown.toml"
    path.parent.mkdir()
    path.write_text(_of("toml")[number], encoding="utf-8")
    job = load(path)
    now = datetime(2026, 3, 1, 2, 30).astimezone()
    assert job.at(now, {"NIGHTLY_CHECK": "some"}).layers


def test_the_table_of_keys_is_that_of_the_code() -> None:
    """Every table with every key, in the code's order, and none besides."""
    shown = TEXT.partition("<!-- keys: begin -->")[2].partition("<!-- keys: end -->")[0]
    rows = re.findall(r"^\| `\[(\w+)\]` \| (.*) \|$", shown, re.MULTILINE)
    assert {table: tuple(re.findall(r"`(\w+)`", keys)) for table, keys in rows} == dict(TABLES)
    assert [table for table, _ in rows] == list(TABLES)


def test_keys_that_the_text_names_are_where_it_says() -> None:
    """`[table] key` in the text is a key of that table."""
    named = re.findall(r"`\[(\w+)\] (\w+)", TEXT)
    assert len(named) > 3
    assert [(table, key) for table, key in named if key not in TABLES.get(table, ())] == []


def test_every_exit_code_is_explained_and_well_means_well() -> None:
    """The table has each code once; what it calls well is what the health check does."""
    shown = TEXT.partition("| exit |")[2].partition("\n\n")[0]
    rows = [line.split("|")[1:4] for line in shown.splitlines()[2:]]
    codes = {int(code): row[2].strip() for row in rows for code in row[0].split(",")}
    assert sorted(codes) == sorted(int(code) for code in ExitCode)
    assert {code for code in codes if not is_failure(code)} == {
        c for c, todo in codes.items() if todo == "nothing"
    }


def test_the_cron_job_of_kubernetes() -> None:
    """The YAML parses, forbids overlap, leaves time after the grace, and repeats only what may pass."""
    [text] = _of("yaml")
    assert re.search(r"concurrencyPolicy: Forbid$", text, re.MULTILINE)
    values = re.search(r"values: \[(.*)\]", text)
    assert values is not None
    assert [int(code) for code in values[1].split(",")] == [2, 4, 6, 8, 10, 11]
    assert not any("\t" in line or (len(line) - len(line.lstrip(" "))) % 2 for line in text.splitlines())
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed; the light check has passed")
    job = yaml.safe_load(text)["spec"]["jobTemplate"]["spec"]
    pod = job["template"]["spec"]
    assert pod["restartPolicy"] == "Never"  # what podFailurePolicy asks for
    assert pod["terminationGracePeriodSeconds"] > 30 + 60
    assert pod["volumes"][0]["name"] == pod["containers"][0]["volumeMounts"][0]["name"]


# Series of four jobs over two hours, by the minute: killed at once, alive, failed, and idle with exit code 9.
SERIES = {
    "chatbatch_running": {"killed": "1x120", "alive": "1x120", "failed": "0x120", "idle": "0x120"},
    "chatbatch_run_last_seen_timestamp_seconds": {"killed": "0x120", "alive": "0+60x120"},
    "chatbatch_run_exit_code": {"killed": "0x120", "alive": "5x120", "failed": "5x120", "idle": "9x120"},
}


def test_the_alerts_fire_for_what_they_say(tmp_path: Path) -> None:
    """What they ask for is written, and Prometheus's own tool finds killed and failed jobs by it."""
    [rules] = _of("yml")
    written = (ROOT / "batch/metrics.py").read_text(encoding="utf-8")
    assert all(f'"{name}"' in written for name in set(re.findall(r"chatbatch_\w+", rules)))
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool (Debian package prometheus) is not installed")
    series = [
        {"series": f'{name}{{job_name="{job}"}}', "values": values}
        for name, jobs in SERIES.items()
        for job, values in jobs.items()
    ]
    expected = {
        "ChatbatchKilled": ("killed", "was killed, or hangs"),
        "ChatbatchFailed": ("failed", "ended with exit code 5"),
    }
    alerts = [
        {"eval_time": "60m", "alertname": alert, "exp_alerts": [
            {"exp_labels": {"job_name": job}, "exp_annotations": {"summary": f"{job} {what}"}}]}
        for alert, (job, what) in expected.items()
    ]  # fmt: skip
    (tmp_path / "rules.yml").write_text(rules, encoding="utf-8")
    tests = [{"interval": "1m", "input_series": series, "alert_rule_test": alerts}]
    (tmp_path / "tests.yml").write_text(json.dumps({"rule_files": ["rules.yml"], "tests": tests}))  # JSON is YAML
    ran = subprocess.run(
        [promtool, "test", "rules", "tests.yml"], cwd=tmp_path, capture_output=True, text=True, timeout=30
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_airflow_file_is_python() -> None:
    """It compiles, and skips on the code that means nothing to do."""
    [text] = _of("python")
    compile(text, "dag.py", "exec")
    assert f"skip_on_exit_code={int(ExitCode.NOTHING_TO_DO)}," in text


def test_links_lead_somewhere() -> None:
    """Each linked file is there, and each heading that is linked to."""
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        name, _, anchor = target.partition("#")
        path = ROOT / "jobs" / name
        assert path.is_file(), target
        headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert not anchor or anchor in {
            re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in headings
        }
