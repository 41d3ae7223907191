"""The package as a whole: cheap to import, one version, dependencies declared, documents that tell the truth."""

from __future__ import annotations

import ast
import configparser
import importlib.metadata
import json
import os
import re
import resource
import shlex
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import monai_staging
from monai_staging.cli.main import COMMANDS

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
    "ignite": "pytorch-ignite",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
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


def test_what_the_package_imports_is_declared(repository: Path) -> None:
    requirements = declared(repository)
    allowed = requirements[""].union(*(names for extra, names in requirements.items() if extra not in {"dev", "docs"}))
    for module in (repository / "monai_staging").rglob("*.py"):
        assert imported_distributions(module) <= allowed, module


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


def documents(repository: Path) -> list[Path]:
    return [*repository.glob("*.md"), *(repository / "docs").rglob("*.md"), *(repository / "bundles").rglob("*.md")]


def shell_lines(markdown: str) -> list[str]:
    blocks = re.findall(r"^ *```(?:bash|shell|console)\n(.*?)^ *```", markdown, re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.strip().removeprefix("$ ") for line in lines if line.strip() and not line.strip().startswith("#")]


def test_readme_shows_the_commands(repository: Path) -> None:
    lines = [line.split(" #")[0].strip() for line in shell_lines((repository / "README.md").read_text())]
    assert "make train" in lines
    assert "make test" in lines
    assert "python -m monai.bundle run --config_file bundles/staging/train.json" in lines
    assert "mlflow ui --backend-store-uri sqlite:///mlruns.db" in lines


def test_commands_in_the_documents_exist(repository: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (repository / "Makefile").read_text(), re.MULTILINE))
    for document in documents(repository):
        for line in shell_lines(document.read_text()):
            words = [word for word in shlex.split(line, comments=True) if not re.fullmatch(r"\w+=.*", word)]
            where = f"{document.relative_to(repository)}: {line}"
            if words[:1] == ["make"]:
                assert set(words[1:]) <= targets, where
            elif words[:1] == ["monai-staging"]:
                assert words[1] in COMMANDS or words[1].startswith("--"), where
            elif words[:1] == ["python"] and words[1].endswith(".py"):
                assert (repository / words[1]).is_file(), where


def test_links_in_the_documents_lead_somewhere(repository: Path) -> None:
    for document in documents(repository):
        for target in re.findall(r"\]\(([^)#\s]+)", document.read_text()):
            if not re.match(r"[a-z]+:", target):
                assert (document.parent / target).exists(), f"{document.relative_to(repository)}: {target}"


def test_metadata_names_no_person(repository: Path) -> None:
    """The project speaks for itself: no author, address or machine path in what is published with it."""
    metadata = importlib.metadata.metadata("monai-staging")
    assert not {"Author", "Author-email", "Maintainer", "Maintainer-email"} & set(metadata.keys())
    for path in [*repository.glob("*.cfg"), *repository.glob("*.toml"), *documents(repository)]:
        text = path.read_text()
        assert not re.search(r"[\w.]+@[\w-]+\.[a-z]{2,}", text), path
        assert not re.search(r"(?<![\w.])/(?:home|root|Users|work)/", text), path


def test_bundles_are_json(repository: Path) -> None:
    for config in (repository / "bundles").rglob("*.json"):
        assert json.loads(config.read_text()), config
