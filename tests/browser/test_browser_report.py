"""The report's page in a real browser: it shows everything, and nothing that it shows does anything."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import pytest
from browser.chromium import Browser
from browser.nights import HOSTILE, Night

from batch.plan.opening import journal_of
from batch.plan.reporting import report

pytest.importorskip("matplotlib", reason="the page's charts need the extra `report`")

# Reports how it came out from within: what is drawn, what is visible, what scripts there are.
_PROBE = """
<script>
addEventListener("load", () => {
  const size = item => { const box = item.getBoundingClientRect(); return box.width > 100 && box.height > 50; };
  const charts = [...document.querySelectorAll("svg.chart")];
  const drawn = charts.filter(item => size(item) && item.querySelectorAll("path").length > 3);
  const ids = [...document.querySelectorAll("[id]")].map(item => item.id);
  const told = {
    title: document.title, charts: charts.length, drawn: drawn.length, ids: ids.length, unique: new Set(ids).size,
    wide: document.documentElement.scrollWidth, inner: innerWidth, images: document.images.length,
    odd: document.querySelectorAll("td b, td i:not([style]), small i, iframe, object").length,
    scripts: document.scripts.length,
  };
  SAYS
});
</script>
"""
_SAYS = 'document.body.setAttribute("data-told", JSON.stringify(told));'


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("night")
    output = Night(folder, 1500, told={"max_cost": "400 RUB"}).write()
    report(output, journal_of(output), 1_795_500_000.0, folder / "report.html")
    return folder / "report.html"


@pytest.fixture
def browser(tmp_path: Path) -> Browser:
    return Browser(tmp_path)


def _probed(page: Path) -> str:
    """Return a copy of the page that is allowed to run scripts, with a probe in it."""
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(encoding="utf-8"))
    return text.replace("</body>", _PROBE.replace("SAYS", _SAYS) + "</body>")


def _said(tree: str) -> dict[str, object]:
    found = re.search(r'data-told="([^"]*)"', tree)
    assert found is not None
    told: dict[str, object] = json.loads(html.unescape(found[1]))
    return told


def _told(browser: Browser, page: Path, tmp_path: Path) -> dict[str, object]:
    """Return what a probe finds in the page."""
    copy = tmp_path / "probed.html"
    copy.write_text(_probed(page), encoding="utf-8")
    return _said(browser.dom(copy))


def test_hostile_texts_are_text(browser: Browser, page: Path) -> None:
    """Markup in questions, answers and errors is shown as text; the page's title stays its own."""
    tree = browser.dom(page)
    assert "<title>" + html.escape(str(page.with_name("night.parquet"))) + " – chatbatch report</title>" in tree
    assert "<script" not in tree
    assert "onerror" not in re.sub(r">[^<]*<", "><", tree)
    for text in HOSTILE[:4]:
        shown = text.replace("<", "&lt;").replace(">", "&gt;")
        assert tree.count(shown) >= 3  # at a glance, as the question and as the answer
    assert "\u202e" not in tree
    assert "\u001b" not in tree
    assert "\N{REPLACEMENT CHARACTER}evil" in tree
    assert "&lt;b&gt;ODD&lt;/b&gt;" in tree


def test_hostile_texts_do_nothing_without_the_policy(browser: Browser, page: Path, tmp_path: Path) -> None:
    """Escaping holds by itself: in a copy without the security policy no script of a row runs either."""
    told = _told(browser, page, tmp_path)
    assert str(told["title"]).endswith("night.parquet – chatbatch report")
    assert (told["scripts"], told["images"], told["odd"]) == (1, 0, 0)


def test_every_chart_is_drawn(browser: Browser, page: Path, tmp_path: Path) -> None:
    """All charts have a size and something in them, and no two elements share an id."""
    told = _told(browser, page, tmp_path)
    assert told["charts"] == told["drawn"] == 9
    assert told["ids"] == told["unique"]


def test_nothing_leaves_the_machine(browser: Browser, page: Path, tmp_path: Path) -> None:
    """The page asks for no address at all, while a page that does is caught at it."""
    asking = tmp_path / "asking.html"
    asking.write_text('<img src="http://pictures.invalid/x.png">', encoding="utf-8")
    assert set(browser.requests(asking)) == {"http://pictures.invalid/x.png"}
    assert browser.requests(page) == []
    text = page.read_text(encoding="utf-8")
    assert re.findall(r'(?:src|href|action)="(?!#)[^"]*"', text) == []
    assert re.findall(r"url\((?!#)[^)]*\)|@import", text) == []


def test_narrow_screens(browser: Browser, page: Path, tmp_path: Path) -> None:
    """On a telephone's screen nothing is wider than the screen."""
    inner, frame = tmp_path / "inner.html", tmp_path / "frame.html"
    says = 'parent.postMessage(JSON.stringify(told), "*");'
    inner.write_text(_probed(page).replace(_SAYS, says), encoding="utf-8")
    listens = f'addEventListener("message", event => {{ {_SAYS.replace("JSON.stringify(told)", "event.data")} }})'
    frame.write_text(
        f'<iframe src="{inner.name}" width="420" height="900"></iframe><script>{listens}</script>',
        encoding="utf-8",
    )
    told = _said(browser.dom(frame))
    assert (told["inner"], told["wide"]) == (420, 420)


def test_light_and_dark(browser: Browser, page: Path) -> None:
    """The same page is light or dark as the reader's machine asks, charts included."""
    image = pytest.importorskip("PIL.Image")
    shades = {}
    for dark in (False, True):
        with image.open(browser.picture(page, dark=dark)) as picture:
            grey = picture.convert("L").resize((64, 90))
            shades[dark] = sum(grey.tobytes()) / (64 * 90)
    assert shades[False] > 200
    assert shades[True] < 80


def test_printing(browser: Browser, page: Path) -> None:
    """Printed, it is a few pages."""
    printed = browser.printed(page)
    pages = len(re.findall(rb"/Type\s*/Page\b", printed))
    assert printed.startswith(b"%PDF")
    assert 2 <= pages <= 9
