"""What a worker on another machine does with an item: it checks where it is, is silent, and answers."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monai_staging.errors import UsageError
from monai_staging.files import remove_abandoned, temporary_path
from monai_staging.streams import output_to
from monai_staging.version import __version__

PASSED_ON = ("MLFLOW_", "MONAI_STAGING_")
"""Variables of these beginnings are those of the process that the user started, on every node."""
_MARK = "shared"
_checked: set[str] = set()


@dataclass(frozen=True)
class Raised:
    """What an item's function raised."""

    error: Exception


@dataclass(frozen=True)
class Folder:
    """A folder as the process that the user started sees it.

    Attributes:
        path: absolute.
        mark: a file that this process put there; ``None`` where the folder is only read.
        names: digest of the names in it, where there is no mark.
    """

    path: Path
    mark: str | None = None
    names: str | None = None

    @classmethod
    def read_from(cls, path: Path) -> Folder:
        """A folder that stays as it is."""
        return cls(path.absolute(), names=_names(path))

    @classmethod
    @contextlib.contextmanager
    def written_to(cls, path: Path) -> Iterator[Folder]:
        """A folder that is written to; made where it is missing, and marked while the block runs."""
        path = path.absolute()
        path.mkdir(parents=True, exist_ok=True)
        remove_abandoned(path, rf"{_MARK}-\w+")
        mark = temporary_path(path / f"{_MARK}-{secrets.token_hex(8)}")
        mark.touch()
        try:
            yield cls(path, mark.name)
        finally:
            mark.unlink(missing_ok=True)

    @property
    def is_here(self) -> bool:
        """Whether this machine sees it as that one does."""
        # Another machine's new file may be seen only once the folder has been listed.
        names = _names(self.path)
        return names is not None and (names == self.names if self.mark is None else (self.path / self.mark).exists())


@dataclass(frozen=True)
class Setting:
    """What a worker has in common with the process that the user started.

    Attributes:
        folder: where that process was started.
        folders: that both must see.
        version: of this package.
        environment: variables, see :data:`PASSED_ON`; never in Ray's own, which it writes into its logs.
        token: tells one call of the command from another.
    """

    folder: str
    folders: Sequence[Folder]
    version: str = __version__
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    token: str = field(default_factory=lambda: secrets.token_hex(8))

    @classmethod
    def here(cls, folders: Sequence[Folder]) -> Setting:
        """This process's."""
        passed_on = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
        return cls(os.getcwd(), tuple(folders), environment=passed_on)

    def enter(self) -> None:
        """Takes this process there, once.

        Raises:
            UsageError: a folder is not to be seen here, or another version is installed.
        """
        if self.token in _checked:
            return
        node = socket.gethostname()
        if self.version != __version__:
            raise UsageError(f"Ray node {node}: monai_staging {self.version} is needed, found {__version__}.")
        for folder in self.folders:
            if not folder.is_here:
                raise UsageError(
                    f"Ray node {node}: {folder.path} is needed as it is where the command runs, found another folder "
                    "or none. Put it on storage that every node mounts at the same path."
                )
        os.environ.update(self.environment)
        # Relative paths, of bundles for one, mean the same; a node that need not see that folder may lack it.
        with contextlib.suppress(OSError):
            os.chdir(self.folder)
        _checked.add(self.token)


def work(function: Callable[[Any], Any], item: Any, setting: Setting) -> Any:
    """A function's result, or :class:`Raised`.

    Whatever is printed meanwhile is dropped, and no error leaves as one: Ray keeps both in logs on the node, and a
    message may name a patient.
    """
    with output_to(Path(os.devnull)):
        try:
            setting.enter()
            return function(item)
        except Exception as error:
            return Raised(error)


def _names(path: Path) -> str | None:
    try:
        return hashlib.sha256("\n".join(sorted(os.listdir(path))).encode(errors="surrogateescape")).hexdigest()
    except OSError:
        return None
