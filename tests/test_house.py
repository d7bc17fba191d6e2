"""The house's rules that no single room can check."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "vesalius"
ROOMS = {"segment"}
ALLOWED = {
    "engine": {"engine"},
    "images": {"engine", "images"},
    "report": {"engine", "report"},
    "datasets": {"engine", "datasets", "images"},
    "text": {"engine", "text"},
    "segment": {"engine", "images", "report", "datasets", "segment"},
    "detect": {"engine", "images", "report", "detect"},
    "diagnose": {"engine", "images", "text", "report", "datasets", "diagnose"},
    "study": {"engine", "text", "report", "study"},
}
KERNEL = {"errors", "language", "block", "files", "lazy", "__version__"}


def imported_rooms(path: Path) -> set[str]:
    """Return the rooms of the package that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            base = [node.module]
            if node.module == "vesalius":
                base = [f"vesalius.{name.name}" for name in node.names]
            found |= set(base)
    rooms = {name.split(".")[1] for name in found if name.startswith("vesalius.")}
    return rooms - KERNEL


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_imports_go_one_way(room):
    for path in (SOURCE / room).rglob("*.py"):
        beyond = imported_rooms(path) - ALLOWED[room]
        assert not beyond, f"{path.relative_to(SOURCE)} imports {beyond}"


def test_the_engine_knows_no_image():
    words = ("image", "pixel", "voxel", "mask", "nifti")
    for path in (SOURCE / "engine").glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {node.id.lower() for node in ast.walk(tree) if isinstance(node, ast.Name)}
        names |= {node.attr.lower() for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert not [name for name in names if any(word in name for word in words)], path.name


def test_the_loop_is_short():
    assert len((SOURCE / "engine" / "loop.py").read_text().splitlines()) < 400


@pytest.mark.parametrize(
    "code", ["import vesalius", "from vesalius.cli import main; main(['--help'])"]
)
def test_starting_loads_no_torch(code):
    check = f"import sys\ntry:\n {code.replace('; ', chr(10) + ' ')}\nfinally:\n"
    check += " sys.exit(7 if {'torch', 'numpy', 'pydantic'} & set(sys.modules) else 0)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_fixed_names_are_reachable_from_the_package():
    import vesalius

    losses = ("DiceLoss", "FocalLoss", "HybridLoss", "IoULoss", "MSSSIMLoss")
    steps = ("AWP", "FGM", "FreeLB", "PGD", "PlainStep", "VAT")
    for path in (
        *("segment.train", "segment.predict", "segment.evaluate", "segment.models.build"),
        *("segment.metrics.ConfusionMatrix", "engine.fit", "engine.Run", "datasets.open"),
        *("images.read_image", "images.encoders.build"),
        *(f"segment.losses.{name}" for name in losses),
        *(f"engine.steps.{name}" for name in steps),
    ):
        found = vesalius
        for name in path.split("."):
            found = getattr(found, name)
        assert callable(found)


def _name(decorator: ast.expr) -> str:
    return getattr(decorator, "id", "")


def test_every_public_function_has_a_docstring():
    missing = []
    for path in SOURCE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if path.name != "__init__.py" or tree.body:
            missing += [] if ast.get_docstring(tree) else [f"{path.relative_to(SOURCE)}"]
        for node in tree.body:
            public = isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_"
            overloads = [d for d in getattr(node, "decorator_list", ()) if _name(d) == "overload"]
            if public and not overloads and not ast.get_docstring(node):
                missing.append(f"{path.relative_to(SOURCE)}: {node.name}")
    assert not missing
