"""The page of a run in a real browser: nothing is fetched, nothing complains, all is drawn."""

import shutil

import pytest

from kerasresnet.report.page import page_of
from kerasresnet.report.predictions import Predictions

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
