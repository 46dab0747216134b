"""The files that docs/search-5m tells to search with are what its README says of them."""

import re
import shlex
from pathlib import Path

from tuning.search.options import parse_search_options
from tuning.search.oracle.brackets import plan_of
from tuning.search.space.start import first_choice

ROOT = Path(__file__).resolve().parents[2]


def test_the_command_is_read_and_its_plan_is_as_told(monkeypatch):
    monkeypatch.chdir(ROOT)
    text = (ROOT / "docs" / "search-5m" / "README.md").read_text("utf-8")
    command = re.search(r"```sh\n(.*?)```", text, re.DOTALL)[1].replace("\\\n", " ")
    flags = shlex.split(command)[3:]
    _, settings, space = parse_search_options(flags).resolve()
    plan, start = plan_of(settings.model_dump()), space.network(first_choice(space))
    assert f"{plan.trials} trials, {plan.epochs} epochs" in text
    assert f"starts with | `{start}`" in text
    # What would compare an early rung's trials by something else than their networks.
    assert space.dimensions["average"].values == ("ema",)
    assert space.dimensions["resolution"].values == ("none",)
