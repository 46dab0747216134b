"""Pages in a browser: nothing is fetched, nothing complains, all is drawn, tables are sorted."""

import shutil

import pytest

from kerasresnet.report.markup import document
from kerasresnet.report.page import page_of
from kerasresnet.report.predictions import Predictions
from kerasresnet.report.sortable import sortable_table

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
HOSTILE = ["<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<b>bold</b>"]
DRAWN = """() => {
  const plots = [...document.querySelectorAll(".js-plotly-plot")];
  const texts = [...document.querySelectorAll("text.xtitle")].map(t => getComputedStyle(t).fill);
  return {
    plots: plots.filter(p => p.querySelector(".trace, .hm, .bars")).length,
    broken: [...document.images].filter(i => !i.complete || !i.naturalWidth).length,
    images: document.images.length,
    overflow: document.documentElement.scrollWidth - innerWidth,
    paper: getComputedStyle(document.body).backgroundColor,
    ink: [...new Set(texts)],
    names: [...document.querySelectorAll("#confusion .ytick text")].map(t => t.textContent),
  };
}"""

# The first column as it is seen, from top to bottom.
FIRST = """() => [...document.querySelectorAll("td:first-child")]
  .sort((a, b) => a.getBoundingClientRect().top - b.getBoundingClientRect().top)
  .map(cell => cell.textContent)"""


@pytest.fixture(scope="module")
def browser():
    """A Chromium: the system's, or the one of Playwright."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs pip install playwright")
    found = next(filter(None, map(shutil.which, NAMES)), None)
    with playwright.sync_playwright() as started:
        try:
            settings = {"args": ["--no-sandbox"], "timeout": 120_000}
            chromium = started.chromium.launch(executable_path=found, **settings)
        except playwright.Error as error:
            pytest.skip(f"no browser starts here: {str(error).splitlines()[0]}")
        yield chromium
        chromium.close()


def look_at(browser, path, **view):
    """What stands in the page at `path`, what it asked for, and what it complained about."""
    page = browser.new_page(**view)
    page.set_default_timeout(120_000)
    asked, said = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.goto(path.as_uri())
    found = page.evaluate(DRAWN)
    page.close()
    return found, [url for url in asked if not url.startswith("data:")], said


def test_a_browser_shows_the_page_and_fetches_nothing(browser, finished_run, tmp_path):
    labels = [*HOSTILE, *finished_run.facts["labels"][len(HOSTILE) :]]
    predictions = Predictions.read(finished_run.predictions_path)
    path = tmp_path / "page.html"
    path.write_text(page_of(finished_run.results | {"labels": labels}, predictions), "utf-8")
    views = {
        "light": {"color_scheme": "light"},
        "dark": {"color_scheme": "dark"},
        "phone": {"viewport": {"width": 360, "height": 740}},
    }
    seen = {}
    for name, view in views.items():
        seen[name], asked, said = look_at(browser, path, **view)
        assert asked == [path.as_uri()] and said == []
        assert seen[name]["plots"] == 5 and seen[name]["broken"] == 0
        assert seen[name]["images"] > 40 and seen[name]["overflow"] <= 0
        assert seen[name]["names"] == labels
    assert seen["light"]["paper"] == "rgb(255, 255, 255)" != seen["dark"]["paper"]
    assert seen["light"]["ink"] == ["rgb(31, 35, 40)"] != seen["dark"]["ink"]


def test_a_click_on_the_name_of_a_column_sorts_by_it_and_another_turns_that_round(
    browser, tmp_path
):
    rows = [
        ["0000", "`BB2x9`", "1,200", "91.50 % ± 0.10"],
        ["0001", "`BB2x10`", "900", "–"],
        ["0002", "`BB1x8`", "12,500", "9.25 %"],
        ["0003", "`BB1x8`", "90", "100.00 %"],
    ]
    table = sortable_table("trials", ["trial", "network", "parameters", "score"], rows)
    other = sortable_table("others", ["network"], [["`B`"], ["`A`"]])
    path = tmp_path / "page.html"
    path.write_text(document("a search", [table, other]), "utf-8")
    page = browser.new_page()
    page.set_default_timeout(120_000)
    page.goto(path.as_uri())
    assert page.evaluate(FIRST) == ["0000", "0001", "0002", "0003", "B", "A"]
    # Text by its letters, numbers by their size, what is not there last either way.
    for column, up, down in (
        ("score", "2031", "3021"),
        ("network", "2310", "0123"),
        ("parameters", "3102", "2013"),
    ):
        for order in (up, down, up):
            page.locator("table").first.locator("label:visible", has_text=column).click()
            assert page.evaluate(FIRST) == [*(f"000{trial}" for trial in order), "B", "A"]
    page.close()
