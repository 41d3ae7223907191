"""Faults while a bundle trains: the staging bundle, on the cohort of four phantoms, for three epochs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from functools import cached_property
from pathlib import Path

from monai_staging.errors import DataError
from monai_staging.workflows.checkpoint import PUT_BY
from monai_staging.workflows.saved_state import read_state
from scripts.faults.disk import room_of, small_disk
from scripts.faults.fault import (
    BUNDLE,
    Fault,
    NotStruck,
    Round,
    Span,
    contents,
    damage,
    differences,
    killed,
    leftovers,
    without,
)
from scripts.faults.process import WriteCount

EPOCHS = 3
_SMALL = (
    *("--size", "[48,48,24]", "--spacing_mm", "[7.0,7.0,14.0]", "--network", "resnet10", "--width", "0.125"),
    *("--map_start_steps", "4", "--epochs", EPOCHS, "--resamples", "20", "--figures", "false", "--log_model", "false"),
    *("--system_metrics", "false", "--resume", "true"),
)
_SAME = ("metrics.json", "predictions.csv", "best.pt", "best.json", "history.json")


class _Training(Fault):
    command = "staging training"

    def arguments(self, out: Path, **more: object) -> list[object]:
        """The command; what is done of it in ``out`` is gone on with."""
        given = {"config_file": "bundles/staging/train.json", "dataset_dir": self.bench.cohort, **more}
        given = {"output_dir": out, "cache_dir": out / "cache", **given}
        return ["run", *(part for key, value in given.items() for part in (f"--{key}", value)), *_SMALL]

    @property
    def whole(self) -> Path:
        """What an undisturbed training leaves."""
        return self.bench.place / "whole-training" / "out"

    @property
    def span(self) -> Span:
        return self.bench.kept("training", lambda: self.bench.span(BUNDLE, self.arguments(self.whole), self.whole))

    @cached_property
    def expected(self) -> dict[str, str]:
        assert self.span
        return self.result(self.whole)

    @staticmethod
    def result(out: Path) -> dict[str, str]:
        """What has to be the same: weights, metrics, predictions, the course but for seconds, and the cache."""
        found = contents(out, {"history.json": without("seconds")})
        return {name: digest for name, digest in found.items() if name in _SAME or name.startswith("cache/")}

    def judged(self, out: Path, **more: object) -> tuple[str, tuple[str, ...]]:
        """Runs the same command again: what it came to, and what is wrong with it."""
        done = self.run(BUNDLE, self.arguments(out, **more))
        if done.code:
            return f"ends with {done.code}", (done.said,)
        problems = differences(self.expected, self.result(out)) + leftovers(out)
        return "the same weights, metrics, predictions" if not problems else "another result", tuple(problems)


class TrainingKilled(_Training):
    """SIGKILL at a random point."""

    name = "SIGKILL"

    def _once(self, out: Path) -> Round:
        assert self.expected
        when = killed(self, BUNDLE, self.arguments(out / "out"), out / "out", self.span)
        return Round("killed", *self.judged(out / "out"), when)


class TrainingDiskFull(_Training):
    """No room for cache, checkpoints or results."""

    name = "disk full"

    def _once(self, out: Path) -> Round:
        assert self.expected
        size = self.rng.randrange(64 << 10, room_of(self.whole))
        with small_disk(out, size) as disk:
            first = self.start(BUNDLE, self.arguments(out / "out"), first=disk.first()).wait()
            told = "No space left" in first.printed or "File too large" in first.printed
            problems = leftovers(out)
            if not first.code:
                struck = "goes on without a cache and says so"
                if not told:
                    raise NotStruck
            else:
                struck = f"ends with {first.code} and says so"
            if not told:
                problems.append(f"does not say why: {first.said}")
            disk.grow(256 << 20)
            then, wrong = self.judged(out / "out")
            return Round(struck, then, (*problems, *wrong), f"{disk.bytes >> 10} KiB: {first.said}")


class CacheDamaged(_Training):
    """A preprocessed case on disk has other bytes."""

    name = "corrupt cache file"

    def _once(self, out: Path) -> Round:
        assert self.expected
        shutil.copytree(self.whole / "cache", out / "out" / "cache")
        path = self.rng.choice(sorted((out / "out" / "cache").iterdir()))
        how = damage(path, self.rng)
        done = self.run(BUNDLE, self.arguments(out / "out"))
        told = [line for line in done.printed.splitlines() if path.name in line and "Made again" in line]
        problems = [done.said] if done.code else differences(self.expected, self.result(out / "out"))
        then = "the same weights, metrics, predictions" if not problems else "another result"
        problems += [] if told else ["does not say that it is damaged"]
        return Round("said, and made again" if told else "not noticed", then, tuple(problems), how)


class CheckpointDamaged(_Training):
    """The newest checkpoint, or each, has other bytes when a killed training is resumed."""

    name = "corrupt checkpoint"

    @cached_property
    def begun(self) -> Path:
        """A training that was killed before its last checkpoint."""
        assert self.expected
        out = self.folder / "begun" / "out"
        first = WriteCount(out, kill_before=f"checkpoint-{EPOCHS:04d}.pt").install
        child = self.start(BUNDLE, self.arguments(out), first=first)
        assert child.wait().code == -signal.SIGKILL, child.wait().err
        return out

    def _once(self, out: Path) -> Round:
        shutil.copytree(self.begun, out / "out")
        files = sorted((out / "out").glob("checkpoint-*.pt"), reverse=True)
        every = self.rng.random() < 0.25
        how = [damage(path, self.rng) for path in (files if every else files[:1])]
        done = self.run(BUNDLE, self.arguments(out / "out"))
        warned = sum("Falling back" in line for line in done.printed.splitlines())
        problems = [done.said] if done.code else differences(self.expected, self.result(out / "out"))
        then = "the same weights, metrics, predictions" if not problems else "another result"
        problems += [] if warned == len(how) else [f"{len(how)} damaged checkpoints, {warned} told of"]
        wanted = "Nothing to resume" if every else f"{files[1].name}, after epoch {EPOCHS - 2}"
        problems += [] if wanted in done.printed else [f"does not say {wanted!r}"]
        struck = "all: said, from the beginning" if every else "said, falls back to the one before"
        return Round(struck, then, tuple(problems), ", ".join(how))


class TrainingVolumeTruncated(_Training):
    """A volume loses its end before a training reads it."""

    name = "truncated volume"

    def _once(self, out: Path) -> Round:
        assert self.expected
        cohort = out / "cohort"
        shutil.copytree(self.bench.cohort, cohort)
        volume = self.rng.choice(sorted((cohort / "volumes").iterdir()))
        kept = self.rng.randrange(volume.stat().st_size)
        os.truncate(volume, kept)
        done = self.run(BUNDLE, self.arguments(out / "out", dataset_dir=cohort))
        problems = [] if done.code else ["ends with 0"]
        if volume.name not in done.printed:
            problems.append(f"the volume is not named: {done.said}")
        shutil.copyfile(self.bench.cohort / "volumes" / volume.name, volume)
        then, wrong = self.judged(out / "out", dataset_dir=cohort)
        # Another folder: the cache goes by paths.
        wrong = tuple(one for one in wrong if not one.startswith("cache/"))
        then = then if wrong else "the same weights, metrics, predictions"
        return Round(
            f"ends with {done.code} and names it", then, (*problems, *wrong), f"{kept} bytes kept: {done.said}"
        )


class LossNotFinite(_Training):
    """The loss of a batch is NaN."""

    name = "NaN loss"

    def _once(self, out: Path) -> Round:
        assert self.expected
        out.mkdir()
        poison = out / "poison.json"
        files = f"['bundles/staging/train.json','{poison}']"
        # Two training cases, one a batch.
        at = self.rng.randint(1, 2 * EPOCHS)

        def config(number: int) -> None:
            loss = {"_target_": "scripts.faults.poison.Poisoned", "loss": "@loss", "at": number}
            poison.write_text(json.dumps({"train#trainer#loss_function": loss}))

        config(at)
        done = self.run(BUNDLE, self.arguments(out / "out", config_file=files))
        problems = [] if done.code == 1 else [f"ends with {done.code}"]
        told = next((line for line in done.printed.splitlines() if "the loss is nan" in line), "")
        if "cases case-" not in told or PUT_BY not in told:
            problems.append(f"cases or state are not named: {told or done.said}")
        if "PH-" in done.err or "PH-" in done.out:
            problems.append("a patient is named")
        try:
            state = read_state(out / "out" / PUT_BY)
            if state["iteration"] != at or not all(bool(value.isfinite().all()) for value in state["network"].values()):
                problems.append("the state is of another moment")
        except DataError as error:
            problems.append(str(error))
        config(10**9)  # mended
        then, wrong = self.judged(out / "out", config_file=files)
        struck = f"ends with {done.code}, names the cases, keeps the state"
        return Round(struck, then, (*problems, *wrong), f"iteration {at}: {told}")


class TwoTrainings(_Training):
    """Two processes train on one cohort with one cache that neither has filled."""

    name = "two processes on one cohort"

    def _once(self, out: Path) -> Round:
        assert self.expected
        outs = [out / "one", out / "other"]
        children = []
        for own in outs:
            children.append(self.start(BUNDLE, self.arguments(own, cache_dir=out / "one" / "cache")))
            time.sleep(self.rng.uniform(0, 1))
        ended = [child.wait() for child in children]
        problems = [f"one ends with {done.code}: {done.said}" for done in ended if done.code]
        shutil.copytree(out / "one" / "cache", out / "other" / "cache")
        for own in outs:
            problems += differences(self.expected, self.result(own)) + leftovers(own)
        then = "both the same as alone" if not problems else "another result"
        return Round("both train", then, tuple(problems))


FAULTS = (
    *(TrainingKilled, TrainingDiskFull, CacheDamaged, CheckpointDamaged, TrainingVolumeTruncated, LossNotFinite),
    TwoTrainings,
)
