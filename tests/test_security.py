"""What no module of the package, of the scripts or of a config does: run what a file says."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(path for folder in ("monai_staging", "scripts") for path in (ROOT / folder).rglob("*.py"))
CONFIGS = sorted(path for path in (ROOT / "bundles").glob("*/*.json") if path.name != "metadata.json")
# The one module that may: its unpickler makes arrays and nothing else, see tests/cohort/image_sets/test_cifar10.py.
UNPICKLER = Path("monai_staging/cohort/image_sets/numpy_pickle.py")
UNPICKLING = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
# Reads a program: PyTorch's exported ones unpickle parts, TorchScript's are code.
PROGRAMS = {"torch.export.load", "torch.jit.load", "torch.package.PackageImporter", "torch.hub.load"}
# Loads again what it has just written, to compare it with the network.
VERIFIER = Path("monai_staging/packaging/export.py")
EVALUATING = {
    "eval",
    "exec",
    "compile",
    "os.system",
    "os.popen",
    "builtins.eval",
    "builtins.exec",
    "subprocess.getoutput",
}


def dotted(node: ast.expr) -> str:
    """``torch.load`` of such an expression; empty for others."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return ""


def constant(call: ast.Call, keyword: str) -> object:
    """The value of a keyword argument, ``None`` where it is not a constant."""
    given = {own.arg: own.value for own in call.keywords}.get(keyword)
    return given.value if isinstance(given, ast.Constant) else None


def findings(source: str, path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [own.name for own in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            if name.partition(".")[0] in UNPICKLING and path != UNPICKLER:
                yield f"{path}:{node.lineno}: imports {name}"
        if not isinstance(node, ast.Call):
            continue
        called = dotted(node.func)
        if called in EVALUATING:
            yield f"{path}:{node.lineno}: calls {called}"
        if called in PROGRAMS and path != VERIFIER:
            yield f"{path}:{node.lineno}: calls {called}, which runs what a file says"
        if called in ("torch.load", "serialization.load") and constant(node, "weights_only") is not True:
            yield f"{path}:{node.lineno}: torch.load without weights_only=True"
        if called in ("np.load", "numpy.load") and constant(node, "allow_pickle") not in (False, None):
            yield f"{path}:{node.lineno}: numpy.load with allow_pickle"
        if called.endswith(("yaml.load", "yaml.unsafe_load", "yaml.full_load")):
            yield f"{path}:{node.lineno}: calls {called}"
        if called.startswith(("subprocess.", "Popen")) and constant(node, "shell") not in (False, None):
            yield f"{path}:{node.lineno}: {called} with a shell"


def test_no_module_runs_what_a_file_says() -> None:
    assert len(MODULES) > 500
    found = [own for path in MODULES for own in findings(path.read_text(encoding="utf-8"), path.relative_to(ROOT))]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from dill import loads",
        "import torch; torch.load(path)",
        "import torch; torch.load(path, weights_only=False)",
        "import torch; torch.load(path, weights_only=flag)",
        "import torch; torch.jit.load(path)",
        "import numpy as np; np.load(path, allow_pickle=True)",
        "import subprocess; subprocess.run(command, shell=True)",
        "import os; os.system(command)",
        "eval(text)",
        "import yaml; yaml.load(text)",
    ],
)
def test_what_is_looked_for_is_found(source: str) -> None:
    assert len(list(findings(source, Path("module.py")))) == 1


def expressions(value: object) -> Iterator[str]:
    if isinstance(value, str):
        if value.startswith("$"):
            yield value[1:]
    elif isinstance(value, (dict, list)):
        for own in value.values() if isinstance(value, dict) else value:
            yield from expressions(own)


def test_no_config_reads_weights_or_runs_commands_by_itself() -> None:
    """Configs are code by MONAI's design; ours leave loading to the package, which reads weights and nothing else."""
    assert CONFIGS
    for path in CONFIGS:
        for expression in expressions(json.loads(path.read_text(encoding="utf-8"))):
            source = re.sub(r"[@%]", "", expression).replace("#", "_")
            assert list(findings(source, path.relative_to(ROOT))) == [], expression
