"""Scores of labels beside each other, by real HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monai_staging.label.kinds import write_labels
from monai_staging.measure.images import read_image
from monai_staging.metrics.segmentation import dice, hausdorff_mm

from .conftest import DICOM, Running


def cube(server: Running, name: str, path: Path, *, shift: int = 0, size: int = 8, value: int = 1) -> Path:
    """A label map with a cube."""
    found = server.ask("GET", "/datastore/image", params={"image": name}).content
    study = path.with_name("study.nii")
    study.write_bytes(found)
    grid = read_image(study)
    labels = np.zeros(grid.shape, dtype=np.uint8, order="F")
    labels[20 + shift : 20 + shift + size, 20 : 20 + size, 10 : 10 + size] = value
    write_labels(path, labels, grid.affine)
    return path


@pytest.fixture(scope="module")
def labelled(server: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[tuple[str, str], Path]]:
    """Labels of two annotators and of a model, by study and tag; taken away again."""
    folder = tmp_path_factory.mktemp("labels")
    sent: dict[tuple[str, str], Path] = {}
    made = [
        (DICOM, "reader-a", {}),
        (DICOM, "reader-b", {"shift": 2}),
        ("scan-1", "reader-a", {}),
        ("scan-1", "reader-b", {"value": 4}),
        ("scan-1", "original", {"size": 0}),
        ("scan-2", "reader-a", {"size": 0}),
        ("scan-2", "reader-b", {"size": 0}),
    ]
    # The server is shared: what other tests have left is not compared.
    for name, own in server.ask("GET", "/datastore/?output=all").json()["objects"].items():
        for tag in own["labels"]:
            server.ask("DELETE", "/datastore/label", params={"id": name, "tag": tag}).raise_for_status()
    for number, (name, tag, options) in enumerate(made):
        (folder / str(number)).mkdir()
        path = sent[name, tag] = cube(server, name, folder / str(number) / "label.nii.gz", **options)
        with open(path, "rb") as file:
            target = {"image": name, "tag": tag}
            server.ask("PUT", "/datastore/label", params=target, files={"label": (path.name, file)}).raise_for_status()
    yield sent
    for name, tag in sent:
        server.ask("DELETE", "/datastore/label", params={"id": name, "tag": tag}).raise_for_status()


def test_two_annotators_are_compared_study_by_study(server: Running, labelled: dict[tuple[str, str], Path]) -> None:
    answer = server.ask("POST", "/scoring/agreement", json={"tags": ["reader-a", "reader-b"]})
    assert answer.status_code == 200, answer.text
    (pair,) = answer.json()["pairs"]
    assert pair["tags"] == ["reader-a", "reader-b"] and pair["patients"] == 3
    expected = {}
    for name in (DICOM, "scan-1"):
        images = [read_image(labelled[name, tag]) for tag in pair["tags"]]
        one, other = (image.read(image.whole) > 0 for image in images)
        spacing = np.linalg.norm(images[0].affine[:3, :3], axis=0).tolist()
        expected[name] = (dice(one, other), hausdorff_mm(one, other, spacing))
    found = sorted((own["dice"], own["hd95_mm"]) for own in pair["studies"] if own["dice"] is not None)
    np.testing.assert_allclose(found, sorted(expected.values()), rtol=1e-5)
    # One study in which neither marks anything: nothing to agree on, and no part of the mean.
    assert [own["dice"] for own in pair["studies"]].count(None) == 1 and pair["mean"]["dice"]["n"] == 2
    assert pair["mean"]["dice"]["value"] == pytest.approx(np.mean([own[0] for own in expected.values()]), rel=1e-5)
    low, high = (pair["mean"]["dice"][end] for end in ("low", "high"))
    assert low == pytest.approx(min(found)[0], rel=1e-5) and high == pytest.approx(1)


def test_the_same_lesion_of_another_kind_is_told(server: Running, labelled: dict[tuple[str, str], Path]) -> None:
    # Every two tags that there are; other tests of the server may have left some.
    pairs = server.ask("POST", "/scoring/agreement").json()["pairs"]
    (pair,) = [own for own in pairs if own["tags"] == ["reader-a", "reader-b"]]
    (other_kind,) = [own for own in pair["studies"] if own["dice"] == 1]
    assert other_kind["kinds"] == {"primary": 0, "nodule": 0}


def test_a_model_is_compared_with_the_label_that_is_asked_for(
    server: Running, labelled: dict[tuple[str, str], Path]
) -> None:
    asked = {"tags": ["original", "reader-a"]}
    (pair,) = server.ask("POST", "/scoring/model", json=asked).json()["pairs"]
    (study,) = pair["studies"]
    assert (study["dice"], study["hd95_mm"], study["volumes_mm3"][0]) == (0, None, 0) and study["volumes_mm3"][1] > 0


def test_nothing_in_an_answer_says_whose_it_is(server: Running, labelled: dict[tuple[str, str], Path]) -> None:
    text = server.ask("POST", "/scoring/agreement").text
    assert "case-" in text and not [name for name in (DICOM, "scan-1", str(server.studies)) if name in text]


WRONG: list[tuple[str, Any, int, str]] = [
    ("nothing", {}, 404, "Scoring: one of agreement, model"),
    ("model", {}, 422, "original and final"),
    ("agreement", {"tags": ["reader-a", "nobody"]}, 422, "reader-a and nobody"),
    ("agreement", {"tags": ["reader-a", "reader-a"]}, 400, "two different tags"),
    ("agreement", {"tags": ["../x", "reader-a"]}, 400, "Tag: "),
    ("agreement", {"tags": "reader-a"}, 400, "tags are two"),
    ("agreement", {"tags": [1, 2]}, 400, "tags are two"),
    ("agreement", {"path": "/etc"}, 400, "found 'path'"),
    ("agreement", [1], 422, ""),
]


@pytest.mark.parametrize(("method", "params", "status", "reason"), WRONG)
def test_what_makes_no_sense_is_refused(
    server: Running, labelled: dict[tuple[str, str], Path], method: str, params: Any, status: int, reason: str
) -> None:
    answer = server.ask("POST", f"/scoring/{method}", json=params)
    assert answer.status_code == status and reason in str(answer.json()["detail"]), answer.text
