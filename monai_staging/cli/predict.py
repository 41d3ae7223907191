"""Takes a study to its lesions, their sizes and the stage: DICOM SEG and SR, JSON, and a page to check it by.

STUDY is a folder with the DICOM files of one study, a NIfTI file in Hounsfield units, or the DICOMweb URL of a study
(.../studies/UID). Of several CT series one is taken: axial, readable without guessing, over 120 mm long, with the
smallest distance of slices, then with the most. OUT is a new folder. Not a medical device: for research only.
"""

from __future__ import annotations

import argparse

from monai_staging.cluster.arguments import add_ray_arguments, executor_of

BUNDLES = ("detection", "segmentation", "malignancy", "staging")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("study", metavar="STUDY", help="DICOM folder, NIfTI file, or DICOMweb URL of a study")
    parser.add_argument("out", metavar="OUT", help="folder to make; with --batch also s3://..., gs://... (fsspec)")
    parser.add_argument("--series", metavar="UID", help="the CT series to take")
    parser.add_argument(
        "--point",
        default="8 fp/scan",
        metavar="NAME",
        help="the detector's operating point, '1/8 fp/scan' to '8 fp/scan' (default: 8 fp/scan, since boxes without an "
        "outline fall away)",
    )
    parser.add_argument(
        "--at",
        nargs=3,
        type=float,
        action="append",
        default=[],
        metavar=("X", "Y", "Z"),
        help="a place (RAS mm) at which a reader sees a lesion, besides those that are detected; can be repeated",
    )
    parser.add_argument("--rtstruct", action="store_true", help="write an RTSTRUCT too")
    parser.add_argument("--store", action="store_true", help="store SEG and SR in the study's DICOMweb server")
    parser.add_argument("--batch", action="store_true", help="STUDY holds several studies, or is a cohort's folder")
    parser.add_argument("--overwrite", action="store_true", help="take the place of what is in OUT")
    weights = parser.add_argument_group(
        "weights (a file, a folder or package of a bundle, or an MLflow URI; default: those that each bundle ships)"
    )
    for name in BUNDLES:
        if name != "staging":
            weights.add_argument(f"--{name}", metavar="WEIGHTS")
    weights.add_argument("--staging", metavar="WEIGHTS", action="append", help="can be repeated: an ensemble")
    weights.add_argument(
        "--passes", type=int, default=0, metavar="N", help="passes of staging with dropout, whose mean is reported"
    )
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:0 (default: a GPU if there is one)")
    parser.add_argument("--json", action="store_true", help="print the report as one JSON document")
    add_ray_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    from monai_staging.cluster.executor import InProcess
    from monai_staging.errors import UsageError
    from monai_staging.predict.command import predict
    from monai_staging.predict.request import Request, tell

    if args.ray is not None and not args.batch:
        raise UsageError("--ray is for many studies: --batch takes a folder of them.")
    request = Request(
        study=args.study,
        out=args.out,
        series=args.series,
        point=args.point,
        at_mm=tuple((x, y, z) for x, y, z in args.at),
        rtstruct=args.rtstruct,
        store=args.store,
        batch=args.batch,
        overwrite=args.overwrite,
        weights={name: getattr(args, name) for name in BUNDLES},
        passes=args.passes,
        device=args.device,
        json=args.json,
    )
    with executor_of(args, InProcess()) as executor:
        return predict(request, tell, executor)
