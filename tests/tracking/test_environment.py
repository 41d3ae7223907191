"""Where a run comes from."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import torch

from monai_staging.networks.backbones import build_backbone
from monai_staging.networks.pretrained import write_checkpoint
from monai_staging.tracking.environment import cohort_summary, git_state, start_tags, versions


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_commit_and_changes_of_the_checkout_a_file_belongs_to(tmp_path: Path) -> None:
    file = tmp_path / "code.py"
    file.write_text("1")
    assert git_state(file) is None  # no checkout
    git(tmp_path, "init", "-q")
    assert git_state(file) is None  # a checkout, but of something else
    git(tmp_path, "add", "code.py")
    git(tmp_path, "commit", "-q", "-m", "x")
    state = git_state(file)
    assert state is not None and state.commit == git(tmp_path, "rev-parse", "HEAD") and not state.dirty
    (tmp_path / "untracked.py").write_text("2")
    assert git_state(file) == state
    file.write_text("3")
    changed = git_state(file)
    assert changed is not None and changed.dirty


def test_versions_are_those_that_decide_results() -> None:
    found = versions()
    assert {"python", "monai", "torch", "numpy", "mlflow", "monai-staging"} <= set(found)
    assert all(found.values())


def test_cohort_is_summarised_without_its_cases(tmp_path: Path) -> None:
    content = json.dumps({"name": "n", "source": "phantom", "training": [{"patient": "JANE"}] * 3, "test": [{}]})
    (tmp_path / "cohort.json").write_text(content)
    summary = cohort_summary(tmp_path)
    assert summary is not None
    assert summary.digest == hashlib.sha256(content.encode()).hexdigest()
    assert summary.sizes == {"training": 3, "validation": 0, "test": 1}
    assert (summary.name, summary.source) == ("n", "phantom")
    assert "JANE" not in repr(summary)
    assert cohort_summary(tmp_path / "none") is None


def test_a_network_says_what_it_started_from(tmp_path: Path) -> None:
    source = build_backbone("resnet10", width=0.125)
    write_checkpoint(tmp_path / "backbone.pt", source, {"network": "resnet10", "run_id": "abc"})
    started = torch.nn.Sequential(build_backbone("resnet10", width=0.125, weights=tmp_path / "backbone.pt"))
    tags = start_tags(started)
    assert tags["start.run_id"] == "abc" and tags["start.matched"] == "1.0000"
    assert tags["start.where"].endswith("backbone.pt") and len(tags["start.sha256"]) == 64
    assert start_tags(torch.nn.Sequential(source)) == {} == start_tags(None)
