"""Documents that tell the truth: their commands are taken by the real parsers, their links lead somewhere."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import importlib.util
import inspect
import re
import shlex
import subprocess
from itertools import takewhile
from pathlib import Path

import monai.bundle
import pytest
import yaml

from monai_staging.cli.main import COMMANDS

# `OUT`, `DOWNLOAD`, `...`: the reader puts something in its place.
PLACEHOLDER = re.compile(r"[A-Z][A-Z_]*|\.\.\.")
FENCE = re.compile(r"^ *```([^`\n]*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)


def documents(repository: Path) -> list[Path]:
    written = [path for path in (repository / "docs").rglob("*.md") if "_build" not in path.parts]
    return [*repository.glob("*.md"), *written, *(repository / "bundles").rglob("*.md")]


def shell_lines(markdown: str) -> list[str]:
    """What a reader types; of a block with prompts, the lines behind them."""
    lines = []
    for language, block in FENCE.findall(markdown):
        if language in {"bash", "shell", "sh", "console", ""}:
            typed = [line.strip() for line in block.replace("\\\n", " ").splitlines()]
            if any(line.startswith("$ ") for line in typed):
                typed = [line.removeprefix("$ ") for line in typed if line.startswith("$ ")]
            elif not language:
                typed = [line for line in typed if line.startswith(("monai-staging ", "python ", "torchrun "))]
            lines += [line for line in typed if line and not line.startswith("#")]
    return lines


def inline_commands(markdown: str) -> list[str]:
    """Commands within sentences, where a command's name alone stands for the command."""
    spans = re.findall(r"`((?:monai-staging|python|torchrun|make) [^`]+)`", FENCE.sub("", markdown))
    spans = [" ".join(span.split()) for span in spans]
    return [f"{span} --help" if re.fullmatch(r"monai-staging \S+", span) else span for span in spans]


class DocumentedParser(argparse.ArgumentParser):
    """Takes a placeholder for any value, an option only by its full name, and raises instead of ending the process."""

    def _get_value(self, action: argparse.Action, arg_string: str) -> object:
        return arg_string if PLACEHOLDER.fullmatch(arg_string) else super()._get_value(action, arg_string)

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if not PLACEHOLDER.fullmatch(str(value)):
            super()._check_value(action, value)

    def error(self, message: str) -> None:  # type: ignore[override]
        raise ValueError(message)


def command_problem(name: str, arguments: list[str]) -> str | None:
    """What the command's own parser says against its arguments."""
    if name.startswith("--") or PLACEHOLDER.fullmatch(name):
        return None
    if name not in COMMANDS:
        return f"no command {name}"
    if "--help" in arguments:
        return None
    parser = DocumentedParser(allow_abbrev=False)
    importlib.import_module(COMMANDS[name][0]).add_arguments(parser)
    try:
        parser.parse_args(arguments)
    except ValueError as error:
        return str(error)
    return None


def bundle_problem(repository: Path, name: str, arguments: list[str]) -> str | None:
    """Files that are not there, and keys and ids that neither the command nor the merged config has."""
    function = getattr(monai.bundle, name, None)
    if function is None:
        return f"no bundle command {name}"
    options: dict[str, str] = {}
    ids = list(takewhile(lambda word: not word.startswith("--"), arguments))
    rest = iter(arguments[len(ids) :])
    for word in rest:
        if not word.startswith("--"):
            return f"{word} belongs to no option"
        key, given, value = word.removeprefix("--").partition("=")
        options[key] = value if given else next(rest, "")
    files = {
        option: [file.strip(" '\"") for file in options[option].strip("[]").split(",")]
        for option in ("config_file", "meta_file", "logging_file")
        if option in options
    }
    missing = [file for listed in files.values() for file in listed if not (repository / file).is_file()]
    if missing:
        return f"no file {', '.join(missing)}"
    config = monai.bundle.ConfigParser(
        monai.bundle.ConfigParser.load_config_files([repository / file for file in files.get("config_file", [])])
    )
    asked = [*ids, *(key for key in options if key not in inspect.signature(function).parameters)]
    unknown = [key for key in asked if key not in config]
    return f"not in the config: {', '.join(unknown)}" if unknown else None


