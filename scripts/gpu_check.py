"""What tests on a CPU cannot see: every bundle's network on a GPU, and its training there.

    python scripts/gpu_check.py [--bundles NAME ...] [--compile true|false] [--train] [--out FILE] [--json]

Each network of `monai_staging.packaging.networks` sees the same random images on the CPU in float32 and on the GPU in
float32 (without TF32), in bfloat16 (AMP), with its weights channels last, and compiled; the largest distance from the
CPU's output, images a second, and peak memory of inference and of a step of training are printed. With ``--train``
each bundle trains one epoch on small phantoms, on all GPUs there are, and its run in MLflow must have metrics of the
system. Ends with 1 where something is further from the CPU than it may be, or fails. Without a GPU all of it runs on
the CPU, small: that shows that the script runs, and nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [own for own in (str(ROOT / "scripts"), str(ROOT)) if own not in sys.path]

import torch  # noqa: E402
from benchmarks.common import machine, machine_text  # noqa: E402
from monai.bundle import ConfigParser  # noqa: E402

from monai_staging.files import write_json_atomic  # noqa: E402
from monai_staging.outputs.table import text_table  # noqa: E402
from monai_staging.packaging.export import Built, difference  # noqa: E402
from monai_staging.packaging.networks import NETWORKS, Packaged, Part  # noqa: E402
from monai_staging.packaging.sample import dataset_dir, make_sample  # noqa: E402

TOLERANCE = {"float32": 1e-3, "AMP": 0.05, "AMP, channels last": 0.05, "AMP, compiled": 0.05}
"""Of the largest output, or of 1 where that is smaller."""
BUNDLES = ROOT / "bundles"


def main(argv: list[str] | None = None) -> int:
    """Checks and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundles", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--compile", type=json.loads, help="compile too (default: on a GPU)", metavar="true|false")
    parser.add_argument("--batch", type=int, help="images (default: 8 on a GPU, else 1)")
    parser.add_argument("--seconds", type=float, help="that a rate is measured over (default: 2 on a GPU, else .2)")
    parser.add_argument("--train", action="store_true", help="an epoch of each bundle too")
    parser.add_argument("--out", type=Path, help="also write the report here, as JSON")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    args = parser.parse_args(argv)
    gpu = torch.cuda.is_available()
    device = torch.device("cuda:0" if gpu else "cpu")
    first = f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}" if gpu else NO_GPU
    print(first, file=sys.stderr if args.json else sys.stdout, flush=True)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    args.compile = gpu if args.compile is None else args.compile
    args.batch, args.seconds = args.batch or (8 if gpu else 1), args.seconds or (2.0 if gpu else 0.2)
    rows: list[dict[str, Any]] = []
    trainings: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for bundle in args.bundles:
            for network in NETWORKS[bundle]:
                rows += check(bundle, network, device, args, Path(folder))
            if args.train:
                trainings.append(train(bundle, device, Path(folder)))
    report = {"device": first, "machine": machine(torch.get_num_threads()), "networks": rows, "trainings": trainings}
    if args.out:
        write_json_atomic(args.out, report)
    print(json.dumps(report, indent=2) if args.json else text(report))
    return int(any(not row["right"] for row in (*rows, *trainings)))


NO_GPU = "No GPU here: a dry run on the CPU. It shows that the script runs; its numbers say nothing of a GPU."


def check(
    bundle: str, network: Packaged, device: torch.device, args: argparse.Namespace, folder: Path
) -> list[dict[str, Any]]:
    """A row for each way of running each part of a bundle's network."""
    rows = []
    for part in network.parts:
        built = build(bundle, network, part, folder)
        inputs = built.inputs(args.batch, seed=0)
        expected = built.output(inputs)
        last = torch.channels_last if any(own.dim() == 4 for own in built.net.parameters()) else torch.channels_last_3d
        there = {name: tensor.to(device) for name, tensor in inputs.items()}
        # Each its own copy: a step of training moves the statistics of batch norms.
        ways: dict[str, Callable[[torch.nn.Module], torch.nn.Module]] = {
            "float32": lambda net: net.to(device),
            "AMP": lambda net: net.to(device),
            "AMP, channels last": lambda net, last=last: net.to(device, memory_format=last),
        }
        if args.compile:
            ways["AMP, compiled"] = lambda net: torch.compile(net.to(device))
        for name, made in ways.items():
            row = {"bundle": bundle, "network": f"{network.name}, {part.name}", "way": name, "batch": args.batch}
            try:
                row |= one(made(deepcopy(built.net)), there, expected, name != "float32", device, args.seconds)
                row["right"] = row["difference"] <= TOLERANCE[name]
            except Exception as error:  # a backend may raise anything; the others are still to be seen
                row |= {"right": False, "error": " ".join(str(error).split())[:200]}
            rows.append(row)
    return rows


