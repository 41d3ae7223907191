"""Loss and collector of the staging bundle."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from monai.utils.enums import CommonKeys as Keys

from monai_staging.errors import DataError
from monai_staging.losses.masked import MaskedTNMLoss
from monai_staging.networks.staging import StagingOutput
from monai_staging.workflows.staging import StagingLoss, lesion_loss
from monai_staging.workflows.staging_collector import StagingCollector

CLASSES = {"t": ["T1a", "T2a"], "n": ["N0", "N1"], "m": ["M0", "M1a"]}


def output(logits: torch.Tensor, presence: torch.Tensor, diameter_mm: torch.Tensor) -> StagingOutput:
    batch = len(logits)
    return StagingOutput(logits, torch.ones(batch, 3, 2) / 2, presence, diameter_mm, torch.ones(batch, 2) / 2)


def test_a_perfect_map_costs_nothing_and_a_wrong_one_does() -> None:
    truth = torch.zeros(1, 2, 4, 4, 3)
    truth[0, 0, 1, 2, 1] = 20
    right = torch.where(truth > 0, 20.0, -20.0)
    known = torch.ones(1, 2)
    logits = torch.zeros(1, 6)
    assert float(lesion_loss(output(logits, right, truth), truth, known)) == pytest.approx(0, abs=1e-5)
    missed = float(lesion_loss(output(logits, -right, truth), truth, known))
    assert missed > 1
    # A group that nobody looked for teaches nothing.
    only_first = torch.tensor([[1.0, 0.0]])
    right[:, 1] = 20
    assert float(lesion_loss(output(logits, right, truth), truth, only_first)) == pytest.approx(0, abs=1e-5)


def test_coarser_maps_keep_the_largest_lesion() -> None:
    truth = torch.zeros(1, 1, 4, 4, 4)
    truth[0, 0, 3, 3, 3] = 15
    coarse = torch.full((1, 1, 2, 2, 2), -20.0)
    coarse[0, 0, 1, 1, 1] = 20
    prediction = output(torch.zeros(1, 6), coarse, torch.full_like(coarse, 15))
    assert float(lesion_loss(prediction, truth, torch.ones(1, 1))) == pytest.approx(0, abs=1e-5)


def test_the_loss_is_the_letters_plus_the_weighted_map() -> None:
    letters = MaskedTNMLoss(CLASSES)
    truth = torch.zeros(1, 1, 2, 2, 2)
    prediction = output(torch.randn(1, 6), torch.zeros_like(truth), torch.ones_like(truth))
    targets = {
        "tnm": torch.tensor([[1.0, 0, 1, 0, 1, 1]]),
        "lesion_mm": truth,
        "lesion_known": torch.ones(1, 1),
    }
    alone = letters(prediction.logits, targets["tnm"])
    extra = lesion_loss(prediction, truth, targets["lesion_known"])
    torch.testing.assert_close(StagingLoss(letters, 0.5)(prediction, targets), alone + 0.5 * extra)
    torch.testing.assert_close(StagingLoss(letters, 0)(prediction, targets), alone)


def test_attention_is_drawn_to_the_slices_with_what_a_letter_is_read_from() -> None:
    lesions = torch.zeros(2, 3, 2, 2, 4)  # primary, hilar node, liver metastasis; none of the last
    lesions[0, 0, 1, 0, 1:3] = 20  # T of the first is read from slices 1 and 2
    lesions[0, 1, 0, 0, 3] = 8  # its N from slice 3
    lesions[1, 0, 0, 0, 0] = 30
    attention = torch.full((2, 3, 4), 0.25)
    attention[1, 0] = torch.tensor([1.0, 0.0, 0.0, 0.0])
    prediction = output(torch.zeros(2, 6), lesions, lesions)._replace(attention=attention)
    tnm = torch.tensor([[1.0, 0, 1, 0, 1, 1], [0, 1, 1, 0, 1, 0]])
    letters, groups = MaskedTNMLoss(CLASSES), ["primary", "hilar node L", "liver metastasis"]
    loss = StagingLoss(letters, 0, attention_weight=2, groups=groups)
    expected = -(np.log(0.5) + np.log(0.25) + np.log(1)) / 3
    alone = float(letters(prediction.logits, tnm))
    found = float(loss(prediction, {"tnm": tnm, "lesion_mm": lesions}))
    assert found == pytest.approx(alone + 2 * expected, rel=1e-5)
    # A cohort without lesions, or patients without any, teach it nothing.
    assert float(loss(prediction, {"tnm": tnm})) == pytest.approx(alone)
    assert float(loss(prediction, {"tnm": tnm, "lesion_mm": torch.zeros_like(lesions)})) == pytest.approx(alone)


def run_collector(edition: tuple[str, str]) -> tuple[StagingCollector, SimpleNamespace]:
    collector = StagingCollector(CLASSES)
    logits = torch.tensor([[3.0, 0, 0, 3, 3, 0], [0.0, 3, 3, 0, 3, 0]])
    shape = torch.zeros(2, 1, 1, 1, 2)
    batch = {
        "case": ["case-1", "case-2"],
        "study": ["case-1", "case-2"],
        "t_set": ["T1a", "T1a|T2a"],
        "n_set": ["N1", "N1"],
        "m_set": ["M0", "M0|M1a|M1b|M1c"],
        "edition": list(edition),
        "prefix": ["c", "c"],
        "tnm": torch.tensor([[1, 0, 0, 1, 1, 0], [1, 1, 0, 1, 1, 1]]),
    }
    state = SimpleNamespace(batch=batch, output={Keys.PRED: output(logits, shape, shape)}, metrics={})
    engine = SimpleNamespace(state=state)
    collector.collect(engine)  # type: ignore[arg-type]
    collector.complete(engine)  # type: ignore[arg-type]
    return collector, state


def test_epoch_metrics_count_what_is_known() -> None:
    collector, state = run_collector(("8", "8"))
    assert state.metrics["t_accuracy"] == 1  # the second is T1 or T2
    assert state.metrics["n_accuracy"] == 0.5
    assert state.metrics["m_accuracy"] == 1
    sure, wrong = -((1 / (np.exp(3) + 1)) ** 2), -((np.exp(3) / (np.exp(3) + 1)) ** 2)
    # T of the first, N of both, M of the first; what is wholly open does not count.
    assert state.metrics["score"] == pytest.approx((sure + sure + wrong + sure) / 4)
    assert collector.predictions is not None and len(collector.predictions) == 2


def test_two_editions_are_never_scored_together() -> None:
    with pytest.raises(DataError, match="one TNM edition"):
        run_collector(("8", "9"))
