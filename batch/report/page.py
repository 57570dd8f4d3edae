"""The report as one HTML page that needs nothing else: no script, no network, no other file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import tzinfo
from importlib import resources

from batch.events import Estimated, Needs
from batch.report import tables
from batch.report.facts import KILLED, RUNNING, Facts, Spread
from batch.report.html import Node, Safe, joined, tag
from batch.report.overtime import OverTime
from batch.report.panels import Panel
from batch.report.spread import distributions
from batch.report.words import THIN, decimal, duration, local, money, number, seconds, share, utc, zone_name

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def render(facts: Facts, zone: tzinfo | None = None) -> str:
    """Return the page; times stand in `zone`, or in the machine's own. Raises `UsageError` without matplotlib."""
    series = facts.series
    if series is None:
        raise ValueError("a page is made of facts with their series")
    over_time = OverTime(facts, series, zone).panels() if facts.requests else []
    style = Safe(resources.files("batch.report").joinpath("page.css").read_text(encoding="utf-8"))
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{facts.output} – chatbatch report"),
        tag("style", style),
    )
    body = tag(
        "body",
        _header(facts, zone),
        _figures(facts),
        _section("Over time", _charts(over_time), _gaps(facts)) if over_time else None,
        _section("Spread", _charts(distributions(facts, series))) if facts.ok else None,
        _errors(facts),
        _section("Most expensive rows", tables.expensive(facts), tables.dearest_share(facts))
        if facts.expensive
        else None,
        _failed(facts),
        _runs(facts, zone),
        _footer(facts, zone),
    )
    return "<!doctype html>\n" + tag("html", head, body, lang="en").markup + "\n"


def _header(facts: Facts, zone: tzinfo | None) -> Safe:
    badge = tag("span", "EMULATED", class_="badge") if facts.emulated else None
    asked = f"{facts.model} · {', '.join(facts.inputs[:3])}"
    if len(facts.inputs) > 3:
        asked += f" and {number(len(facts.inputs) - 3)} more inputs"
    notices: list[Node] = []
    if facts.emulated:
        notices.append("The answers were made up by the emulator: nothing left the machine and nothing was paid.")
    if facts.state == RUNNING:
        notices.append("The run is still going on: this page shows how it stood when it was made.")
    if facts.state == KILLED:
        notices.append("The last run was killed: it has no end. The same command again continues it.")
    if facts.note:
        notices.append(facts.note)
    return tag(
        "header",
        tag("h1", tag("bdi", facts.output), badge),
        tag("p", tag("bdi", asked), class_="lead"),
        tag("p", *_when(facts, zone), class_="lead"),
        *(tag("p", notice, class_="notice") for notice in notices),
    )


def _when(facts: Facts, zone: tzinfo | None) -> list[Node]:
    if not facts.runs:
        return ["No run has begun."]
    first, last = facts.runs[0].started_at, facts.runs[-1].until
    runs = f", in {number(len(facts.runs))} runs" if len(facts.runs) > 1 else ""
    return [_time(first, zone), " to ", _time(last, zone), f" · {zone_name(last, zone)} · {facts.state}{runs}"]


def _time(at: float, zone: tzinfo | None) -> Safe:
    return tag("time", local(at, zone), title=utc(at))


def _figures(facts: Facts) -> Safe:
    tiles = [_rows_tile(facts), *_cost_tiles(facts)]
    tokens = facts.input_tokens + facts.completion_tokens
    parts = f"{number(facts.input_tokens)} in, {number(facts.completion_tokens)} out"
    tiles.append(_tile("Tokens", number(tokens), parts))
    rate = facts.rows_per_hour
    running = duration(facts.duration_s)
    pace = "no row was answered" if rate is None else f"{number(round(rate))} rows an hour"
    tiles.append(_tile("Running time", running, pace))
    if facts.latency is not None:
        high = f"95 % within {seconds(facts.latency.p95)}, 99 % within {seconds(facts.latency.p99)}"
        tiles.append(_tile("Median latency", seconds(facts.latency.p50), high))
    if facts.lengths is not None:
        ends = _ends(facts.lengths, facts.finished_by)
        tiles.append(_tile("Median answer", f"{decimal(facts.lengths.p50)} tokens", ends))
    retries = f"{number(facts.retries)} retries among {number(facts.requests)} requests"
    tiles.append(_tile("Requests lost", number(facts.lost), retries))
    tiles += [_estimate_tile(facts.estimated)] if facts.estimated is not None else []
    tiles += [_needs_tile(facts.needs)] if facts.needs is not None else []
    return tag("dl", *tiles, class_="figures")


def _tile(name: str, value: str, more: str) -> Safe:
    return tag("div", tag("dt", name), tag("dd", value, class_="value"), tag("dd", more))


