"""Faults while results are written: a study's prediction, a package of a bundle."""

from __future__ import annotations

import json
import zipfile
from abc import abstractmethod
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import ClassVar

import pydicom

from scripts.faults.disk import room_of, small_disk
from scripts.faults.fault import (
    CLI,
    Fault,
    Normal,
    NotStruck,
    Round,
    Span,
    contents,
    differences,
    killed,
    leftovers,
    without,
)


def _identity(content: bytes) -> bytes:
    """What is the same of a DICOM object that is written twice: all but when."""
    dataset = pydicom.dcmread(BytesIO(content))
    pixels = dataset.get("PixelData", b"")
    return f"{dataset.SOPInstanceUID} {dataset.SeriesInstanceUID} ".encode() + pixels


class _Writing(Fault):
    """A command that writes a folder, all of it or nothing."""

    out: ClassVar[str] = "OUT"
    normal: ClassVar[dict[str, Normal | None]] = {}

    @abstractmethod
    def arguments(self, out: Path) -> list[object]:
        """Of the command that writes ``out``."""

    @property
    def whole(self) -> Path:
        """What it writes undisturbed."""
        return self.bench.place / f"whole-{self.out}" / self.out

    @property
    def span(self) -> Span:
        return self.bench.kept(self.out, lambda: self.bench.span(CLI, self.arguments(self.whole), self.whole))

    @cached_property
    def expected(self) -> dict[str, str]:
        assert self.span
        return contents(self.whole.parent, self.normal)

    def torn(self, out: Path) -> list[str]:
        """What is wrong with what a command that did not end left: its output is whole, or not there."""
        found = {name: one for name, one in contents(out.parent, self.normal).items() if not name.startswith(".")}
        return differences(self.expected, found) if found else []

    def judged(self, out: Path) -> tuple[str, tuple[str, ...]]:
        """Runs the same command again: what it came to, and what is wrong with it."""
        done = self.run(CLI, self.arguments(out))
        if done.code:
            return f"ends with {done.code}", (done.said,)
        problems = differences(self.expected, contents(out.parent, self.normal)) + leftovers(out.parent)
        return "the same files" if not problems else "other files", tuple(problems)

    def full(self, out: Path) -> Round:
        """A round without room."""
        assert self.expected
        with small_disk(out, self.rng.randrange(4096, room_of(self.whole.parent))) as disk:
            place = out / self.out
            first = self.start(CLI, self.arguments(place), first=disk.first()).wait()
            if not first.code:
                raise NotStruck
            problems = self.torn(place) + leftovers(out)
            if "No space left" not in first.err and "File too large" not in first.err:
                problems.append(f"does not say why: {first.said}")
            if "Traceback" in first.err:
                problems.append(f"a traceback instead of a line: {first.said}")
            disk.grow(256 << 20)
            then, wrong = self.judged(place)
            struck = f"ends with {first.code}, says so, writes nothing"
            return Round(struck, then, (*problems, *wrong), f"{disk.bytes >> 10} KiB: {first.said}")

    def kill(self, out: Path) -> Round:
        """A round with a SIGKILL."""
        assert self.expected
        out.mkdir()
        place = out / self.out
        when = killed(self, CLI, self.arguments(place), place, self.span)
        problems = self.torn(place)
        then, wrong = self.judged(place)
        return Round("killed, with all or nothing there", then, (*problems, *wrong), when)


class _Predict(_Writing):
    command = "predict"
    normal: ClassVar[dict[str, Normal | None]] = {
        "report.json": without("seconds", "created"),
        "report.html": None,  # draws and times
        "*.dcm": _identity,
    }

    def arguments(self, out: Path) -> list[object]:
        study = next(path for path in sorted(self.bench.raw.iterdir()) if path.is_dir())
        # What it writes anew where a kill came after its last write.
        return ["predict", study / "CT", out, "--overwrite"]


class PredictKilled(_Predict):
    """SIGKILL at a random point."""

    name = "SIGKILL"

    def _once(self, out: Path) -> Round:
        return self.kill(out)


class PredictDiskFull(_Predict):
    """No room for all files of a study."""

    name = "disk full"

    def _once(self, out: Path) -> Round:
        return self.full(out)


def _members(content: bytes) -> bytes:
    """A zip by its members; a TorchScript archive holds names that differ from export to export."""
    with zipfile.ZipFile(BytesIO(content)) as archive:
        return json.dumps(sorted((one.filename, one.file_size) for one in archive.infolist())).encode()


class _Package(_Writing):
    command = "package (export)"
    out: ClassVar[str] = "nodules.zip"
    normal: ClassVar[dict[str, Normal | None]] = {"*.zip": _members}

    def arguments(self, out: Path) -> list[object]:
        return ["package", "malignancy", out]

    def judged(self, out: Path) -> tuple[str, tuple[str, ...]]:
        out.unlink(missing_ok=True)  # whole, as has been seen; the command refuses to write over it
        return super().judged(out)


class ExportKilled(_Package):
    """SIGKILL at a random point."""

    name = "SIGKILL"

    def _once(self, out: Path) -> Round:
        return self.kill(out)


class ExportDiskFull(_Package):
    """No room for the package."""

    name = "disk full"

    def _once(self, out: Path) -> Round:
        return self.full(out)


FAULTS = (PredictKilled, PredictDiskFull, ExportKilled, ExportDiskFull)
