"""The package as a whole: cheap to import, one version, dependencies declared and pinned."""

from __future__ import annotations

import ast
import configparser
import importlib.metadata
import json
import os
import re
import resource
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import monai_staging

HEAVY = {
    "torch",
    "monai",
    "mlflow",
    "numpy",
    "pandas",
    "scipy",
    "sklearn",
    "skimage",
    "pydicom",
    "nibabel",
    "matplotlib",
}
# import name -> distribution, where they differ
DISTRIBUTIONS = {
    "dicomweb_client": "dicomweb-client",
    "ignite": "pytorch-ignite",
    "nrrd": "pynrrd",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "PIL": "pillow",
    "openslide": "openslide-python",
    "yaml": "pyyaml",
    "pynvml": "nvidia-ml-py",
    "ray": "ray",
}


def environment() -> dict[str, str]:
    """This process's, without what makes coverage start in a child: it would be measured along."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("COV_", "COVERAGE_"))}


@pytest.mark.parametrize("command", [["-c", "import monai_staging"], ["-m", "monai_staging.cli", "--help"]])
def test_starts_in_under_0_3_seconds(command: list[str]) -> None:
    # Processor time is what the code costs, whatever else the machine does; on an idle one the clock shows the same.
    times_s = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *command], check=True, env=environment(), stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times_s.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert statistics.median(times_s) < 0.3


@pytest.mark.parametrize(
    "statement",
    ["import monai_staging", "from monai_staging.cli.main import main; main(['--help'])"],
)
def test_imports_nothing_heavy(statement: str) -> None:
    code = f"""
import sys
try:
    {statement}
except SystemExit:
    pass
print(*sys.modules, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, env=environment(), capture_output=True, text=True)
    assert "monai_staging" in done.stderr.split()
    assert HEAVY.isdisjoint(done.stderr.split())


def test_version_is_the_installed_one() -> None:
    assert importlib.metadata.version("monai-staging") == monai_staging.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+", monai_staging.__version__)


def test_changelog_knows_the_version(repository: Path) -> None:
    headings = re.findall(r"^## \[(.+?)\]", (repository / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert monai_staging.__version__ in headings or headings == ["Unreleased"]


def test_entry_point_leads_to_main() -> None:
    (entry,) = importlib.metadata.entry_points(group="console_scripts", name="monai-staging")
    assert entry.value == "monai_staging.cli.main:main"


def test_every_subpackage_is_packaged(repository: Path) -> None:
    for module in (repository / "monai_staging").rglob("*.py"):
        assert (module.parent / "__init__.py").is_file(), module


def imported_distributions(module: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    names -= set(sys.stdlib_module_names) | {"monai_staging"}
    return {DISTRIBUTIONS.get(name, name) for name in names}


def declared(repository: Path) -> dict[str, set[str]]:
    config = configparser.ConfigParser()
    config.read(repository / "setup.cfg")
    lists = {"": config["options"]["install_requires"], **config["options.extras_require"]}
    return {
        extra: {re.split(r"[<>=!~;\[ ]", line)[0].lower() for line in lines.split("\n") if line.strip()}
        for extra, lines in lists.items()
    }


def label_pins(repository: Path) -> dict[str, set[str]]:
    """What is installed without dependencies for `monai-staging label`: name to its pins, several if Pythons differ."""
    pins: dict[str, set[str]] = {}
    for line in (repository / "requirements-label.txt").read_text().splitlines():
        if not line.startswith("#"):
            assert re.fullmatch(r"[a-z0-9-]+==[0-9][\w.]*(; python_version (>=|<) \"3\.11\")?", line), line
            pins.setdefault(line.partition("==")[0], set()).add(line)
    return pins


def test_what_the_package_imports_is_declared(repository: Path) -> None:
    requirements = declared(repository)
    allowed = requirements[""].union(*(names for extra, names in requirements.items() if extra not in {"dev", "docs"}))
    for module in (repository / "monai_staging").rglob("*.py"):
        more = label_pins(repository).keys() if "label" in module.parent.relative_to(repository).parts else set()
        assert imported_distributions(module) <= allowed | more, module


def test_what_annotation_needs_is_at_the_version_of_development(repository: Path) -> None:
    constraints = set((repository / "constraints.txt").read_text().splitlines())
    constrained = {line.partition("==")[0] for line in constraints}
    for name, pins in label_pins(repository).items():
        assert name not in constrained or pins <= constraints, name


def test_every_requirement_is_pinned(repository: Path) -> None:
    lines = (repository / "constraints.txt").read_text().splitlines()
    pins = [line.split(";")[0] for line in lines if not line.startswith("#")]
    assert pins[0].startswith("torch==")
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][\w.+]*", pin) for pin in pins)
    pinned = {pin.partition("==")[0] for pin in pins}
    assert set().union(*declared(repository).values()) <= pinned
    assert not {"torchvision", "torchaudio"} & pinned


def test_bundles_name_the_versions_that_are_pinned(repository: Path) -> None:
    # More than one version where they differ between Pythons.
    pins: dict[str, set[str]] = {"monai-staging": {monai_staging.__version__}}
    for line in (repository / "constraints.txt").read_text().splitlines():
        if not line.startswith("#"):
            name, _, version = line.partition(";")[0].partition("==")
            pins.setdefault(name, set()).add(version.strip())
    bundles = list((repository / "bundles").glob("*/metadata.json"))
    assert bundles
    for path in bundles:
        metadata = json.loads(path.read_text())
        named = {
            "monai": metadata["monai_version"],
            "torch": metadata["pytorch_version"],
            "numpy": metadata["numpy_version"],
            **metadata["required_packages_version"],
        }
        where = str(path.relative_to(repository))
        assert {name: version for name, version in named.items() if version not in pins.get(name, ())} == {}, where


def test_pyproject_holds_only_the_build_system(repository: Path) -> None:
    sections = re.findall(r"^\[(.+)\]", (repository / "pyproject.toml").read_text(), re.MULTILINE)
    assert sections == ["build-system"]


def test_bundles_are_json(repository: Path) -> None:
    for config in (repository / "bundles").rglob("*.json"):
        assert json.loads(config.read_text()), config
