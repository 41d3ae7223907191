"""Serves studies for annotation: the MONAI Label server, for 3D Slicer, with this project's bundles.

It answers with lesions as a label map, candidates as boxes, T, N and M, malignancy, and the outline of a lesion that is
clicked on; it saves labels beside the studies and says which study to label next, and why. It is reached from this
machine alone unless --host says otherwise, and downloads nothing. Not a medical device: for research only.
"""

from __future__ import annotations

import argparse
from pathlib import Path

MODELS = ("tumour", "detection", "staging", "malignancy", "outline_click")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "--studies",
        type=Path,
        metavar="DIR",
        help="folder with the studies: NIfTI files in Hounsfield units, and a folder of DICOM files for each study "
        "(default: six phantoms, made in data/label-phantoms)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine)")
    parser.add_argument("--port", type=int, default=8000, metavar="P", help="0 for any that is free (default: 8000)")
    parser.add_argument(
        "--models", nargs="+", choices=MODELS, default=[], metavar="NAME", help=f"of {', '.join(MODELS)}"
    )
    parser.add_argument(
        "--conf",
        nargs=2,
        action="append",
        default=[],
        metavar=("KEY", "VALUE"),
        help="weights of detection, segmentation, malignancy or staging (see `monai-staging predict`), the detector's "
        "point ('1 fp/scan'), the device, or the folder of trainings ('runs'); can be repeated",
    )
    parser.add_argument(
        "--upload-limit-mib", type=int, default=2048, metavar="MIB", help="largest request taken (default: 2048)"
    )


def run(args: argparse.Namespace) -> int:
    """Serves; returns the exit code."""
    from monai_staging.label.launch import Asked, serve

    return serve(
        Asked(
            studies=args.studies,
            host=args.host,
            port=args.port,
            models=tuple(args.models),
            conf=dict(args.conf),
            upload_limit_mib=args.upload_limit_mib,
        )
    )
