"""Where a model can be, and what is said where none is."""

import json
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from model_servers import grpc_server, rest_server

from kerasresnet.errors import KerasResNetError, UsageError
from kerasresnet.load.runtimes import newest_version
from kerasresnet.predict.classify import classify
from kerasresnet.predict.images import find_images
from kerasresnet.predict.target import open_target

ROOT = Path(__file__).resolve().parents[2]


def test_the_newest_version_is_the_highest_number(tmp_path):
    for name in ("9", "10", "2", ".tmp-11", "notes"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "saved_model.pb").touch()
    assert newest_version(tmp_path) == tmp_path / "10"
    assert newest_version(tmp_path / "2") == tmp_path / "2"
    assert newest_version(tmp_path / "2" / "saved_model.pb") == tmp_path / "2"
    (tmp_path / "10" / "saved_model.pb").rename(tmp_path / "10" / "model.tflite")
    assert newest_version(tmp_path) == tmp_path / "10"


@pytest.mark.parametrize(
    ("address", "error", "sentence"),
    [
        ("nowhere", UsageError, "nowhere does not exist"),
        (str(ROOT / "tests"), UsageError, "tests holds no model"),
        ("ftp://host/quick", UsageError, "a server is http://host:8501/v1/models/NAME or grpc://"),
        ("http://host:8501/quick", UsageError, "address is http://host:8501/v1/models/NAME"),
        ("http://host:8501/v1/models/", UsageError, "address is http://host:8501/v1/models/NAME"),
        ("http://127.0.0.1:9/v1/models/quick", KerasResNetError, "no server answers.*refused"),
    ],
)
def test_an_address_that_leads_nowhere_is_told_in_one_sentence(address, error, sentence):
    with pytest.raises(error, match=sentence) as raised:
        open_target(address)
    assert type(raised.value) is error and len(str(raised.value).splitlines()) == 1


def test_what_a_rest_server_answers_instead_is_told(engine, photos):
    with rest_server(engine) as address:
        assert open_target(address + "/versions/1").name == address + "/versions/1"
        assert open_target(address + ":predict").name == address
        with pytest.raises(KerasResNetError, match=r"no such model .*404, Servable not found"):
            open_target(address.replace("tiny", "none"))
        with pytest.raises(KerasResNetError, match=r"no such model .*404"):
            open_target(address + "/versions/2")
    with (
        rest_server(engine, stall=lambda: time.sleep(0.5)) as address,
        pytest.raises(KerasResNetError, match=r"did not answer within 0\.1 s"),
    ):
        open_target(address, timeout=0.1)
    with (
        rest_server(engine, broken=lambda request: True) as address,
        pytest.raises(KerasResNetError, match="answers 503, The batch scheduling queue is full"),
    ):
        classify(open_target(address), find_images([str(photos)]))


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("<html>hello</html>", "not with JSON"),
        ('{"a": 1}', "not as TF Serving does"),
        (
            '{"metadata": {"signature_def": {"signature_def": {"serving_default": {"inputs": '
            '{"x": {"tensor_shape": {"dim": [{"size": "-1"}, {"size": "4"}]}}}}}}}}',
            "is no export of kerasresnet: its serving_default takes x",
        ),
    ],
)
def test_another_web_server_is_no_model(body, sentence, monkeypatch, engine):
    content = body.encode()
    monkeypatch.setattr(json, "dumps", lambda value: SimpleNamespace(encode=lambda: content))
    with (
        rest_server(engine) as address,
        pytest.raises(KerasResNetError, match=sentence),
    ):
        open_target(address)


def test_what_a_grpc_server_answers_instead_is_told(engine):
    with grpc_server(engine) as address:
        open_target(address + "/versions/1")
        with pytest.raises(KerasResNetError, match=r"no such model .*Servable not found"):
            open_target(address + "/versions/2")
        with pytest.raises(KerasResNetError, match=r"no such model .*Servable not found"):
            open_target(address.replace("tiny", "none"))
        with pytest.raises(UsageError, match="address is grpc://host:8500/NAME"):
            open_target(address.removesuffix("/tiny"))
    with pytest.raises(KerasResNetError, match=r"no server answers .*refused"):
        open_target("grpc://127.0.0.1:9/tiny")
    with (
        grpc_server(engine, stall=lambda: time.sleep(0.5)) as address,
        pytest.raises(KerasResNetError, match=r"did not answer within 0\.1 s"),
    ):
        open_target(address, timeout=0.1)


def test_grpc_without_its_package_says_what_to_type(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="type pip install tensorflow-serving-api"):
        open_target("grpc://localhost:8500/quick")
