"""Where the studies of a batch go: a folder, or storage that fsspec has a name for."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from monai_staging.errors import UsageError
from monai_staging.predict.folders import new_folder

SUMMARY = "summary.json"
"""Of each study's folder: where it lies, the rest is whole."""


class Results(Protocol):
    """Where the studies of a batch go, a folder each, and the index beside them. Picklable."""

    @property
    def shared(self) -> tuple[Path, ...]:
        """Folders of this machine that every worker writes to."""
        ...

    def place(self, name: str) -> str:
        """What a user calls a file by."""
        ...

    def summary(self, study: str) -> bytes | None:
        """The summary of a study that is done."""
        ...

    def folder(self, study: str) -> contextlib.AbstractContextManager[Path]:
        """A folder to write a study to, whose place is taken when the block ends well; else nothing of it is left."""
        ...

    def beside(self) -> contextlib.AbstractContextManager[Path]:
        """A folder to write the index to."""
        ...


@dataclass(frozen=True)
class FolderResults:
    """A folder of this machine, or one that it shares with the workers."""

    root: Path

    @property
    def shared(self) -> tuple[Path, ...]:
        """See :class:`Results`."""
        return (self.root.absolute(),)

    def place(self, name: str) -> str:
        """See :class:`Results`."""
        return str(self.root / name)

    def summary(self, study: str) -> bytes | None:
        """See :class:`Results`."""
        try:
            return (self.root / study / SUMMARY).read_bytes()
        except OSError:
            return None

    def folder(self, study: str) -> contextlib.AbstractContextManager[Path]:
        """See :class:`Results`."""
        return new_folder(self.root.absolute() / study, overwrite=True)

    @contextlib.contextmanager
    def beside(self) -> Iterator[Path]:
        """See :class:`Results`."""
        self.root.mkdir(parents=True, exist_ok=True)
        yield self.root


@dataclass(frozen=True)
class StoredResults:
    """Storage that workers need not mount: ``s3://...``, ``gs://...``, ``file:///...``.

    Whoever makes a study writes it to a temporary folder and uploads it, the summary last: an object store renames
    nothing.
    """

    url: str

    @property
    def shared(self) -> tuple[Path, ...]:
        """See :class:`Results`."""
        return ()

    def place(self, name: str) -> str:
        """See :class:`Results`."""
        return f"{self.url.rstrip('/')}/{name}"

    def summary(self, study: str) -> bytes | None:
        """See :class:`Results`."""
        files, root = self._open()
        try:
            found: bytes = files.cat_file(f"{root}/{study}/{SUMMARY}")
        except FileNotFoundError:
            return None
        return found

    @contextlib.contextmanager
    def folder(self, study: str) -> Iterator[Path]:
        """See :class:`Results`."""
        with tempfile.TemporaryDirectory(prefix="monai-staging-") as made:
            yield Path(made)
            files, root = self._open()
            target = f"{root}/{study}"
            if files.exists(target):
                # First of all: what is half replaced is not done.
                if files.exists(f"{target}/{SUMMARY}"):
                    files.rm_file(f"{target}/{SUMMARY}")
                files.rm(target, recursive=True)
            self._upload(Path(made), target)

    @contextlib.contextmanager
    def beside(self) -> Iterator[Path]:
        """See :class:`Results`."""
        with tempfile.TemporaryDirectory(prefix="monai-staging-") as made:
            yield Path(made)
            self._upload(Path(made), self._open()[1])

    def _upload(self, made: Path, target: str) -> None:
        files, _ = self._open()
        files.makedirs(target, exist_ok=True)
        for path in sorted(made.iterdir(), key=lambda own: (own.name == SUMMARY, own.name)):
            files.put_file(str(path), f"{target}/{path.name}")

    def _open(self) -> tuple[Any, str]:
        from fsspec.core import url_to_fs

        try:
            files, root = url_to_fs(self.url)
        except (ValueError, ImportError) as error:
            raise UsageError(f"OUT {self.url}: {error}") from None
        return files, str(root).rstrip("/")


def results_at(out: str | Path) -> Results:
    """The place that ``out`` names.

    Raises:
        UsageError: it is a file, or of storage that is not known or not installed.
    """
    if is_url(out):
        stored = StoredResults(str(out))
        stored._open()
        return stored
    if Path(out).is_file():
        raise UsageError(f"{out}: a folder is needed, found a file.")
    return FolderResults(Path(out))


def is_url(out: str | Path) -> bool:
    """Whether it is storage's, not a path of this machine."""
    return "://" in str(out)
