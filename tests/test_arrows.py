"""Imports go one way: losses, networks and metrics know nobody, nothing in transeg knows bundles or data_prep."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "shared" / "transeg"
ALLOWED = {
    "losses": set(),
    "networks": set(),
    "classical": set(),
    "metrics": set(),
    "objectives": {"losses"},
    "engines": {"metrics", "networks", "transforms"},  # scores; folding spectral norm into saved weights; case names
    "transforms": {"classical", "metrics", "visual"},
    "data": {"classical", "transforms"},
    "visual": {"metrics"},
    "release": {"data", "engines", "transforms"},  # bundles are data to it
    "demo": {"data", "metrics", "networks", "release", "transforms", "visual"},
}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_arrows(path):
    parts = path.relative_to(PACKAGE).parts
    names = imported(path)
    assert not {n for n in names if n.split(".")[0] in ("bundles", "data_prep", "tests", "benchmarks")}
    if len(parts) > 1:
        room = parts[0]
        rooms = {n.split(".")[1] for n in names if n.startswith("transeg.")} - {room}
        assert rooms <= ALLOWED[room], f"{room} must not import {rooms - ALLOWED[room]}"
