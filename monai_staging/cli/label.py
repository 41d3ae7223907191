"""Serves studies for annotation: the MONAI Label server, for 3D Slicer and OHIF, with this project's bundles.

It answers with lesions as a label map, candidates as boxes, T, N and M, malignancy, and the outline of a lesion that is
clicked on; it saves labels beside the studies, or in the archive that they come from, and says which study to label
next, and why. It is reached from this machine alone unless --host says otherwise, and downloads nothing. Not a medical
device: for research only.
"""

from __future__ import annotations

import argparse
from pathlib import Path

MODELS = ("tumour", "detection", "staging", "malignancy", "outline_click")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "--studies",
        metavar="DIR|URL",
        help="folder with the studies: NIfTI files in Hounsfield units, and a folder of DICOM files for each study "
        "(default: six phantoms, made in data/label-phantoms); or the DICOMweb root of an archive, "
        "http://HOST/dicom-web, whose CT series are served and which gets the labels as DICOM SEG and SR",
    )
    parser.add_argument(
        "--work",
        type=Path,
        metavar="DIR",
        help="of an archive: folder for what is retrieved and derived (default: one in the user's cache); may be "
        "deleted while nothing is served",
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
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="who may log in: a line NAME TOKEN [reader|annotator|admin] for everybody, readable by its owner alone "
        "(default: the lines in MONAI_STAGING_LABEL_TOKENS; without either nobody has to log in)",
    )
    parser.add_argument(
        "--no-login", action="store_true", help="nobody has to log in, even where --host is reached by other machines"
    )


def run(args: argparse.Namespace) -> int:
    """Serves; returns the exit code."""
    from monai_staging.label.launch import Asked, serve

    return serve(
        Asked(
            studies=args.studies,
            work=args.work,
            host=args.host,
            port=args.port,
            models=tuple(args.models),
            conf=dict(args.conf),
            upload_limit_mib=args.upload_limit_mib,
            token_file=args.token_file,
            no_login=args.no_login,
        )
    )
