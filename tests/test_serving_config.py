"""serving/ holds what TF Serving reads, and nothing that keeps a server from starting."""

import re
import shlex
from pathlib import Path

import pytest
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,
)

SERVING = Path(__file__).resolve().parent.parent / "serving"

# BatchingParameters of TF Serving's session_bundle_config.proto, which no package brings.
BATCHING = {
    "max_batch_size": "Int64Value",
    "batch_timeout_micros": "Int64Value",
    "max_enqueued_batches": "Int64Value",
    "num_batch_threads": "Int64Value",
    "thread_pool_name": "StringValue",
    "allowed_batch_sizes": None,
    "pad_variable_length_inputs": None,
}


def batching_parameters():
    """A message class with the fields above."""
    file = descriptor_pb2.FileDescriptorProto(
        name="batching.proto", syntax="proto3", dependency=[wrappers_pb2.DESCRIPTOR.name]
    )
    message = file.message_type.add(name="BatchingParameters")
    kinds = descriptor_pb2.FieldDescriptorProto
    for number, (name, wrapper) in enumerate(BATCHING.items(), start=1):
        field = message.field.add(name=name, number=number, label=kinds.LABEL_OPTIONAL)
        if wrapper:
            field.type, field.type_name = kinds.TYPE_MESSAGE, f".google.protobuf.{wrapper}"
        elif name == "allowed_batch_sizes":
            field.type, field.label = kinds.TYPE_INT64, kinds.LABEL_REPEATED
        else:
            field.type = kinds.TYPE_BOOL
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("BatchingParameters"))


def parsed(name, message):
    return text_format.Parse((SERVING / name).read_text("utf-8"), message)


@pytest.fixture(scope="module")
def models():
    pytest.importorskip("tensorflow_serving", reason="needs tensorflow-serving-api")
    from tensorflow_serving.config import model_server_config_pb2

    return parsed("models.config", model_server_config_pb2.ModelServerConfig()).model_config_list


def test_the_models_are_those_under_the_mounted_folder(models):
    assert [model.name for model in models.config] == ["quick"]
    for model in models.config:
        assert model.base_path == f"/models/{model.name}"
        assert model.model_platform == "tensorflow"


def test_no_label_waits_for_a_version(models):
    assert not any(model.version_labels for model in models.config)
    assert not any(model.HasField("model_version_policy") for model in models.config)


def test_the_batching_parameters_are_sound():
    parameters = parsed("batching.config", batching_parameters()())
    assert parameters.max_batch_size.value >= 32  # what the client sends at once
    assert parameters.num_batch_threads.value >= 1
    assert parameters.max_enqueued_batches.value >= 1
    assert 0 <= parameters.batch_timeout_micros.value <= 10_000
    assert not parameters.allowed_batch_sizes
    with pytest.raises(text_format.ParseError):
        text_format.Parse("max_batch_sizes { value: 1 }", batching_parameters()())


def commands():
    """The server's flags, and what is mounted where, in each way to start one."""
    text = (SERVING / "README.md").read_text("utf-8")
    line = re.search(r"docker run (?:.*\\\n)*.*", text)[0].replace("\\\n", " ")
    words = shlex.split(line.replace("$PWD", str(SERVING.parent)))
    mounts = [words[i + 1] for i, word in enumerate(words) if word == "-v"]
    yield "docker run", words[words.index("tensorflow/serving") + 1 :], mounts
    yaml = pytest.importorskip("yaml", reason="needs pyyaml")
    services = yaml.safe_load((SERVING / "compose.yaml").read_text("utf-8"))["services"]
    for name, service in services.items():
        mounts = [f"{SERVING}/{mount}" for mount in service["volumes"]]
        yield name, service["command"], mounts


def test_every_way_to_start_a_server_mounts_what_its_flags_name():
    started = list(commands())
    assert [name for name, _, _ in started] == ["docker run", "serving", "batching"]
    for name, flags, mounts in started:
        folders = {mount.split(":")[1]: Path(mount.split(":")[0]) for mount in mounts}
        assert folders["/models"].resolve() == SERVING.parent / "saved_models"
        files = [flag.split("=")[1] for flag in flags if "_file=" in flag]
        assert "/config/models.config" in files
        for file in files:
            assert (folders["/config"] / Path(file).name).is_file()
        # A joined batch fails as a whole: never where files are sent.
        assert ("--enable_batching" in flags) == (name == "batching")
    assert started[0][1] == started[1][1]


def test_every_server_has_a_memory_limit_and_comes_back():
    yaml = pytest.importorskip("yaml", reason="needs pyyaml")
    services = yaml.safe_load((SERVING / "compose.yaml").read_text("utf-8"))["services"]
    for service in services.values():
        assert re.fullmatch(r"[0-9]+g", service["mem_limit"])
        assert service["restart"] == "unless-stopped"
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
