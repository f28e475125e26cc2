"""The shape of the code, held by reading its syntax: layers, budgets, names, docstrings, the README's tree.

Run: `.venv/bin/python -m pytest tests/test_architecture.py`
"""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "fmlab"

# Imports point downward only. A folder or file of the package → its layer.
LAYERS = {
    "errors": 0, "settings": 0, "files": 0,
    "data": 1, "metrics": 1,
    "backbones": 2, "readers": 2, "phantom": 2, "predictions": 2,
    "embeddings": 3, "training": 3,
    "adapt": 4,
    "pretrain": 5, "audit": 5,
    "runs": 6,
    "studies": 7,
    "plots": 8, "review": 8,
    "report": 9,
    "ui": 10, "commands": 10, "cli": 11, "__main__": 12, "__init__": 0,
}  # fmt: skip
PAGES_LAYER = 11

HEAVY = ("torch", "torchvision", "timm", "transformers", "umap", "numba", "sklearn")
APP_PACKAGES = ("streamlit", "plotly")
FORBIDDEN_NAMES = {"utils", "helpers", "common", "core", "manager", "misc"}

LARGEST_FILE = 400
LARGEST_SCRIPT = 480  # JavaScript takes more lines for the same
LARGEST_PAGE = 120
LARGEST_FUNCTION = 80
LARGEST_FOLDER = 9

