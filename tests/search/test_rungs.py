"""What benchmarks/rungs.py reads of recorded runs, and how it ranks them."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
from made_up_search import MadeUpSearch

from kerasresnet.errors import UsageError
from tuning.search.view.leaderboard import write_report

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def rungs():
    spec = importlib.util.spec_from_file_location("rungs", ROOT / "benchmarks" / "rungs.py")
    module = sys.modules["rungs"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def kinds(curves):
    return sorted((curve.kind, len(curve.scores)) for curve in curves)


def test_a_search_and_its_report_give_each_network_once(rungs, tmp_path):
    search = MadeUpSearch(tmp_path / "s").finish()
    found = list(rungs.read_curves(search.path))
    assert len(found) == 9 + 5 + 3  # drawn; a promoted one is the same network
    assert sum(len(curve.scores) == 9 for curve in found) == 6
    assert {curve.kind for curve in found} == {rungs.LAST, rungs.AVERAGED}
    write_report(search.path, tmp_path / "report")
    reported = list(rungs.read_curves(tmp_path / "report" / "leaderboard.json"))
    assert kinds(reported) == kinds(found)
    assert len(rungs.whole(found, rungs.LAST)) + len(rungs.whole(found, rungs.AVERAGED)) == 6


def test_result_files_are_read_by_their_recipe(rungs):
    (first, *_) = found = list(rungs.read_curves(ROOT / "results" / "quick"))
    assert kinds(found) == [(rungs.AVERAGED, 8)] * 10
    assert first.scores[-1] == pytest.approx(0.91, abs=0.02)


def test_ranks_and_not_distances_are_compared(rungs, capsys):
    last = [rungs.Curve(rungs.LAST, s) for s in [(0.3, 0.7), (0.1, 0.8), (0.2, 0.9)]]
    averaged = [rungs.Curve(rungs.AVERAGED, s) for s in [(0.1, 0.7), (0.2, 0.8), (0.9, 0.9)]]
    assert rungs.correlation(rungs.whole(last, rungs.LAST), 1) == pytest.approx(-0.5)
    assert rungs.correlation(rungs.whole(averaged, rungs.AVERAGED), 1) == pytest.approx(1)
    rungs.print_rungs([*last, *averaged])
    rungs.print_difference([*last, *averaged])
    told = capsys.readouterr().out
    assert "last weights: 3 runs of 2 epochs" in told and "+1.50" in told


@pytest.mark.parametrize("text", ["[]", "{}", "no JSON"])
def test_what_holds_no_curve_is_refused(rungs, text, tmp_path):
    (tmp_path / "found.json").write_text(text)
    for path in (tmp_path, tmp_path / "found.json", tmp_path / "nowhere"):
        with pytest.raises(UsageError) as caught:
            list(rungs.read_curves(path))
        assert "\n" not in str(caught.value)


def test_what_measure_wrote_is_read_again(rungs, tmp_path):
    networks = [{"spec": "BB1x8", "last": [0.1, 0.2], "averaged": [0.2, 0.2]}]
    (tmp_path / "rungs.json").write_text(json.dumps({"networks": networks}))
    found = list(rungs.read_curves(tmp_path / "rungs.json"))
    assert kinds(found) == [(rungs.AVERAGED, 2), (rungs.LAST, 2)]
