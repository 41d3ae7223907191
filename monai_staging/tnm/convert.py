"""Between the 8th and the 9th edition, as sets.

The 9th edition kept T and split N2 (one station: N2a, several: N2b) and M1c (one organ system: M1c1, several: M1c2). To
the 9th is one-to-many, since the number of stations or systems is not in an 8th-edition code; back to the 8th is exact.
Other pairs of editions need sizes and descriptors, which a category no longer holds, and are refused.
"""

from __future__ import annotations

from monai_staging.errors import UsageError
from monai_staging.tnm.categories import check_edition, expand
from monai_staging.tnm.value import TNM

_TO_8 = {"N2a": "N2", "N2b": "N2", "M1c1": "M1c", "M1c2": "M1c"}


def convert(tnm: TNM, edition: str) -> TNM:
    """``tnm`` in another edition: every category that each of its categories may be there.

    Raises:
        UsageError: a pair of editions other than 8 and 9.
    """
    edition = check_edition(edition)
    if edition == tnm.edition:
        return tnm
    if {edition, tnm.edition} != {"8", "9"}:
        raise UsageError(
            f"Categories convert between the 8th and 9th editions only, not from {tnm.edition} to {edition}: "
            "T categories of other editions need the size and the descriptors."
        )
    return TNM(_map(tnm.t, edition), _map(tnm.n, edition), _map(tnm.m, edition), edition, tnm.prefix)


def _map(members: frozenset[str], edition: str) -> frozenset[str]:
    if edition == "8":
        return frozenset(_TO_8.get(member, member) for member in members)
    return frozenset(new for member in members for new in expand(member, edition))
