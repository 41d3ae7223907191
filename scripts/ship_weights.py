r"""Puts a training's weights into its bundle, in half precision, with digest and metrics beside them.

Tensors of few numbers (norms, biases, scales, boosted trees' values) keep their precision: they cost nothing.

python scripts/ship_weights.py runs/staging-long-resnet10 bundles/staging --learned_from "phantoms (synthetic CT)"
python scripts/ship_weights.py runs/detection-two-stage-attention_unet bundles/detection --name two_stage \
    --learned_from "phantoms (synthetic CT)"
python scripts/ship_weights.py runs/malignancy-final-resnet18 bundles/malignancy --comparison runs/malignancy-transfer \
    --learned_from "850 nodules of LIDC-IDRI (CC BY 3.0)"
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import subprocess
from pathlib import Path
from typing import Any

import torch

from monai_staging.files import atomic_path, write_json_atomic
from monai_staging.networks.pretrained import read_state_dict

LARGEST_BYTES = 8_000_000
FEW = 16_384


def main() -> None:
    """Reads, rounds, checks the size, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of the training: best.pt and best.json, or model.pt")
    parser.add_argument("bundle", type=Path, help="folder of the bundle")
    parser.add_argument("--learned_from", required=True, help="what they have seen, as reports say it")
    parser.add_argument("--name", default="", help="of a bundle with several networks: they lie in models/NAME")
    parser.add_argument("--metrics", type=Path, help="metrics.json of the rounded weights, from the evaluate config")
    parser.add_argument(
        "--comparison",
        type=Path,
        help="of weights trained on everything: the comparison whose best arm has their settings",
    )
    arguments = parser.parse_args()
    best = arguments.run / "best.pt"
    state = read_state_dict(best if best.is_file() else arguments.run / "model.pt")
    large = {name for name, value in state.items() if value.dtype == torch.float32 and value.numel() > FEW}
    half = {name: value.half() if name in large else value for name, value in state.items()}
    target = arguments.bundle / "models" / arguments.name / "model.pt"
    # Through memory: torch.save writes the name of its file into the archive, and a temporary one never repeats.
    archive = io.BytesIO()
    torch.save(half, archive)
    with atomic_path(target) as temporary:
        Path(temporary).write_bytes(archive.getvalue())
    size = target.stat().st_size
    if size > LARGEST_BYTES:
        raise SystemExit(f"{target}: at most {LARGEST_BYTES} bytes go into the repository, found {size}")
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    document = {
        "sha256": hashlib.sha256(target.read_bytes()).hexdigest(),
        "bytes": size,
        "commit": commit,
        "learned_from": arguments.learned_from,
        **({"best": json.loads((arguments.run / "best.json").read_text())} if best.is_file() else {}),
        **(
            cross_validated(arguments.comparison)
            if arguments.comparison
            else {"metrics": json.loads((arguments.metrics or arguments.run / "metrics.json").read_text())}
        ),
    }
    write_json_atomic(target.with_suffix(".json"), document)
    for name in ("operating_points.json", "threshold.json"):
        if (chosen := arguments.run / name).is_file():
            write_json_atomic(target.with_name(name), json.loads(chosen.read_text()))
    print(f"{target}: {size} bytes, sha256 {document['sha256']}")


def cross_validated(comparison: Path) -> dict[str, Any]:
    """Metrics of a comparison's best arm: where nothing is held out, those of the same settings with folds."""
    found = json.loads((comparison / "findings.json").read_text(encoding="utf-8"))
    best = found["best"]
    arm = next(one for one in found["arms"] if all(one[name] == value for name, value in best.items()))
    metrics = {name: value for name, value in arm.items() if isinstance(value, dict)}
    return {"metrics_of": {"comparison": comparison.name, **best, "patients": found["patients"]}, "metrics": metrics}


if __name__ == "__main__":
    main()
