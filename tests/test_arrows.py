"""Imports go one way: a method imports shared packages; no shared package, tool or method imports a method by name."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "shared" / "transeg"
CORE = {
    "errors",
    "files",
    "lazy",
    "error_hook",
    "references",
}  # modules that everything may import; they import one another alone
ALLOWED = {
    "losses": set(),
    "networks": set(),
    "metrics": set(),
    "objectives": {"losses"},
    "visual": {"metrics"},
    "transforms": {"metrics", "visual"},
    "data": {"metrics", "transforms"},
    "engines": {"networks", "objectives"},
    "inferers": {"engines", "networks"},
    # make reads the source that lies in a method
    "bundle": {"data", "engines", "method", "methods", "metrics", "objectives", "transforms", "visual"},
    "evaluation": {"bundle", "data", "metrics", "transforms"},
    "report": {"bundle", "data", "transforms", "visual"},
    "export": {"bundle", "data", "method", "metrics", "transforms"},
    "doctor": {"data", "method", "metrics", "transforms", "visual"},
    "demo": {"bundle", "data", "evaluation", "method", "metrics", "networks", "visual"},
    "method": {"methods"},  # the registry looks into the folder, and names none of them
    "methods": set(),
    "cli": {"bundle", "demo", "doctor", "evaluation", "export", "report"},
} | {name: set() for name in CORE}
# what a method may import: every shared package, and the registry from its method.py
SHARED = set(ALLOWED) - {"cli", "methods"}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "transeg":
            names |= {f"transeg.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_arrows(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    names = imported(path)
    assert not {n for n in names if n.split(".")[0] in ("bundles", "data_prep", "tests", "benchmarks")}
    inside = {n for n in names if n.startswith("transeg.")} - {"transeg.__version__"}
    if parts == ("__init__",):
        assert inside <= {"transeg.lazy"}
    elif parts[0] == "methods" and len(parts) > 2:
        others = {n for n in inside if n.startswith("transeg.methods.") and n.split(".")[2] != parts[1]}
        assert not others, f"the method {parts[1]} must not import {others}"
        packages = {n.split(".")[1] for n in inside} - {"methods"}
        assert packages <= SHARED, f"a method must not import {packages - SHARED}"
    else:
        assert not {n for n in inside if n.startswith("transeg.methods.")}, "only a method imports a method by name"
        packages = {n.split(".")[1] for n in inside} - {parts[0]} - CORE
        assert packages <= ALLOWED[parts[0]], f"{parts[0]} must not import {packages - ALLOWED[parts[0]]}"


def test_every_module_has_a_place():
    """A loose file is a module of its own name in the table; a folder is a package in it."""
    places = {path.relative_to(PACKAGE).with_suffix("").parts[0] for path in PACKAGE.rglob("*.py")}
    assert places - {"__init__"} <= set(ALLOWED)


def test_no_text_of_a_shared_package_names_a_method():
    """Neither does a string that is imported later, such as a dotted name."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.relative_to(PACKAGE).parts[0] != "methods":
            assert "transeg.methods." not in path.read_text().replace("transeg.methods.{", ""), path
