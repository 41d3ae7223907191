"""Two Ray nodes on loopback: the same cohort and predictions as on one machine, whatever dies."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from monai_staging.cli.main import main
from monai_staging.cluster import worker
from monai_staging.cluster.executor import LocalPool
from monai_staging.cohort.clinical import unknown_labels
from monai_staging.cohort.dicom import Series, scan
from monai_staging.cohort.ingest import carry_out
from monai_staging.cohort.sources.base import Annotation, Job, Plan, Report
from monai_staging.cohort.volume import Volume
from monai_staging.errors import DataError, UsageError

# Read when Ray is imported.
os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
pytest.importorskip("ray", reason="the extra [ray] is not installed")

from monai_staging.cluster.on_ray import RayExecutor, connect  # noqa: E402

TOLD = "WHISPERED^NAME"


@pytest.fixture(scope="module")
def cluster(repository: Path) -> Iterator[subprocess.Popen[str]]:
    """Two nodes of one CPU, each a raylet of its own; ``args`` of the process end with their address."""
    process = subprocess.Popen(
        [sys.executable, str(repository / "scripts" / "loopback_ray.py"), "--gpus", "1"],
        **{"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": repository},
        env={**os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"},
    )
    assert process.stdin is not None and process.stdout is not None
    process.args = [process.stdout.readline().strip()]
    yield process
    process.stdin.close()
    process.wait(60)


@pytest.fixture(scope="module")
def address(cluster: subprocess.Popen[str]) -> str:
    return str(cluster.args[0])


@pytest.fixture
def executor(address: str) -> Iterator[RayExecutor]:
    with connect(address) as found:
        yield found


@dataclass(frozen=True)
class Deadly:
    """Kills its worker, the first time or always, and names a patient while it works."""

    always: bool
    mark: Path
    files: tuple[Path, ...] = ()

    def fingerprint(self) -> Any:
        return str(self)

    def annotate(self, series: Series, volume: Volume) -> Annotation:
        print(TOLD, series.patient)
        print(TOLD, series.patient, file=sys.stderr)
        if self.always or not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return Annotation()


def fails(item: int) -> int:
    raise DataError(f"{TOLD} {item}")


def node_of(_: int) -> tuple[str, str]:
    import ray

    return ray.get_runtime_context().get_node_id(), os.environ.get("MLFLOW_TRACKING_URI", "")


def gpu(_: int) -> str:
    return os.environ["CUDA_VISIBLE_DEVICES"]


def listening(pids: set[int]) -> set[str]:
    """The addresses that these processes listen on."""
    import psutil

    return {
        one.laddr.ip
        for pid in pids
        for one in psutil.Process(pid).net_connections("tcp")
        if one.status == psutil.CONN_LISTEN
    }


def test_both_nodes_work_and_are_told_of_mlflow(executor: RayExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5999")
    assert (executor.workers, executor.machines, executor.threads) == (2, 1, 1)
    nodes, told = zip(*dict(executor.run(node_of, range(8))).values(), strict=True)
    assert len(set(nodes)) == 2
    assert set(told) == {"http://127.0.0.1:5999"}
    assert list(executor.run(node_of, [])) == []


def test_a_fraction_of_a_gpu(executor: RayExecutor) -> None:
    """Ray takes it on trust that there is one."""
    assert [RayExecutor(1, gpus).workers for gpus in (0.25, 1, 2)] == [2, 2, 0]
    assert set(dict(RayExecutor(1, 0.25).run(gpu, range(4))).values()) == {"0"}


def test_what_kills_its_worker_is_lost_and_nothing_else(
    executor: RayExecutor, tmp_path: Path, write_ct: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(5):
        write_ct(folder=f"raw/{number}", uid=f"1.2.826.0.1.3680043.10.{number + 1}", count=4)
    raw = tmp_path / "raw"
    faults = {1: Deadly(False, tmp_path / "mark"), 3: Deadly(True, tmp_path / "other")}
    found = scan(raw)
    jobs = [Job(own, unknown_labels("8", "c"), faults.get(place)) for place, own in enumerate(found)]
    outcome = carry_out(Plan(tuple(jobs), (), Report()), raw, tmp_path / "ray", executor)
    told = capsys.readouterr().err
    # Once for what dies once; for what dies always, before each further try.
    assert told.count("a worker was lost") == 3
    assert [(own.series, own.rule) for own in outcome.rejections] == [(found[3].series, "worker-died")]
    assert outcome == carry_out(Plan(tuple(jobs), (), Report()), raw, tmp_path / "local", LocalPool(1))
    written = [
        {path.name: path.read_bytes() for path in (tmp_path / name / "volumes").iterdir()} for name in ("ray", "local")
    ]
    assert len(written[0]) == 4 and written[0] == written[1]
    assert not list((tmp_path / "ray").rglob(".*shared-*"))


def test_an_error_reaches_the_user_and_no_log_of_ray(executor: RayExecutor, cluster: subprocess.Popen[str]) -> None:
    import psutil

    with pytest.raises(DataError, match=f"^{TOLD[:9]}.NAME 1"):
        list(executor.run(fails, [1]))
    children = psutil.Process(cluster.pid).children(recursive=True)
    (folder,) = {own for own in Path("/tmp").glob("ray-*") if any(str(own) in " ".join(c.cmdline()) for c in children)}
    logs = [path for path in folder.rglob("*") if path.is_file() and "logs" in path.parts]
    assert logs
    assert [path.name for path in logs if TOLD.encode() in path.read_bytes()] == []
    assert listening({child.pid for child in children}) <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_a_folder_that_a_node_does_not_see_is_refused(
    executor: RayExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Here the folder has other names than there, as where a node mounts nothing.
    monkeypatch.setattr(worker, "_names", lambda path: "of another machine")
    with pytest.raises(UsageError, match="Put it on storage that every node mounts at the same path"):
        list(executor.run(node_of, [1], reads=(tmp_path,)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ray", "127.0.0.1:1"], "no cluster answers at 127.0.0.1:1"),
        (["--ray", "auto"], "no cluster answers at 127.0.0.1:2"),
        (["--ray", "ray://here:1"], "--ray takes HOST:PORT"),
        (["--ray", "{address}", "--ray-gpus", "2"], "a node with 1 CPUs and 2 GPUs is needed; the nodes have 1 and 1"),
        (["--ray", "{address}", "--ray-cpus", "0"], "a worker takes 1 CPU or more"),
        (["--ray-gpus", "0.5"], "give --ray ADDRESS too"),
    ],
)
def test_what_cannot_be_is_said(
    arguments: list[str],
    message: str,
    address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # Where `auto` leads after a cluster was killed.
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:2")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    given = [text.format(address=address) for text in arguments]
    assert main(["ingest", "folder", str(tmp_path), str(tmp_path.parent / "out"), *given]) > 0
    assert message in capsys.readouterr().err


def test_a_batch_goes_to_storage(
    address: str, tmp_path: Path, write_ct: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """What fails is listed as in one process: same rows, same order. Networks are loaded by the workers."""
    assert main(["phantom", str(tmp_path / "raw"), "--cases", "1", "--resolution", "tiny", "--seed", "2"]) == 0
    write_ct(folder="raw/short", count=3)
    capsys.readouterr()
    arguments = ["predict", "--batch", str(tmp_path / "raw"), "--json"]
    for out, more in ((tmp_path / "local", []), (f"file://{tmp_path}/ray", ["--ray", address])):
        assert main([*arguments, str(out), *more]) == 0
    local, ray = map(json.loads, capsys.readouterr().out.splitlines())
    assert local == ray and len(ray["studies"]) == 1 and len(ray["failures"]) >= 1
    study = ray["studies"][0]["name"]
    names = [{path.name for path in (tmp_path / place / study).iterdir()} for place in ("local", "ray")]
    assert names[0] == names[1]
    for name in ("lesions.nii.gz", "detections.csv", "summary.json"):
        assert (tmp_path / "local" / study / name).read_bytes() == (tmp_path / "ray" / study / name).read_bytes(), name
    with open(tmp_path / "ray" / "failures.csv", newline="", encoding="utf-8") as file:
        assert [row["name"] for row in csv.DictReader(file)] == [own["name"] for own in ray["failures"]]
