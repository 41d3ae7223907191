from __future__ import annotations

import pytest

from monai_staging.errors import UsageError
from monai_staging.tnm import EDITIONS, Descriptor, categories, descriptor_level, descriptors


@pytest.mark.parametrize("edition", EDITIONS)
def test_every_level_is_a_category_of_the_edition(edition: str) -> None:
    for descriptor in descriptors(edition):
        assert descriptor_level(descriptor, edition) in categories("t", edition)


def test_the_8th_and_9th_agree_and_know_every_descriptor() -> None:
    assert descriptors("8") == descriptors("9") == tuple(Descriptor)
    assert all(descriptor_level(d, "8") == descriptor_level(d, "9") for d in Descriptor)


@pytest.mark.parametrize(
    ("descriptor", "by_edition"),
    [
        (Descriptor.NODULE_SAME_LOBE, ("T4", "T3", "T3", "T3")),
        (Descriptor.NODULE_OTHER_LOBE, (None, "T4", "T4", "T4")),
        (Descriptor.DIAPHRAGM, ("T3", "T3", "T4", "T4")),
        (Descriptor.MAIN_BRONCHUS, ("T2", "T2a", "T2a", "T2a")),
        (Descriptor.ATELECTASIS_LUNG, ("T3", "T3", "T2a", "T2a")),
    ],
)
def test_levels_that_moved_between_editions(descriptor: Descriptor, by_edition: tuple[str | None, ...]) -> None:
    assert tuple(descriptor_level(descriptor, edition) for edition in EDITIONS) == by_edition
    assert (descriptor in descriptors("6")) == (by_edition[0] is not None)


def test_an_unknown_edition_is_refused() -> None:
    with pytest.raises(UsageError, match="TNM edition"):
        descriptors("5")
