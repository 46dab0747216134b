"""What a SavedModel can do to files when it is loaded or asked, read from its graph.

A SavedModel is a program: loading one runs its initialisers, and asking one runs its functions.
TensorFlow's operations read and write any file of whoever runs them; an exported network needs none
of those.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kerasresnet.errors import KerasResNetError, UsageError

# Operations by what their names say: they reach files, other processes or Python. ImmutableConst
# maps a file, PrintV2 and the debug operations write one where they are told to, DecodeProto and
# EncodeProto read a descriptor's.
_FORBIDDEN = re.compile(
    r"File|Reader|PyFunc|Save|Restore|Checkpoint|Record|Snapshot|LMDB|Sql|CSV|SSTable|Summary"
    r"|^Print|^Debug|^DecodeProto|^EncodeProto|ImmutableConst|RemapMatrix|VocabRemapping"
    r"|Dataset|^Rpc|RemoteCall|^Abort$|ImportEvent|DumpTensor|Skipgram|CandidateSampler"
)
_SAVED, _CHUNKED = "saved_model.pb", "saved_model.cpb"


def refuse_file_operations(folder: Path) -> None:
    """Raises `UsageError` where the SavedModel in `folder` has an operation that reaches files.

    Those with which a plain SavedModel saves and restores its own variables are allowed where
    nothing but that can run them. Raises `KerasResNetError` where there is no reading it.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    if (folder / _CHUNKED).exists():  # TensorFlow prefers it
        raise UsageError(f"{folder} holds {_CHUNKED}, which is not examined; {_advice()}")
    try:
        saved = saved_model_pb2.SavedModel.FromString((folder / _SAVED).read_bytes())
    except (OSError, DecodeError) as error:
        raise KerasResNetError(f"cannot load {folder}: {error}") from None
    second = len(saved.meta_graphs) == 1 and saved.meta_graphs[0].HasField("object_graph_def")
    found = sorted({op for graph in saved.meta_graphs for op in file_operations(graph, second)})
    if found:
        raise UsageError(
            f"{folder} reaches files or more when it is used ({', '.join(found[:5])}), which no "
            f"export of ours does; {_advice()}"
        )


def _advice() -> str:
    return "where you trust who wrote it, add --trust"


def file_operations(graph: Any, second: bool) -> Iterator[str]:
    """The operations of a MetaGraphDef that reach files, but for those of its own saver.

    `second` says that TensorFlow loads it by its objects (SavedModels of TensorFlow 2): then it
    never runs the nodes of the main graph, which alone call the functions that save and restore.
    """
    functions = {f.signature.name: f.node_def for f in graph.graph_def.library.function}
    spared: set[str] = set()
    if second:
        saver = {graph.saver_def.save_tensor_name, graph.saver_def.restore_op_name}
        saver = {name.split(":")[0] for name in saver}
        nodes = graph.graph_def.node
        spared = _reached([node for node in nodes if node.name in saver], functions)
        others = [node for node in nodes if node.name not in saver]
        others += [node for name in functions.keys() - spared for node in functions[name]]
        # What the objects name, or another function calls, can be run by more than the saver.
        spared -= _reached(others, functions) | set(graph.object_graph_def.concrete_functions)
        spared -= _reached_from(graph.object_graph_def.concrete_functions, functions)
    yield from (node.op for node in graph.graph_def.node if _FORBIDDEN.search(node.op))
    for name, nodes in functions.items():
        if name not in spared:
            yield from (node.op for node in nodes if _FORBIDDEN.search(node.op))


def _reached_from(names: Any, functions: dict[str, Any]) -> set[str]:
    return _reached([node for name in names for node in functions.get(name, ())], functions)


def _reached(nodes: Any, functions: dict[str, Any]) -> set[str]:
    """Names of all functions that these nodes call, and those that they call."""
    found: set[str] = set()
    waiting = list(nodes)
    while waiting:
        for name in _called(waiting.pop()):
            if name in functions and name not in found:
                found.add(name)
                waiting += functions[name]
    return found


def _called(node: Any) -> Iterator[str]:
    yield node.op  # a function may stand as an operation of its own name
    for value in node.attr.values():
        yield value.func.name
        yield from (function.name for function in value.list.func)
