"""What lesions imply for N and M, against the categories the phantom derives for the same lesions, and counting."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monai_staging.cohort.lesion_groups import LESION_GROUPS, check_groups, lesion_group, mirrored, other_side
from monai_staging.cohort.phantom.metastases import m_category
from monai_staging.cohort.phantom.nodes import STATIONS, n_category
from monai_staging.errors import UsageError
from monai_staging.networks.lesion_rules import LesionRules, _shares

GROUPS = tuple(LESION_GROUPS)
CLASSES = {"n": ("N0", "N1", "N2", "N3"), "m": ("M0", "M1a", "M1b", "M1c")}
LEFT, RIGHT = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])


def rules(classes: dict[str, tuple[str, ...]] | None = None) -> LesionRules:
    """Rules that believe what they see."""
    net = LesionRules(GROUPS, classes or CLASSES)
    with torch.no_grad():
        for share in net.unknown.values():
            share.fill_(-20)
    return net


def presence(*lesions: tuple[str, float, int]) -> torch.Tensor:
    """A map with a sure lesion of each group in the half at x < 0 (right) or x > 0 (left), at a slice of its own.

    X runs from the patient's left to the right in voxels, so that the left half comes first.
    """
    values = torch.full((1, 60, 8, 8, len(GROUPS)), -20.0)
    # Cells that are no lesion are not all alike, as they are in a trained map.
    values += 0.01 * torch.rand(values.shape, generator=torch.Generator().manual_seed(0))
    for order, (group, x, y) in enumerate(lesions):
        values[0, 2 + 8 * order, 1 if x > 0 else 6, y, GROUPS.index(group)] = 20
    return values


@settings(max_examples=60, deadline=None)
@given(names=st.lists(st.sampled_from(sorted(STATIONS)), max_size=5, unique=True), side=st.sampled_from("LR"))
def test_nodes_give_the_category_of_their_stations(names: list[str], side: str) -> None:
    # In the map a paired group's place does not matter; the others lie in either half.
    lesions = [(str(lesion_group("node", name)), 1.0 if index % 2 else -1.0, 3) for index, name in enumerate(names)]
    found = rules()(presence(*lesions), LEFT if side == "L" else RIGHT)["n"].exp()[0]
    assert CLASSES["n"][int(found.argmax())] == n_category(names, side)
    assert float(found.max()) > 0.95
    assert float(found.sum()) == pytest.approx(1, abs=1e-3)


SITES = ("lung", "pleural effusion R", "adrenal L", "adrenal R", "liver", "bone rib 3 L lytic")


@settings(max_examples=60, deadline=None)
@given(sites=st.lists(st.sampled_from(SITES), max_size=5), side=st.sampled_from("LR"))
def test_metastases_give_the_category_of_their_sites(sites: list[str], side: str) -> None:
    away = -1.0 if side == "L" else 1.0
    lesions = [(str(lesion_group("metastasis", site)), away, 3) for site in sites]
    found = rules()(presence(*lesions), LEFT if side == "L" else RIGHT)["m"].exp()[0]
    assert CLASSES["m"][int(found.argmax())] == m_category(sites)
    assert float(found.max()) > 0.95


def test_a_nodule_on_the_side_of_the_primary_is_no_metastasis() -> None:
    found = rules()(presence(("nodule", 1.0, 3)), LEFT)["m"].exp()[0]
    assert int(found.argmax()) == 0


def test_unsure_lesions_are_counted_like_independent_coins() -> None:
    chances = (0.2, 0.5, 0.7)
    values = presence(("liver metastasis", 1, 3), ("bone metastasis", -1, 3), ("adrenal metastasis", 1, 3))
    net = rules()
    for chance, group, (slice_, x) in zip(
        chances, ("liver metastasis", "bone metastasis", "adrenal metastasis"), ((2, 1), (10, 6), (18, 1)), strict=True
    ):
        # The logit that the rule's line makes this probability.
        which = GROUPS.index(group)
        values[0, slice_, x, 3, which] = (torch.logit(torch.tensor(chance)) - net.offset[which]) / net.slope[which]
    exact = torch.zeros(3)
    for outcome in itertools.product((0, 1), repeat=3):
        chance = 1.0
        for hit, p in zip(outcome, chances, strict=True):
            chance *= p if hit else 1 - p
        exact[min(sum(outcome), 2)] += chance
    found = net(values, LEFT)["m"].exp()[0]
    torch.testing.assert_close(found[[0, 2, 3]], exact, atol=1e-4, rtol=0)


def test_many_faint_peaks_are_no_lesion() -> None:
    values = torch.randn(1, 60, 8, 8, len(GROUPS), generator=torch.Generator().manual_seed(1)) * 0.2 - 3
    found = rules()(values, LEFT)
    assert float(found["n"].exp()[0, 0]) > 0.9 and float(found["m"].exp()[0, 0]) > 0.9


def test_a_lesion_over_several_cells_is_one() -> None:
    values = presence(("liver metastasis", -1, 3))
    values[0, 1:5, 5:7, 3:5, GROUPS.index("liver metastasis")] = torch.rand(4, 2, 2) + 5
    found = rules()(values, LEFT)["m"].exp()[0]
    assert CLASSES["m"][int(found.argmax())] == "M1b"


def test_classes_of_other_editions_share_or_join() -> None:
    leaves = ("M0", "M1a", "M1b", "M1c")
    assert _shares(leaves, ("M0", "M1")).tolist() == [[1, 0], [0, 1], [0, 1], [0, 1]]
    assert _shares(leaves, ("M0", "M1a", "M1b")).tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]]
    assert _shares(leaves, ("M0", "M1a", "M1b", "M1c1", "M1c2"))[3].tolist() == [0, 0, 0, 0.5, 0.5]
    nine = rules({"n": ("N0", "N1", "N2a", "N2b", "N3"), "m": CLASSES["m"]})
    found = nine(presence(("midline node", 1, 3)), LEFT)["n"].exp()[0]
    torch.testing.assert_close(found, torch.tensor([0, 0, 0.5, 0.5, 0]), atol=0.05, rtol=0)


def test_groups_come_in_pairs_and_are_known() -> None:
    assert check_groups(GROUPS) == GROUPS
    assert [GROUPS[index] for index in mirrored(GROUPS)][2:4] == ["hilar node R", "hilar node L"]
    assert other_side("effusion") is None
    assert lesion_group("node", None) is None and lesion_group("metastasis", "brain") is None
    assert lesion_group("node", "7") == "midline node" and lesion_group("node", "1R") == "supraclavicular node"
    for groups, message in (
        (("primary", "cyst"), "'cyst'"),
        (("hilar node L",), "without 'hilar node R'"),
        (("primary", "primary"), "named once"),
    ):
        with pytest.raises(UsageError, match=message):
            check_groups(groups)
