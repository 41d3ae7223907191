"""Entry point of ``monai-staging``.

Each subcommand lives in a module of its own with ``add_arguments(parser)`` and ``run(args) -> int``; the module is
imported only when its command is asked for, so that ``--help`` costs nothing.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import re
import sys
from collections.abc import Sequence

from monai_staging.errors import StagingError
from monai_staging.version import __version__

# name -> (module, what it does)
COMMANDS: dict[str, tuple[str, str]] = {
    "phantom": ("monai_staging.cli.phantom", "make a raw DICOM study tree of synthetic chest CTs with exact truth"),
    "ingest": ("monai_staging.cli.ingest", "turn raw data into a cohort"),
    "audit": ("monai_staging.cli.audit", "check a cohort for leakage, geometry and labels"),
    "compare": ("monai_staging.cli.compare", "networks and initialisations as a paired experiment"),
    "register": ("monai_staging.cli.register", "put the best network into MLflow's model registry"),
    "predict": ("monai_staging.cli.predict", "a study to its lesions and stage: DICOM SEG and SR, JSON, a report"),
    "label": ("monai_staging.cli.label", "serve studies for annotation in 3D Slicer: MONAI Label"),
    "stage": ("monai_staging.cli.stage", "stage groups of one patient's T, N and M"),
    "stage-table": ("monai_staging.cli.stage_table", "stage groups for every row of a clinical table"),
    "measure": ("monai_staging.cli.measure", "volume, diameters and T by size of a lesion's mask"),
    "froc": ("monai_staging.cli.froc", "sensitivity against false positives per scan of detected nodules (LUNA16)"),
    "package": ("monai_staging.cli.package", "a bundle in the Model Zoo's layout, verified"),
    "info": ("monai_staging.cli.info", "versions, devices and extras present"),
}


_TEMPORARY = re.compile(r"\.\d+\.tmp\.")  # how `monai_staging.files` names a file until it is whole


def _command_list() -> str:
    width = max(map(len, COMMANDS))
    return "\n".join(f"  {name:<{width}}  {text}" for name, (_, text) in COMMANDS.items())


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code (0 done, 1 not acceptable, 2 wrong usage)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="monai-staging",
        description="Chest CT from DICOM to cancer stage. Not a medical device.",
        epilog="commands:\n" + _command_list() + "\n\n`monai-staging COMMAND --help` says more about one.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"monai-staging {__version__}")
    parser.add_argument("command", metavar="COMMAND", choices=sorted(COMMANDS), help="one of the commands below")
    parsed = parser.parse_args(arguments[:1])
    module = importlib.import_module(COMMANDS[parsed.command][0])
    command = argparse.ArgumentParser(
        prog=f"monai-staging {parsed.command}",
        description=(module.__doc__ or "").strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(command)
    try:
        return int(module.run(command.parse_args(arguments[1:])))
    except StagingError as error:
        print(f"monai-staging {parsed.command}: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # The reader of our output went away (`| head`): not an error of ours.
        sys.stderr.close()
        return 0
    except OSError as error:
        # A path that cannot be read or made is the user's to mend; a traceback would only hide which.
        print(f"monai-staging {parsed.command}: {_told(error, arguments)}", file=sys.stderr)
        return 1


def _told(error: OSError, arguments: Sequence[str]) -> str:
    """What the system refused and for which path, as far as it lies under an argument in the user's own words."""
    reason = error.strerror or str(error)
    if not isinstance(error.filename, (str, bytes, os.PathLike)):
        return reason
    path = os.fsdecode(error.filename)
    folder, name = os.path.split(path)
    path = os.path.join(folder, _TEMPORARY.sub("", name, count=1))
    if isinstance(error, FileExistsError) and not os.path.isdir(path):
        # A file lies where a folder was to be made.
        reason = os.strerror(errno.ENOTDIR)
    typed = {os.path.realpath(argument): argument for argument in arguments if argument}
    under = [full for full in typed if path == full or path.startswith(full + os.sep)]
    if under:
        full = max(under, key=len)
        path = typed[full] + path[len(full) :]
    return f"{reason}: {path}"


if __name__ == "__main__":
    sys.exit(main())
