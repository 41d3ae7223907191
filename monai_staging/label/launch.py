"""What ``monai-staging label`` does: checks what it was asked, and serves until it is stopped."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from monai_staging.errors import DataError, UsageError
from monai_staging.label.compat import python_path
from monai_staging.label.phantoms import ensure_phantoms

APP = Path(__file__).with_name("app")
PHANTOMS = Path("data/label-phantoms")
REQUIREMENTS = "requirements-label.txt"


@dataclass(frozen=True)
class Asked:
    """What is asked for; each field is the command's argument of that name."""

    studies: Path | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    models: tuple[str, ...] = ()
    conf: Mapping[str, str] = field(default_factory=dict)
    upload_limit_mib: int = 2048

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise UsageError(f"--port is 0 to 65535; found {self.port}")
        if self.upload_limit_mib < 1:
            raise UsageError(f"--upload-limit-mib is at least 1; found {self.upload_limit_mib}")


def serve(asked: Asked) -> int:
    """Serves until it is stopped.

    Returns:
        The command's exit code.

    Raises:
        DataError: MONAI Label is not installed, the port is taken, or the studies' index is damaged.
        UsageError: a model or a setting is not known, or the studies are no folder.
    """
    if importlib.util.find_spec("monailabel") is None:
        raise DataError(
            f"MONAI Label is not installed; `make label` does it, or: pip install --no-deps -r {REQUIREMENTS}"
        )
    studies = ensure_phantoms(PHANTOMS) if asked.studies is None else asked.studies
    if not studies.is_dir():
        raise UsageError(f"--studies: a folder of NIfTI files or DICOM folders is needed; found {studies}")
    listening = _listen(asked.host, asked.port)
    host, port = asked.host, int(listening.getsockname()[1])
    os.environ.update(environment(asked, studies, port))

    # From here on MONAI Label is imported, which reads the environment once.
    import uvicorn

    from monai_staging.label.server import LOOPBACK, build
    from monai_staging.label.upstream import app_instance

    application = build(host, asked.upload_limit_mib << 20)
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

    if host not in LOOPBACK:
        print(f"Whoever reaches {host}:{port} can read the studies and save labels.", file=sys.stderr)
    # It stops on an interrupt, and then hands it on: to be stopped is how this command ends.
    with contextlib.suppress(KeyboardInterrupt):
        Server(uvicorn.Config(application, log_level="warning", lifespan="on")).run(sockets=[listening])
    return 0


def environment(asked: Asked, studies: Path, port: int) -> dict[str, str]:
    """What MONAI Label reads its settings from, here and in the processes it starts."""
    conf = {**asked.conf, "models": ",".join(asked.models)}
    return {
        "MONAI_LABEL_APP_DIR": str(APP),
        "MONAI_LABEL_STUDIES": str(studies.resolve()),
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
