"""Kills the annotation server while labels are saved, and looks whether one that it acknowledged is lost.

    python scripts/label_kill.py STUDIES [--rounds 20] [--seed 0]

STUDIES is a folder of NIfTI files that may be written to. A round is a server, several annotators who save labels with
T as fast as it answers, SIGKILL up to half a second after the first answer, and another server, which is asked for
every label by HTTP. Each server is a process that is forked from one in which everything is imported: a round takes a
second, not ten. It ends with 1 where a label is lost, damaged or older than one that was answered with 200.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import importlib
import json
import os
import random
import select
import signal
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import requests

from monai_staging.errors import DataError
from monai_staging.label.kinds import write_labels
from monai_staging.label.launch import Asked, environment
from monai_staging.measure.images import read_image

TAGS = ("final", "second")
UP_S = 60.0
LETTERS = ("T1a", "T1b", "T1c", "T2a", "T2b", "T3", "T4")
Place = tuple[str, str]
"""A study and a tag: what has one label."""


def main() -> int:
    """Runs the rounds; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", type=Path)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    listening = socket.create_server(("127.0.0.1", 0), backlog=64)
    port = int(listening.getsockname()[1])
    os.environ.update(environment(Asked(args.studies), args.studies, port))

    # What a server imports, before the first is forked.
    import uvicorn

    importlib.import_module("monai_staging.label.app.main")
    from monai_staging.label.server import build

    def start() -> int:
        child = os.fork()
        if child:
            return child
        try:
            uvicorn.Server(uvicorn.Config(build("127.0.0.1", 64 << 20), log_level="error")).run(sockets=[listening])
        finally:
            os._exit(1)

    rounds = Rounds(args.studies, listening, random.Random(args.seed))
    child = start()
    try:
        for number in range(1, args.rounds + 1):
            saved = rounds.kill_while_saving(child)
            child = start()
            lost = rounds.lost()
            told = f"{sum(rounds.acknowledged.values())} labels saved so far" if not lost else "; ".join(lost)
            print(f"round {number}: killed after {saved} labels; {told}", flush=True)
            if lost:
                return 1
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    print(f"{args.rounds} kills, {sum(rounds.acknowledged.values())} labels saved, no acknowledged one lost")
    return 0


class Rounds:
    """The annotators and what they know.

    Args:
        studies: the folder that is served.
        listening: the socket that every server serves.
        rng: draws when a server is killed.
    """

    def __init__(self, studies: Path, listening: socket.socket, rng: random.Random) -> None:
        self.studies, self.listening, self.rng = studies, listening, rng
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        names = sorted(path.name.removesuffix(".nii") for path in studies.glob("*.nii"))
        if not names:
            raise DataError(f"{studies}: NIfTI files are needed (.nii); found none.")
        self.places: list[Place] = [(name, tag) for name in names for tag in TAGS]
        self.acknowledged: dict[Place, int] = dict.fromkeys(self.places, 0)

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        """One request, past every proxy."""
        with requests.Session() as session:
            session.trust_env = False
            return session.request(method, self.url + path, timeout=UP_S, **options)

    def kill_while_saving(self, child: int) -> int:
        """Lets all annotators save until the server is killed; how many labels it acknowledged."""
        before = sum(self.acknowledged.values())
        threads = [threading.Thread(target=self._save, args=(place,)) for place in self.places]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + UP_S
        while sum(self.acknowledged.values()) == before and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(self.rng.uniform(0, 0.5))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        self._refuse(threads)
        return sum(self.acknowledged.values()) - before

    def _refuse(self, threads: list[threading.Thread]) -> None:
        """Hangs up on whom no server has answered: what is queued at the socket outlives the process that served it."""
        while any(thread.is_alive() for thread in threads):
            if select.select([self.listening], [], [], 0.02)[0]:
                # The children have made it non-blocking, and who queued may have gone.
                with contextlib.suppress(BlockingIOError, ConnectionError):
                    self.listening.accept()[0].close()

    def _save(self, place: Place) -> None:
        name, tag = place
        while True:
            number = self.acknowledged[place] + 1
            params = {"number": number, "t": LETTERS[number % len(LETTERS)]}
            files = {"label": ("l.nii.gz", self._label(name, number))}
            try:
                answer = self.ask(
                    "PUT", f"/datastore/label?image={name}&tag={tag}", data={"params": json.dumps(params)}, files=files
                )
            except requests.RequestException:
                return
            if answer.status_code != 200:
                raise DataError(f"{name}, {tag}: a label is answered with 200; found {answer.status_code}")
            self.acknowledged[place] = number

    def _label(self, name: str, voxels: int) -> bytes:
        """A label map with so many voxels of a lesion."""
        grid = read_image(self.studies / f"{name}.nii")
        labels = np.zeros(grid.shape, dtype=np.uint8, order="F")
        labels.reshape(-1, order="F")[:voxels] = 1
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "l.nii.gz")
            write_labels(path, labels, grid.affine)
            return path.read_bytes()

    def lost(self) -> list[str]:
        """What the server that runs now does not have of what another has acknowledged."""
        found = []
        index = self.ask("GET", "/datastore/?output=all").json()["objects"]
        for (name, tag), number in self.acknowledged.items():
            if not number:
                continue
            whose = f"{name}, {tag}: label {number} was acknowledged"
            answer = self.ask("GET", f"/datastore/label?label={name}&tag={tag}")
            if answer.status_code != 200:
                found.append(f"{whose}; found {answer.status_code}")
                continue
            labels = nibabel.Nifti1Image.from_bytes(gzip.decompress(answer.content))
            voxels, noted = int(np.count_nonzero(labels.dataobj)), index[name]["labels"][tag]["info"]["number"]
            letter = index[name]["image"]["info"]["staging"][tag]["t"]
            # What was being saved when it was killed may be there, or its file without its note.
            if not number <= noted <= voxels <= number + 1 or letter != [LETTERS[noted % len(LETTERS)]]:
                found.append(f"{whose}; found {voxels} voxels, number {noted}, {letter}")
            # The next one is told from it.
            self.acknowledged[name, tag] = max(number, noted)
        return found


if __name__ == "__main__":
    sys.exit(main())
