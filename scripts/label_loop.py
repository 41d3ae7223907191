r"""The loop of annotation on phantoms: label some, train, label more, train again, on a really running server.

An annotator who knows the truth labels six phantoms, the server trains on them, six more are labelled,
and it trains again. Each time the trained network and the one that is served are compared on the patients
that are held out, and only a better one is served from then on. A line a training goes to OUT/loop.md.

The server begins with the shipped network, or, with --untrained, with random weights: as where nobody has trained
anything on such scans.

python scripts/label_loop.py runs/label-loop --untrained --resolution default \
  --train '{"epochs": 40, "patches": 8, "patch": [32, 32, 24], "learning_rate": 0.002}'
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import requests

from monai_staging.cohort.phantom import Disease, PhantomConfig, Resolution
from monai_staging.files import write_json_atomic, write_text_atomic
from monai_staging.label.phantoms import write_labelled_phantoms
from monai_staging.metrics.intervals import Estimate

HEAD = (
    "| labels | trained on | held out | Dice, served | Dice, trained | difference | served from then on |\n"
    "| --- | --- | --- | --- | --- | --- | --- |\n"
)


def main() -> None:
    """Makes phantoms, serves them, and goes round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder for everything; begun anew where it has labels already")
    parser.add_argument("--rounds", type=int, nargs="+", default=[6, 6], help="phantoms labelled before each training")
    parser.add_argument("--seed", type=int, default=5, help="of the phantoms")
    parser.add_argument("--disease", default="cancer", choices=[own.value for own in Disease])
    parser.add_argument("--untrained", action="store_true", help="begin with random weights")
    parser.add_argument("--resolution", default="tiny", choices=[own.value for own in Resolution])
    parser.add_argument("--train", type=json.loads, default={}, help="JSON of the requests that train")
    arguments = parser.parse_args()
    out: Path = arguments.out.resolve()
    if (out / "studies").exists():
        raise SystemExit(f"{out}: a folder without an earlier loop is needed")
    disease = Disease(arguments.disease)
    config = PhantomConfig(resolution=Resolution(arguments.resolution), disease=disease)
    wanted = sum(arguments.rounds)
    # Of those with nodules a third has none, and nothing to label.
    made = wanted if disease is Disease.CANCER else 2 * wanted
    phantoms = write_labelled_phantoms(out, made, arguments.seed, config)
    if len(phantoms) < wanted:
        raise SystemExit(f"{wanted} phantoms with a lesion are needed; found {len(phantoms)} of {made}")
    server = Server(out, untrained(out) if arguments.untrained else None)
    try:
        rows, waiting = [], iter(phantoms)
        for count in arguments.rounds:
            for _ in range(count):
                study, truth = next(waiting)
                with open(truth, "rb") as file:
                    target = {"image": study.stem, "tag": "final"}
                    server.ask("PUT", "/datastore/label", params=target, files={"label": (truth.name, file)})
            began = time.monotonic()
            state = server.train(arguments.train)
            print(f"{state['status']}: {state['message']} ({time.monotonic() - began:.0f} s)", flush=True)
            if state["status"] != "DONE":
                raise SystemExit(1)
            rows.append(row(state))
            write_json_atomic(out / f"training-{len(rows)}.json", state)
        table = HEAD + "".join(rows)
        write_text_atomic(out / "loop.md", table)
        print(table)
    finally:
        server.end()


def untrained(out: Path) -> Path:
    """The outline network with random weights, seed 0."""
    import torch

    from monai_staging.networks.pretrained import write_checkpoint
    from monai_staging.networks.segmentation import build_segmenter

    torch.manual_seed(0)
    write_checkpoint(out / "untrained.pt", build_segmenter("attention_unet", spatial_dims=3, in_channels=4), {})
    return out / "untrained.pt"


class Server:
    """``monai-staging label`` as a process, with a folder's studies, trainings and MLflow database."""

    def __init__(self, out: Path, weights: Path | None) -> None:
        environment = {"MLFLOW_TRACKING_URI": f"sqlite:///{out / 'mlruns.db'}", **os.environ}
        # Who is held out depends on the key: with another one it is another experiment.
        environment.setdefault("MONAI_STAGING_CASE_KEY", "label-loop")
        options = ["--studies", str(out / "studies"), "--port", "0", "--conf", "runs", str(out)]
        options += [] if weights is None else ["--conf", "segmentation", str(weights)]
        command = [sys.executable, "-m", "monai_staging.cli", "label", *options]
        with open(out / "server.log", "w") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.startswith("MONAI Label at "):
            raise SystemExit((out / "server.log").read_text()[-2000:])
        self.url = line.split()[3].rstrip(":")

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        """One request, past every proxy."""
        with requests.Session() as session:
            session.trust_env = False
            answer = session.request(method, self.url + path, timeout=300, **options)
        answer.raise_for_status()
        return answer

    def train(self, params: dict[str, Any]) -> dict[str, Any]:
        """Trains; gives the state when it has ended."""
        self.ask("POST", "/train/outline_click", json=params)
        told = None
        while True:
            state: dict[str, Any] = self.ask("GET", "/train/").json()
            if (now := (state["stage"], state.get("epoch"))) != told:
                told = now
                print(state["stage"], *(state["details"][-1:] if state["stage"] == "training" else ()), flush=True)
            if state["status"] != "RUNNING":
                return state
            time.sleep(2)

    def end(self) -> None:
        """Stops it."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)


def row(state: dict[str, Any]) -> str:
    """A training's line of the table."""
    result, split = state["result"], state["split"]
    cells = [text(result[name]) for name in ("served", "trained", "difference")]
    served = f"version {result['version']}" if result["better"] else "what was before"
    labels = len(split["training"]) + len(split["validation"])
    return f"| {labels} | {len(split['training'])} | {len(split['validation'])} | {' | '.join(cells)} | {served} |\n"


def text(values: dict[str, Any]) -> str:
    """An estimate of an answer, for readers."""
    return Estimate(*(values[name] for name in ("value", "low", "high", "n"))).text(3)


if __name__ == "__main__":
    main()