# Exceptions to the budgets, each with its reason.
LARGE_FOLDERS = {
    "runs": "a kind of work is a file here, and kinds are an open family",
    "readers": "a source layout is a file here, and layouts are an open family",
    "ui": "a part of a screen is a file here, and screens are an open family",
    "adapt": "an adaptation is a file here, and adaptations are an open family",
    "data": "the manifest, its store and what is derived from it on read each take short files",
    "audit": "a check is a file here, and checks are an open family",
    "plots": "a figure is a file here, and figures are an open family",
    "studies": "the grid, its price and its numbers each take several short files",
    "backbones": "a layout of weights files is a file here, and so is a family of rows; both are open families",
    "pretrain": "a method is a file here, and so is each of what methods share",
    "phantom": "anatomy, motion and scanner each take several short files",
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def app_files() -> list[Path]:
    return [ROOT / "app.py", *sorted((ROOT / "pages").glob("*.py"))]


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path, at_start_only: bool = False) -> set[str]:
    """Full dotted names that a file imports; with `at_start_only`, not those inside functions."""
    nodes = tree(path).body if at_start_only else ast.walk(tree(path))
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def part_of(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def test_every_part_of_the_package_has_a_layer():
    assert {part_of(path) for path in modules()} <= set(LAYERS)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downward(path):
    own = LAYERS[part_of(path)]
    for name in imports(path):
        if name.startswith("fmlab."):
            other = name.split(".")[1]
            if other in LAYERS and other != part_of(path):
                assert LAYERS[other] < own or own == 0, (
                    f"{path.name} (layer {own}) imports {name} (layer {LAYERS[other]})"
                )


def test_no_import_cycles():
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in modules()}
    graph = {
        name: {other for other in imports(path) if other in names and other != name} for name, path in names.items()
    }
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " → ".join([*above, name])
        if name not in done:
            for other in graph[name]:
                visit(other, (*above, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_streamlit_stays_in_the_app():
    for path in modules():
        if part_of(path) != "ui":
            assert not {name.split(".")[0] for name in imports(path)} & {"streamlit"}, path


@pytest.mark.parametrize("start", ["app", "command line"])
def test_nothing_heavy_is_imported_at_start(start):
    """Pages open at once, and a machine whose torch is broken still opens them."""
    commands = [
        f"fmlab.commands.{path.stem}" for path in (PACKAGE / "commands").glob("*.py") if path.stem != "__init__"
    ]
    targets = ["fmlab.cli", *commands] if start == "command line" else sorted(
        name for path in app_files() for name in imports(path) if name.startswith("fmlab.")
    )  # fmt: skip
    code = (
        "import importlib, importlib.util, sys\n"
        f"for name in {targets!r}:\n"
        "    parent, _, last = name.rpartition('.')\n"
        "    module = importlib.import_module(parent)\n"
        "    if not hasattr(module, last): importlib.import_module(name)\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert result.stdout.strip() == "[]"


def test_a_worker_imports_nothing_of_the_app():
    code = (
        "import importlib, sys\n"
        "from fmlab.runs.worker import KINDS\n"
        "for module in set(KINDS.values()): importlib.import_module(module)\n"
        f"print([name for name in {APP_PACKAGES!r} if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("path", [*modules(), *app_files()], ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_introduces_itself_and_stays_small(path):
    text = ast.get_docstring(tree(path))
    assert text, f"{path} has no docstring"
    if path.is_relative_to(PACKAGE) and path.stem not in ("__init__", "__main__"):
        assert "In:" in text, f"{path} does not say what comes in"
        assert "Out:" in text, f"{path} does not say what comes out"
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= (LARGEST_FILE if path.is_relative_to(PACKAGE) else LARGEST_PAGE)
    assert path.stem not in FORBIDDEN_NAMES


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_functions_are_typed_and_short(path):
    for function in functions(path):
        assert function.returns is not None, f"{function.name} has no return type"
        length = function.end_lineno - function.lineno + 1
        assert length <= LARGEST_FUNCTION, f"{function.name} has {length} lines"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_bare_except_no_print_no_assert(path):
    for node in ast.walk(tree(path)):
        assert not (isinstance(node, ast.ExceptHandler) and node.type is None), f"bare except in {path}"
        assert not isinstance(node, ast.Assert), f"assert in {path}:{node.lineno}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            assert any(keyword.arg == "file" for keyword in node.keywords), f"print to standard output in {path}"


def test_folders_are_flat_and_small():
    for folder in {path.parent for path in modules()}:
        assert len(folder.relative_to(PACKAGE).parts) <= 1, f"{folder} is nested too deep"
        count = len([path for path in folder.glob("*.py") if path.stem != "__init__"])
        assert count <= LARGEST_FOLDER or folder.name in LARGE_FOLDERS, f"{folder.name} holds {count} files"


def test_init_files_hold_a_docstring_alone():
    for path in PACKAGE.rglob("__init__.py"):
        assert len(tree(path).body) == 1, path


def test_the_error_tree_is_drawn():
    drawing = ast.get_docstring(tree(PACKAGE / "errors.py"))
    classes = [node.name for node in tree(PACKAGE / "errors.py").body if isinstance(node, ast.ClassDef)]
    assert classes
    assert all(name in drawing for name in classes)


def test_the_readme_captions_exactly_the_files_there_are():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"```text\n(app\.py.*?)```", readme, re.DOTALL).group(1)
    captioned, folder = {}, ""
    for line in block.splitlines():
        match = re.match(r"( *)(\S+)\s{2,}(\S.*)$", line)
        assert match, f"no caption: {line!r}"
        indent, name, caption = match.groups()
        depth = len(indent) // 2
        if name.endswith("/"):
            folder = name if depth == 0 else "/".join(folder.split("/")[:depth]) + f"/{name}"
        else:
            captioned[("/".join(folder.split("/")[:depth]) + "/" if depth else "") + name] = caption
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True, cwd=ROOT, check=True
    )
    there = {
        name for name in listed.stdout.split()
        if name.endswith((".py", ".js")) and not name.endswith("__init__.py") and (ROOT / name).exists()
        and not name.startswith(("tests/unit", "tests/contract", "tests/pages", "tests/browser", "tests/gpu"))
    }  # fmt: skip
    assert there == {name for name in captioned if name.endswith((".py", ".js"))}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.js")), ids=lambda path: path.name)
def test_scripts_set_text_and_never_markup(path):
    """File names, labels and notes come from outside: in the browser they are text, whatever they hold."""
    text = path.read_text(encoding="utf-8")
    assert text.startswith("// "), "what the file is stands in its first line"
    assert len(text.splitlines()) <= LARGEST_SCRIPT
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text)
    assert not re.search(r"https?://(?!www\.w3\.org/)", text), "nothing is fetched from elsewhere"


def test_nothing_speaks_of_this_machine():
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True, cwd=ROOT, check=True
    )
    for name in listed.stdout.split():
        path = ROOT / name
        if (
            path.suffix in (".py", ".js", ".css", ".md", ".toml", ".txt", ".yaml")
            and path.exists()
            and path != Path(__file__)
        ):
            text = path.read_text(encoding="utf-8")
            assert "/work/" not in text, name
            assert not re.search(r"\b(TODO|FIXME|XXX)\b", text), name