def build(bundle: str, network: Packaged, part: Part, folder: Path) -> Built:
    """A network of a bundle as it is at the start of a training: seed 0."""
    described = json.loads((BUNDLES / bundle / "metadata.json").read_text())
    place = folder / network.sample
    if not place.exists():
        make_sample(network.sample, place)
    files = [str(BUNDLES / bundle / f"{name}.json") for name in network.configs]
    parser = ConfigParser(ConfigParser.load_config_files(files))
    keys = {"bundle_root": str(BUNDLES / bundle), "device": torch.device("cpu"), **part.keys}
    for key, value in {**keys, "dataset_dir": str(dataset_dir(network.sample, place, network.configs))}.items():
        parser[key] = value
    parser["exported"] = f"${part.net.removeprefix('$')}"
    torch.manual_seed(0)
    net = parser.get_parsed_content("exported").eval()
    image = described[part.format]["inputs"]["image"]
    shapes = {"image": (image["num_channels"], *image["spatial_shape"])}
    return Built(net, part, shapes | {own.name: own.shape for own in (*part.needed, *part.optional)}, parser.get())


def one(
    net: torch.nn.Module,
    inputs: dict[str, torch.Tensor],
    expected: torch.Tensor,
    amp: bool,
    device: torch.device,
    seconds: float,
) -> dict[str, Any]:
    """Distance from the CPU's output, images a second and peak memory, of inference and of training."""
    gpu = device.type == "cuda"

    def said() -> torch.Tensor:
        precision = torch.autocast(device.type, torch.bfloat16) if amp else nullcontext()
        with precision:
            return net(*inputs.values())

    def step() -> None:
        net.zero_grad(set_to_none=True)
        said().float().square().mean().backward()

    net.eval()
    with torch.no_grad():
        begin = time.perf_counter()
        apart = difference(expected, said().float().cpu())
        first = time.perf_counter() - begin
        found = {"difference": apart, "first_s": round(first, 2), **rated("inference", said, inputs, gpu, seconds)}
    net.train()
    if any(own.requires_grad for own in net.parameters()):
        found |= rated("training", step, inputs, gpu, seconds)
    return found


def rated(
    name: str, run: Callable[[], Any], inputs: dict[str, torch.Tensor], gpu: bool, seconds: float
) -> dict[str, Any]:
    """Images a second over some seconds, after a first run, and the GPU's peak memory."""

    def wait() -> None:
        if gpu:
            torch.cuda.synchronize()

    run()
    wait()
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    begin, count = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        run()
        wait()
        count += len(inputs["image"])
    rate = count / (time.perf_counter() - begin)
    memory = torch.cuda.max_memory_allocated() / 2**20 if gpu else None
    return {f"{name}_per_second": round(rate, 2), f"{name}_peak_mib": None if memory is None else round(memory, 1)}


def train(bundle: str, device: torch.device, folder: Path) -> dict[str, Any]:
    """One epoch of a bundle as a user runs it, on all GPUs."""
    network = NETWORKS[bundle][0]
    configs = [BUNDLES / bundle / "train.json"]
    count = torch.cuda.device_count()
    many = BUNDLES / bundle / "multi_gpu_train.json"
    start = [sys.executable]
    if count > 1 and many.exists():
        configs.append(many)
        start += ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={count}"]
    database, output = folder / f"{bundle}.db", folder / f"train-{bundle}"
    listed = "[" + ",".join(f"'{path}'" for path in configs) + "]"
    words = [*start, "-m", "monai.bundle", "run", "--config_file", listed, "--epochs", "1", "--output_dir", str(output)]
    words += ["--dataset_dir", str(folder / network.sample), "--resamples", "20"]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{database}", "PYTHONPATH": str(ROOT)}
    begin = time.perf_counter()
    done = subprocess.run(words, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    row = {"bundle": bundle, "gpus": count, "seconds": round(time.perf_counter() - begin, 1)}
    if done.returncode:
        return {**row, "right": False, "error": done.stderr.strip().splitlines()[-1][:200]}
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{database}")
    experiments = [own.experiment_id for own in client.search_experiments()]
    logged = {name for run in client.search_runs(experiments) for name in run.data.metrics}
    system = sorted(name for name in logged if name.startswith("system/"))
    wanted = "system/gpu" if device.type == "cuda" else "system/cpu"
    return {**row, "right": any(name.startswith(wanted) for name in system), "system_metrics": len(system)}


def text(report: dict[str, Any]) -> str:
    """The report for a person."""
    columns = ("difference", "first_s", "inference_per_second", "inference_peak_mib", "training_per_second")
    header = ["bundle", "network", "way", *(name.replace("_", " ") for name in columns), "training peak mib", ""]
    lines = [
        [
            *(row[name] for name in ("bundle", "network", "way")),
            *("-" if row.get(name) is None else f"{row[name]:.3g}" for name in (*columns, "training_peak_mib")),
            "right" if row["right"] else row.get("error", "WRONG"),
        ]
        for row in report["networks"]
    ]
    parts = [text_table(header, lines)]
    if report["trainings"]:
        trained = [
            [row["bundle"], str(row["gpus"]), f"{row['seconds']:g}", str(row.get("system_metrics", "-"))]
            + ["right" if row["right"] else row.get("error", "NO SYSTEM METRICS")]
            for row in report["trainings"]
        ]
        parts.append(text_table(["bundle", "GPUs", "seconds", "system metrics", ""], trained))
    return "\n\n".join([*parts, machine_text(report["machine"])])


if __name__ == "__main__":
    sys.exit(main())
