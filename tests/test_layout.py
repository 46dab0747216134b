"""The house keeps its plan: imports go one way, commands start light, its tree is true."""

import ast
import fnmatch
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import kerasresnet

ROOT = Path(__file__).resolve().parent.parent
HEAVY = {"keras", "tensorflow", "tensorflow_datasets", "jax", "torch", "keras_tuner"}


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sources(*folders):
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


MODULES = {module_name(path): path for path in sources("kerasresnet", "tuning")}
COMMANDS = [
    name.removesuffix(".__main__")
    for name, path in MODULES.items()
    if '__name__ == "__main__"' in path.read_text("utf-8")
]


def imports(name, *, lazy):
    """Modules that a module imports when it loads and, if `lazy`, later inside functions."""
    found = set()

    def visit(node):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and not lazy:
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import; write the whole name"
            modules = {f"{node.module}.{alias.name}" for alias in node.names} & MODULES.keys()
            found.update(modules or {node.module})
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(MODULES[name].read_text("utf-8")))
    return found


def loads(name):
    """Everything that importing a module of ours loads, as far as our own sources say."""
    seen, waiting = set(), {name}
    while waiting:
        current = waiting.pop()
        seen.add(current)
        parts = current.split(".")
        parents = {".".join(parts[:i]) for i in range(1, len(parts))}
        ours = imports(current, lazy=False) if current in MODULES else set()
        waiting |= (parents | ours) - seen
    return seen


def room(name):
    """The folder or file in which a module is: `kerasresnet/data`, `tuning/search/space`."""
    parts = name.split(".")
    if parts[-1] == "__main__":  # a command uses the rooms; it is in none of them
        return "/".join(parts)
    return "/".join(parts[: 3 if parts[0] == "tuning" else 2])


def rooms():
    """Which other rooms each room uses, lazily or not."""
    found = {}
    for name in MODULES:
        used = {room(other) for other in imports(name, lazy=True) if other in MODULES}
        found.setdefault(room(name), set()).update(used - {room(name)})
    return found


ROOMS = rooms()
LIGHT = ["errors", "disk", "schema", "machine", "command", "recipe", "run"]
LIGHT += [
    "data.catalog",
    "data.options",
    "network.spec",
    "network.budget",
    "augment.policy",
    "load.runtimes",
]


@pytest.mark.parametrize("name", LIGHT)
def test_specs_and_recipes_load_no_framework(name):
    roots = {module.split(".")[0] for module in loads(f"kerasresnet.{name}")}
    assert roots & HEAVY == set()


# What a room may use beside `errors`, the sentences that all of them speak. What a command does is
# not in it: its `__main__` puts rooms together.
MAY_USE = {
    "errors": set(),
    "renamed": set(),
    "disk": set(),
    "schema": set(),
    "machine": set(),
    "network": {"schema"},
    "command": {"disk", "network"},
    "augment": set(),
    "recipe": {"disk", "schema", "network", "augment"},
    "run": {"disk", "schema", "recipe"},
    "optim": set(),
    "data": {"disk", "augment", "renamed"},
    "load": {"disk", "schema", "run"},
    "evaluate": {"load"},
    "report": {"disk", "network", "recipe", "run", "augment", "data", "load", "evaluate"},
    "export": {"disk", "network", "recipe", "run", "load", "evaluate", "data", "renamed"},
    "predict": {"machine", "run", "load", "data"},
}


@pytest.mark.parametrize("name", MAY_USE)
def test_rooms_use_only_the_rooms_under_them(name):
    allowed = {f"kerasresnet/{other}" for other in MAY_USE[name] | {"errors"}}
    assert ROOMS[f"kerasresnet/{name}"] <= allowed


def test_no_two_rooms_and_no_two_files_use_each_other():
    files = {name: imports(name, lazy=True) & MODULES.keys() for name in MODULES}
    for uses in (ROOMS, files):
        graphlib.TopologicalSorter(uses).prepare()  # raises CycleError


def test_what_windows_does_not_have_is_imported_where_it_is_used():
    unix = {"fcntl", "grp", "pty", "pwd", "resource", "termios", "tty"}
    found = {name: unix & imports(name, lazy=False) for name in MODULES}
    assert {name: modules for name, modules in found.items() if modules} == {}


def test_the_spaces_of_a_search_need_no_keras():
    for name in MODULES:
        if room(name) == "tuning/search/space":
            assert {module.split(".")[0] for module in loads(name)} & HEAVY == set()


def test_the_search_and_the_study_use_nothing_of_each_other():
    for name in MODULES:
        for this, other in (("search", "study"), ("study", "search")):
            if name.startswith(f"tuning.{this}"):
                used = {".".join(module.split(".")[:2]) for module in imports(name, lazy=True)}
                assert f"tuning.{other}" not in used, name


def test_tests_lie_in_folders_named_after_those_of_the_house():
    folders = {p.name for package in ("kerasresnet", "tuning") for p in (ROOT / package).iterdir()}
    for path in (ROOT / "tests").glob("*/test_*.py"):
        assert path.parent.name in folders, path


def test_the_package_never_uses_the_search():
    for name in MODULES:
        if name.startswith("kerasresnet"):
            users = {module.split(".")[0] for module in imports(name, lazy=True)}
            assert "tuning" not in users, f"{name} imports tuning"