def _rows_tile(facts: Facts) -> Safe:
    known = {name: count for name, count in facts.rows.items() if count}
    total = sum(known.values())
    others = ", ".join(f"{number(count)} {name}" for name, count in known.items() if name != "ok")
    return _tile(
        "Rows answered", number(facts.ok), f"of {number(total)}" + (f": {others}" if others else ", all of them")
    )


def _cost_tiles(facts: Facts) -> list[Safe]:
    tiles = []
    for line in facts.spending:
        if not line.currency:
            continue
        beyond = line.total - line.answers
        more = f"at most {money(line.total, line.currency)} with lost requests" if beyond else "nothing was lost"
        cap = facts.max_cost
        if cap is not None and cap.currency == line.currency:
            more += f"; {share(float(line.total), float(cap.amount))} of the cap"
        tiles.append(_tile("Cost of the answers", money(line.answers, line.currency), more))
    unpriced = sum(line.unpriced for line in facts.spending)
    if unpriced:
        tiles.append(_tile("Cost", "unknown", f"no price was known for {number(unpriced)} requests"))
    return tiles or [_tile("Cost", "nothing", "no request was charged")]


def _ends(lengths: Spread, finished_by: Mapping[str, int]) -> str:
    said = f"95 % up to {decimal(lengths.p95)}"
    cut, filtered = finished_by.get("length", 0), finished_by.get("content_filter", 0)
    said += f"; {number(cut)} cut off at the limit" if cut else ""
    return said + (f"; {number(filtered)} filtered" if filtered else "")


def _estimate_tile(known: Estimated) -> Safe:
    counts = f"{number(known.estimated)} tokens in for {number(known.stated)} stated"
    return _tile("Estimate was off", f"{known.off_percent:+.1f}{THIN}%", counts)


def _needs_tile(needs: Needs) -> Safe:
    expected = "cost unknown" if needs.cost is None else f"about {money(needs.cost.amount, needs.cost.currency)}"
    most = "" if needs.at_most is None else f", at most {money(needs.at_most.amount, needs.at_most.currency)}"
    return _tile("Rows left", number(needs.rows), expected + most)


def _section(title: str, content: Safe, caption: str = "") -> Safe:
    return tag("section", tag("h2", title), tag("p", caption, class_="lead") if caption else None, content)


def _charts(panels: Sequence[Panel]) -> Safe:
    return tag("div", *(panel.shown() for panel in panels), class_="charts")


def _gaps(facts: Facts) -> str:
    gaps = len(facts.series.scale.breaks) if facts.series else 0
    if not gaps:
        return ""
    times = "once" if gaps == 1 else f"{number(gaps)} times"
    return f"Dashed lines: nothing ran for a while, {times}, and that time is left out."


def _errors(facts: Facts) -> Safe | None:
    if not facts.losses:
        return (
            _section("Errors and retries", joined(tag("p", "Every request brought a usable answer.")))
            if facts.ok
            else None
        )
    worst = facts.losses[0]
    kinds = len({loss.error_code for loss in facts.losses})
    again = sum(loss.asked_again for loss in facts.losses)
    given_up = sum(loss.rows_failed for loss in facts.losses)
    caption = f"{number(facts.lost)} requests were lost, of {number(kinds)} kinds; the most frequent is "
    caption += f"{worst.error_code} ({share(worst.attempts, facts.lost)}). {number(again)} were asked again, and "
    caption += f"{number(given_up)} rows were given up."
    return _section("Errors and retries by kind", tables.errors(facts), caption)


def _failed(facts: Facts) -> Safe | None:
    wrong = (facts.rows.get("failed") or 0) + (facts.rows.get("invalid") or 0)
    if not facts.failed:
        return None
    caption = f"{number(wrong)} rows failed or are invalid"
    caption += "." if wrong <= len(facts.failed) else f"; the first {number(len(facts.failed))} of them."
    return _section("Rows without an answer", tables.failed(facts), caption)


def _runs(facts: Facts, zone: tzinfo | None) -> Safe | None:
    if len(facts.runs) < 2:
        return None
    rows = [
        tag(
            "tr",
            tag("td", number(run.run), class_="n"),
            tag("td", _time(run.started_at, zone)),
            tag("td", duration(run.duration_s)),
            tag("td", run.state if run.exit_code is None else f"{run.state} with exit code {run.exit_code}"),
        )
        for run in facts.runs[-30:]
    ]
    head = tag(
        "thead", tag("tr", tag("th", "run", class_="n"), *(tag("th", name) for name in ("began", "lasted", "")))
    )
    caption = f"The last 30 of {number(len(facts.runs))} runs." if len(facts.runs) > 30 else ""
    return _section("Runs", tag("div", tag("table", head, tag("tbody", *rows)), class_="card"), caption)


def _footer(facts: Facts, zone: tzinfo | None) -> Safe:
    made = joined("Made ", _time(facts.now, zone), f" {zone_name(facts.now, zone)} by chatbatch {facts.version}.")
    told = " Token counts are the service's own. Money of lost requests is what they may have cost at most."
    return tag("footer", made, told)