def module_exists(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def problem(repository: Path, line: str) -> str | None:
    """What is wrong with a documented command; ``None`` for those that are right, or not this project's."""
    if line.startswith("monai-staging"):
        # [--json]: may be left out.
        line = re.sub(r"[\[\]]", "", line)
    words = list(takewhile(lambda word: word not in {"|", "&&", ";", ">"}, shlex.split(line, comments=True)))
    words = [word for word in words if not re.fullmatch(r"\w+=.*", word)]
    if words[:1] == ["make"]:
        targets = set(re.findall(r"^([a-z]+):", (repository / "Makefile").read_text(), re.MULTILINE))
        unknown = set(words[1:]) - targets
        return f"no target {', '.join(sorted(unknown))}" if unknown else None
    if words[:1] == ["monai-staging"]:
        return command_problem(words[1], words[2:])
    if words[:1] in (["python"], ["torchrun"]) and "-m" in words:
        module, *arguments = words[words.index("-m") + 1 :]
        if module == "monai.bundle":
            return bundle_problem(repository, arguments[0], arguments[1:])
        return None if module_exists(module) else f"no module {module}"
    if words[:1] == ["python"] and words[1].endswith(".py"):
        return None if (repository / words[1]).is_file() else f"no file {words[1]}"
    return None


def test_readme_shows_the_commands(repository: Path) -> None:
    lines = [line.split(" #")[0].strip() for line in shell_lines((repository / "README.md").read_text())]
    assert "make train" in lines
    assert "make test" in lines
    assert "python -m monai.bundle run --config_file bundles/staging/train.json" in lines
    assert "mlflow ui --backend-store-uri sqlite:///mlruns.db" in lines


def test_commands_in_the_documents_work(repository: Path) -> None:
    wrong = {}
    for document in documents(repository):
        markdown = document.read_text()
        for line in [*shell_lines(markdown), *inline_commands(markdown)]:
            found = problem(repository, line)
            if found is not None:
                wrong[f"{document.relative_to(repository)}: {line}"] = found
    assert wrong == {}


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("monai-staging phantom OUT --cases N", None),
        ("monai-staging ingest SOURCE RAW OUT --folds 5 | less", None),
        ("monai-staging audit COHORT [--json]", None),
        ("monai-staging --version", None),
        ("monai-staging autopsy OUT", "no command autopsy"),
        ("monai-staging phantom", "required: OUT"),
        ("monai-staging phantom OUT --case 4", "unrecognized arguments: --case 4"),
        ("monai-staging phantom OUT --cases many", "invalid int value: 'many'"),
        ("monai-staging ingest somewhere RAW OUT", "invalid choice: 'somewhere'"),
        ("make tea", "no target tea"),
        ("python scripts/no_such_script.py", "no file scripts/no_such_script.py"),
        ("python -m monai_staging.no_such_module", "no module monai_staging.no_such_module"),
        (
            "python -m monai.bundle run --config_file bundles/staging/train.json --seed=1 --train#trainer#max_epochs 2",
            None,
        ),
        ("python -m monai.bundle run --config_file bundles/staging/train.json --sed 1", "not in the config: sed"),
        ("python -m monai.bundle run rerun --config_file bundles/staging/train.json", "not in the config: rerun"),
        (
            "torchrun -m monai.bundle run --config_file \"['bundles/staging/train.json','bundles/staging/none.json']\"",
            "no file bundles/staging/none.json",
        ),
        ("python -m monai.bundle ran", "no bundle command ran"),
        ("python -m monai.bundle run --seed 1 2", "2 belongs to no option"),
    ],
)
def test_a_wrong_command_is_found(line: str, found: str | None, repository: Path) -> None:
    result = problem(repository, line)
    assert result == found if found is None or result is None else found in result


def test_commands_are_found_in_blocks_and_sentences() -> None:
    markdown = """
Run `monai-staging audit
COHORT`, or `monai-staging info`; `make` alone is a word.

```console
$ monai-staging stage --t T2a \\
    --n N1
monai-staging stage: this is what it printed
```

```
monai-staging info
1 | 2
```

```python
monai-staging not this
```
"""
    assert shell_lines(markdown) == ["monai-staging stage --t T2a      --n N1", "monai-staging info"]
    assert inline_commands(markdown) == ["monai-staging audit COHORT", "monai-staging info --help"]


def test_example_jobs_start_what_there_is(repository: Path) -> None:
    examples = repository / "docs" / "examples"
    batch = examples / "staging.sbatch"
    assert subprocess.run(["bash", "-n", batch], check=False).returncode == 0
    (line,) = [one for one in batch.read_text().replace("\\\n", " ").splitlines() if one.startswith("srun torchrun")]
    job = yaml.safe_load((examples / "pytorchjob.yaml").read_text())
    replicas = job["spec"]["pytorchReplicaSpecs"]
    assert job["kind"] == "PyTorchJob" and set(replicas) == {"Master", "Worker"}
    lines = [line.removeprefix("srun ")]
    for replica in replicas.values():
        (container,) = replica["template"]["spec"]["containers"]
        assert container["name"] == "pytorch"  # the operator knows it by this name
        assert container["resources"]["limits"]["nvidia.com/gpu"] == int(job["spec"]["nprocPerNode"])
        volumes = {volume["name"] for volume in replica["template"]["spec"]["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes
        lines.append(shlex.join(container["command"]))
    for one in lines:
        assert "multi_gpu_train.json" in one and "--resume true" in one and problem(repository, one) is None


def test_the_compose_file_starts_a_server_that_mlflow_has(repository: Path) -> None:
    from mlflow.cli import server

    compose = yaml.safe_load((repository / "docs" / "examples" / "mlflow-compose.yaml").read_text())
    services = compose["services"]
    known = {option for parameter in server.params for option in parameter.opts}
    command = services["server"]["command"]
    assert command[:2] == ["mlflow", "server"] and {word.split("=")[0] for word in command[2:]} <= known
    for service in services.values():
        assert set(service.get("depends_on", [])) <= set(services)
        assert {place.split(":")[0] for place in service.get("volumes", [])} <= set(compose["volumes"])
    # The address of the database is that of the service, and the version of MLflow the one that is tested.
    database = services["database"]["environment"]
    assert f"@database:5432/{database['POSTGRES_DB']}" in " ".join(command)
    assert f"mlflow=={importlib.metadata.version('mlflow')}" in services["server"]["build"]["dockerfile_inline"]


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
