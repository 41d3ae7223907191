"""What ``monai-staging label`` does: checks what it was asked, and serves until it is stopped."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from monai_staging.dicomweb import Archive, find_archived
from monai_staging.dicomweb.address import PASSWORD, USER
from monai_staging.errors import DataError, UsageError
from monai_staging.files import cache_folder
from monai_staging.label.accounts import LOOPBACK, VARIABLE, Accounts, read_accounts
from monai_staging.label.compat import python_path
from monai_staging.label.phantoms import ensure_phantoms

APP = Path(__file__).with_name("app")
PHANTOMS = Path("data/label-phantoms")
REQUIREMENTS = "requirements-label.txt"


@dataclass(frozen=True)
class Asked:
    """What is asked for; each field is the command's argument of that name."""

    studies: str | None = None
    work: Path | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    models: tuple[str, ...] = ()
    conf: Mapping[str, str] = field(default_factory=dict)
    upload_limit_mib: int = 2048
    token_file: Path | None = None
    no_login: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise UsageError(f"--port is 0 to 65535; found {self.port}")
        if self.upload_limit_mib < 1:
            raise UsageError(f"--upload-limit-mib is at least 1; found {self.upload_limit_mib}")
        if self.no_login and self.token_file is not None:
            raise UsageError("--no-login and --token-file contradict each other; give one of them")


def serve(asked: Asked) -> int:
    """Serves until it is stopped.

    Returns:
        The command's exit code.

    Raises:
        DataError: MONAI Label is not installed, the port is taken, or the studies' index is damaged.
        UsageError: a model or a setting is not known, the studies are neither a folder nor an archive, or other
            machines would reach a server without login that was not asked to be one.
    """
    if importlib.util.find_spec("monailabel") is None:
        raise DataError(
            f"MONAI Label is not installed; `make label` does it, or: pip install --no-deps -r {REQUIREMENTS}"
        )
    accounts = known_accounts(asked)
    studies = find_studies(asked.studies)
    if asked.work is not None and not isinstance(studies, Archive):
        raise UsageError(f"--work is of an archive; what is derived of the folder {studies} is kept in it.")
    listening = _listen(asked.host, asked.port)
    host, port = asked.host, int(listening.getsockname()[1])
    os.environ.update(environment(asked, studies, port, accounts))

    # From here on MONAI Label is imported, which reads the environment once.
    import uvicorn

    from monai_staging.label.server import build
    from monai_staging.label.upstream import app_instance

    application = build(host, asked.upload_limit_mib << 20, accounts)
    app = app_instance()
    app.server_mode(True)
    app.load()
    served = app.datastore().status()["total"]

    class Server(uvicorn.Server):
        """Says when it is ready."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            """Starts, then says so."""
            await super().startup(sockets)
            name = f"[{host}]" if ":" in host else host
            told = f"{served} {'study' if served == 1 else 'studies'}"
            print(f"MONAI Label at http://{name}:{port}: {told}, models {', '.join(app.info()['models'])}", flush=True)

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            """Stops, and before it a training: nobody would take what comes of it."""
            app.trainer.stop()
            await super().shutdown(sockets)

    if host not in LOOPBACK and accounts is None:
        print(f"Whoever reaches {host}:{port} can read the studies and save labels.", file=sys.stderr)
    # It stops on an interrupt, and then hands it on: to be stopped is how this command ends.
    with contextlib.suppress(KeyboardInterrupt):
        Server(uvicorn.Config(application, log_level="warning", lifespan="on")).run(sockets=[listening])
    return 0


def find_studies(asked: str | None) -> Path | Archive:
    """The folder of the studies, made of phantoms where none was asked for, or the archive that they are in.

    Raises:
        UsageError: there is no such folder, or a URL is none of an archive.
        Unavailable: the archive cannot be reached, or refuses.
    """
    archive = None if asked is None else Archive.parse(asked)
    if archive is not None:
        find_archived(archive, "CT")  # what is wrong with it is said before the seconds that imports take
        return archive
    folder = ensure_phantoms(PHANTOMS) if asked is None else Path(asked)
    if not folder.is_dir():
        raise UsageError(
            "--studies: a folder of NIfTI files or DICOM folders is needed, or the URL of an archive's DICOMweb root "
            f"(http://HOST/dicom-web); found {folder}"
        )
    return folder.resolve()


def known_accounts(asked: Asked) -> Accounts | None:
    """Those who may log in; ``None`` where nobody has to.

    Raises:
        UsageError: other machines reach the server, and nothing says who may use it.
        DataError: see :func:`monai_staging.label.accounts.read_accounts`.
    """
    accounts = None if asked.no_login else read_accounts(asked.token_file, os.environ)
    # No process that is started from here needs them.
    os.environ.pop(VARIABLE, None)
    if accounts is None and asked.host not in LOOPBACK and not asked.no_login:
        raise UsageError(
            f"--host {asked.host} can be reached from other machines: --token-file FILE says who may log in; "
            "--no-login lets everybody read the studies and save labels"
        )
    return accounts


def environment(asked: Asked, studies: Path | Archive, port: int, accounts: Accounts | None = None) -> dict[str, str]:
    """What MONAI Label reads its settings from, here and in the processes it starts."""
    conf = {**asked.conf, "models": ",".join(asked.models)}
    identity = {}
    if isinstance(studies, Archive):
        name = hashlib.sha256(str(studies).encode()).hexdigest()[:16]
        conf["work"] = str((asked.work or cache_folder() / "label" / name).resolve())
        if studies.credentials is not None and studies.credentials.user:
            # Those of the URL, which is shown to clients without them.
            identity = {USER: studies.credentials.user, PASSWORD: studies.credentials.password}
    # With it MONAI Label looks at roles; who somebody is it asks us.
    login = {} if accounts is None else {"MONAI_LABEL_AUTH_ENABLE": "true"}
    return {
        **identity,
        **login,
        "MONAI_LABEL_APP_DIR": str(APP),
        "MONAI_LABEL_STUDIES": str(studies),
        "MONAI_LABEL_APP_CONF": json.dumps(conf),
        "MONAI_LABEL_SERVER_PORT": str(port),
        "MONAI_LABEL_SESSIONS": "false",
        "MONAI_LABEL_AUTO_UPDATE_SCORING": "false",
        "PYTHONPATH": python_path(os.environ.get("PYTHONPATH"), str(APP)),
    }


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
        raise DataError(f"Port {port} of {host}: {reason}; --port takes another.") from None
