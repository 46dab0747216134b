"""A SavedModel that reaches files is refused before it is loaded; our own never is."""

import pytest

from kerasresnet.errors import KerasResNetError, UsageError
from kerasresnet.load.predictor import load_predictor
from kerasresnet.load.trust import _FORBIDDEN, file_operations, refuse_file_operations
from kerasresnet.predict.target import open_target


@pytest.fixture(scope="module")
def strangers(tmp_path_factory):
    """A SavedModel that answers with what a file of ours says, and one that writes one."""
    import tensorflow as tf

    home = tmp_path_factory.mktemp("strangers")
    secret = home / "secret"
    secret.write_text("secret")

    def reads(images):
        text = tf.strings.length(tf.io.read_file(str(secret)))
        return {"probabilities": tf.ones([tf.shape(images)[0], 10]) * tf.cast(text, tf.float32)}

    def writes(images):
        with tf.control_dependencies([tf.io.write_file(str(home / "written"), "x")]):
            return {"probabilities": tf.ones([tf.shape(images)[0], 10])}

    for body in (reads, writes):
        module = tf.Module()
        module.weight = tf.Variable(1.0)
        images = tf.TensorSpec([None, 32, 32, 3], tf.uint8, name="images")
        signature = tf.function(body, input_signature=[images])
        path = home / body.__name__ / "1"
        tf.saved_model.save(module, str(path), {"serving_default": signature})
    return home


@pytest.mark.parametrize(("name", "op"), [("reads", "ReadFile"), ("writes", "WriteFile")])
def test_file_operations_are_refused_unless_trusted(name, op, strangers):
    path = strangers / name
    for load in (load_predictor, lambda path: open_target(str(path))):
        with pytest.raises(UsageError, match=rf"reaches files .*\({op}\).*add --trust"):
            load(path)
    assert not (strangers / "written").exists()
    assert load_predictor(path, trust=True).classes == 10
    assert open_target(str(path), trust=True).image_shape == (32, 32, 3)


def test_our_own_exports_pass(finished_run, model_directory, tmp_path):
    from kerasresnet.export import export_saved_model

    refuse_file_operations(model_directory / "1")
    refuse_file_operations(export_saved_model(finished_run, tmp_path, freeze=True))


def test_what_cannot_be_read_or_examined_is_told(model_directory, tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"\xff" * 9)
    with pytest.raises(KerasResNetError, match="cannot load"):
        refuse_file_operations(tmp_path)
    (tmp_path / "saved_model.cpb").touch()
    with pytest.raises(UsageError, match=r"saved_model\.cpb, which is not examined.*--trust"):
        refuse_file_operations(tmp_path)


@pytest.fixture
def graph():
    """A graph as TensorFlow 2 saves it: `restore` and `ask`, functions that main nodes call."""
    from tensorflow.core.protobuf import meta_graph_pb2

    made = meta_graph_pb2.MetaGraphDef()
    for name, op in (("restore", "RestoreV2"), ("ask", "MatMul")):
        function = made.graph_def.library.function.add()
        function.signature.name = name
        function.node_def.add(name="x", op=op)
        node = made.graph_def.node.add(name=f"call_{name}", op="StatefulPartitionedCall")
        node.attr["f"].func.name = name
    made.saver_def.restore_op_name = "call_restore"
    made.object_graph_def.concrete_functions["ask"].SetInParent()
    return made


def called_by_op(function):
    function.node_def.add(name="y", op="restore")


def called_by_attribute(function):
    function.node_def.add(name="y", op="PartitionedCall").attr["f"].func.name = "restore"


def called_by_branch(function):
    function.node_def.add(name="y", op="Case").attr["branches"].list.func.add(name="restore")


def test_a_saver_may_restore_where_nothing_else_can_run_it(graph):
    assert list(file_operations(graph, second=True)) == []
    # An older SavedModel is loaded by running its main graph.
    assert list(file_operations(graph, second=False)) == ["RestoreV2"]


@pytest.mark.parametrize("call", [called_by_op, called_by_attribute, called_by_branch])
def test_a_savers_function_that_others_call_is_not_spared(call, graph):
    call(graph.graph_def.library.function[1])
    assert list(file_operations(graph, second=True)) == ["RestoreV2"]


def test_a_savers_function_that_an_object_names_is_not_spared(graph):
    graph.object_graph_def.concrete_functions["restore"].SetInParent()
    assert list(file_operations(graph, second=True)) == ["RestoreV2"]


def test_a_function_that_only_an_object_names_is_examined(graph):
    graph.graph_def.library.function.add().signature.name = "hidden"
    graph.graph_def.library.function[2].node_def.add(name="x", op="ReadFile")
    assert list(file_operations(graph, second=True)) == ["ReadFile"]


FORBIDDEN = """ReadFile WriteFile SaveV2 SaveSlices Save RestoreV2 RestoreSlice MergeV2Checkpoints
MatchingFiles PyFunc PyFuncStateless EagerPyFunc WholeFileReaderV2 TextLineReader TFRecordDatasetV2
TFRecordReaderV2 TextLineDataset FixedLengthRecordDataset CSVDataset SqlDataset CacheDatasetV2
SaveDatasetV2 LoadAndRemapMatrix SnapshotDatasetV2 InitializeTableFromTextFileV2 PrintV2
DebugIdentityV3 CreateSummaryFileWriter WriteSummary ImmutableConst DecodeProtoV2 DumpTensor
DataServiceDatasetV2 RemoteCall Abort ImportEvent Skipgram FixedUnigramCandidateSampler"""
HARMLESS = (
    "Conv2D ReadVariableOp DecodePng DecodeJpeg DecodeRaw Substr Assert While AssignVariableOp"
)


def test_the_operations_that_reach_files_are_known_by_name():
    assert [op for op in FORBIDDEN.split() if not _FORBIDDEN.search(op)] == []
    assert [op for op in HARMLESS.split() if _FORBIDDEN.search(op)] == []