def test_the_package_itself_imports_no_room():
    # Importing fit here would make `python -m kerasresnet.fit` load it twice.
    assert imports("kerasresnet", lazy=True) & MODULES.keys() == set()


def test_the_public_names_are_these_and_none_is_a_modules():
    assert set(kerasresnet.__all__) == {
        "__version__",
        "StackSpec",
        "ResNetSpec",
        "Recipe",
        "build_model",
        "count_parameters",
        "count_macs",
        "widen_to_budget",
        "load_data",
        "ImageData",
        "train",
        "open_run",
        "compile_model",
        "recipe_optimizer",
        "recipe_schedule",
        "export_saved_model",
        "KerasResNetError",
        "UsageError",
    }
    assert set(dir(kerasresnet)) == set(kerasresnet.__all__)
    for name in kerasresnet.__all__:
        assert getattr(kerasresnet, name) is not None
        assert f"kerasresnet.{name}" not in MODULES
    with pytest.raises(AttributeError, match="has no attribute 'fit_everything'"):
        _ = kerasresnet.fit_everything


def imported_by(*arguments):
    """Names of all modules that a fresh Python imports, and what it prints."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return set(re.findall(r"^import time:.*\| *([\w.]+)$", done.stderr, re.MULTILINE)), done.stdout


def test_importing_the_package_loads_no_framework_and_no_command():
    modules, _ = imported_by("-c", "import kerasresnet")
    assert "kerasresnet" in modules
    assert modules & HEAVY == set()
    assert "kerasresnet.fit" not in modules


def test_the_commands_are_found():
    assert {"kerasresnet.fit", "kerasresnet.evaluate", "kerasresnet.export"} <= set(COMMANDS)
    assert {"tuning.search", "tuning.study"} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_loads_no_framework(command):
    modules, printed = imported_by("-m", command, "--help")
    assert f"usage: python -m {command}" in printed
    assert "kerasresnet.errors" in modules
    assert modules & HEAVY == set()


def test_no_file_has_a_name_that_says_nothing():
    nothing = {"utils", "util", "helpers", "helper", "common", "core", "misc", "train", "cli"}
    for path in sources("kerasresnet", "tuning", "tests", "benchmarks"):
        assert path.stem.removeprefix("test_") not in nothing, path
        assert not nothing & set(path.relative_to(ROOT).parts[:-1]), path


def read_tree(text):
    """Paths that an annotated tree names: two spaces a level, the name first, folders end in /."""
    folders, paths = [], []
    for line in filter(str.strip, text.splitlines()):
        depth, odd = divmod(len(line) - len(line.lstrip(" ")), 2)
        assert not odd and depth <= len(folders), f"wrong indentation: {line!r}"
        name = line.split()[0]
        path = "".join(folders[:depth]) + name
        folders = [*folders[:depth], name] if name.endswith("/") else folders[:depth]
        paths.append(path)
    return paths


def compare_tree(text, root):
    """What is wrong with an annotated tree: names that are not on disk, files it leaves out."""
    ignored = [line for line in (root / ".gitignore").read_text().split() if line.endswith("/")]
    named, wrong = set(), []
    for path in read_tree(text):
        found = {p for p in root.glob(path.rstrip("/")) if p.is_dir() or not path.endswith("/")}
        if not found and path not in ignored:
            wrong.append(f"{path} does not exist")
        named |= found
    rooms = [p for folder in ("kerasresnet", "tuning") for p in root.glob(f"{folder}/**/*.py")]
    top = [p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")]
    top = [p for p in top if not any(fnmatch.fnmatch(f"{p.name}/", line) for line in ignored)]
    needed = {p for p in rooms if p.name != "__init__.py"} | set(top)
    return wrong + [f"{p.relative_to(root)} is not named" for p in sorted(needed - named)]


def test_the_tree_of_the_house_names_exactly_what_is_on_disk():
    page = (ROOT / "docs" / "house.md").read_text("utf-8")
    marked = re.search(
        r"<!-- tree:begin -->\s*```\w*\n(.*?)```\s*<!-- tree:end -->", page, re.DOTALL
    )
    assert marked, "docs/house.md has no fenced tree between its two markers"
    assert compare_tree(marked[1], ROOT) == []


TREE = """
kerasresnet/      the package
  __init__.py     its public names
  spec.py         what a network is
  data/
    *.py          where images come from
  recipes/*.toml
tests/
runs/             git-ignored, made when needed
"""


def test_a_tree_that_is_wrong_is_found_out(tmp_path):
    files = ["kerasresnet/__init__.py", "kerasresnet/spec.py", "kerasresnet/data/digits.py"]
    for name in (*files, "kerasresnet/recipes/quick.toml", "tests/test_spec.py", "runs/1/run.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / ".gitignore").write_text("runs/\n*.egg-info/\n")
    assert compare_tree(TREE, tmp_path) == []
    (tmp_path / "kerasresnet" / "fit.py").touch()
    (tmp_path / "docs").mkdir()
    (tmp_path / "x.egg-info").mkdir()
    (tmp_path / "kerasresnet" / "recipes" / "quick.toml").unlink()
    assert compare_tree(TREE, tmp_path) == [
        "kerasresnet/recipes/*.toml does not exist",
        "docs is not named",
        "kerasresnet/fit.py is not named",
    ]
    with pytest.raises(AssertionError, match="wrong indentation"):
        read_tree("kerasresnet/\n   spec.py")
