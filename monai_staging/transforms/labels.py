"""What is known of a case, as vectors: the categories still possible, and the clinical variables."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.transforms import MapTransform, Transform

from monai_staging.errors import DataError, UsageError
from monai_staging.tnm import expand, is_unknown, main_category

CLINICAL_FEATURES = ("age", "age_known", "female", "male", "never", "former", "current")
"""What the entries of a clinical vector stand for."""

# Roughly mean and spread of age at diagnosis of lung cancer, in years; they only bring age to the scale of the others.
AGE_CENTER, AGE_SCALE = 65.0, 10.0


class TNMTargets(Transform):
    """Sets of categories as a multi-hot vector over a model's classes.

    A category counts as the class of its name, else as its main category's ("T1b" as "T1"), else as the classes it is
    divided into ("T1" as "T1a", "T1b", "T1c"). The full set of the edition, that is an unknown letter, gives all
    classes; so does a set of which nothing is left, as nothing can be learned from it (see `has_no_class`).

    Args:
        classes: letter to its ordered classes; the vector goes through the letters in their order here.
        mapping: what to do with a category that no class stands for: the class that it counts as, or None to leave it
            out of the set. Takes precedence over the rules above.

    Raises:
        UsageError: no classes, a class twice, or a mapping to something that is no class.
    """

    def __init__(self, classes: Mapping[str, Sequence[str]], mapping: Mapping[str, str | None] | None = None) -> None:
        self.classes = {letter: tuple(names) for letter, names in classes.items()}
        for letter, names in self.classes.items():
            if not names or len(set(names)) != len(names):
                raise UsageError(f"TNMTargets: {letter} needs classes, each once, found {list(names)}")
        self.mapping = dict(mapping or {})
        known = {name for names in self.classes.values() for name in names}
        stray = {c: name for c, name in self.mapping.items() if name is not None and name not in known}
        if not self.classes or stray:
            raise UsageError(f"TNMTargets: a category must be mapped to a class or to None, found {stray}")

    def __call__(  # type: ignore[override]  # a set of categories means nothing without its edition
        self, sets: Mapping[str, Sequence[str]], edition: str, owner: str = "case"
    ) -> torch.Tensor:
        """The vector of one case.

        Args:
            sets: letter to the categories still possible.
            edition: of the TNM classification, "6" to "9".
            owner: whose they are, for messages.

        Returns:
            (sum of classes,) float32, 1 for each class still possible.

        Raises:
            DataError: an empty set, or a category that no class stands for and that is not mapped.
        """
        return torch.cat([self._letter(letter, sets[letter], edition, owner) for letter in self.classes])

    def has_no_class(self, letter: str, members: Sequence[str], edition: str, owner: str = "case") -> bool:
        """Whether the mapping leaves out every member of a set, so that the letter cannot be learned from the case.

        Args:
            letter: one of the letters of the classes.
            members: categories still possible.
            edition: of the TNM classification, "6" to "9".
            owner: whose they are, for messages.

        Raises:
            DataError: as for `__call__`.
        """
        return not self._possible(letter, members, edition, owner)

    def _letter(self, letter: str, members: Sequence[str], edition: str, owner: str) -> torch.Tensor:
        possible = self._possible(letter, members, edition, owner)
        return torch.tensor([float(not possible or name in possible) for name in self.classes[letter]])

    def _possible(self, letter: str, members: Sequence[str], edition: str, owner: str) -> set[str]:
        names = self.classes[letter]
        if not members:
            raise DataError(f"{owner}: {letter} must have a category that is still possible, found none")
        if is_unknown(letter, frozenset(members), edition):
            return set(names)
        possible: set[str] = set()
        for member in members:
            stands_for = self._classes_of(member, names, edition)
            if stands_for is None:
                raise DataError(
                    f"{owner}: {letter} must be among the classes {', '.join(names)} or be mapped, found {member} "
                    f"(edition {edition})"
                )
            possible |= stands_for
        return possible

    def _classes_of(self, member: str, names: tuple[str, ...], edition: str) -> set[str] | None:
        if member in self.mapping:
            mapped = self.mapping[member]
            return set() if mapped is None else {mapped}
        for candidate in (member, main_category(member)):
            if candidate in names:
                return {candidate}
        # A main category against finer classes: any of those it is divided into, in whatever edition they are spelled.
        finer = {name for name in names if name in expand(member, edition) or main_category(name) == member}
        return finer or None


class TNMTargetsd(MapTransform):
    """Dictionary twin of `TNMTargets`: an item's ``t``, ``n``, ``m`` become one vector.

    Args:
        classes: as in the array transform; its letters are the keys read.
        mapping: as in the array transform.
        target_key: where the vector goes.
        edition_key: where an item has its edition.

    A message names the item by its ``case``, which is a keyed hash in our datalists: it may end up in a log.
    """

    def __init__(
        self,
        classes: Mapping[str, Sequence[str]],
        mapping: Mapping[str, str | None] | None = None,
        target_key: str = "target",
        edition_key: str = "edition",
    ) -> None:
        super().__init__(tuple(classes))
        self.transform = TNMTargets(classes, mapping)
        self.target_key = target_key
        self.edition_key = edition_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Adds the vector."""
        result = dict(data)
        sets = {str(key): result[key] for key in self.key_iterator(result)}
        owner = str(result.get("case", "case"))
        result[self.target_key] = self.transform(sets, str(result[self.edition_key]), owner)
        return result


class ClinicalVector(Transform):
    """Age, sex and smoking as numbers, see `CLINICAL_FEATURES`.

    Age is (years - 65) / 10 beside a 1 that says it is known; sex and smoking have a 1 in the place of what they are.
    What is not known is 0 everywhere, so a case of which nothing is known gives zeros only.
    """

    def __call__(self, clinical: Mapping[str, Any], owner: str = "case") -> torch.Tensor:
        """The vector of one case, (7,) float32.

        Args:
            clinical: ``age`` in years, ``sex`` ("F" or "M"), ``smoking`` ("never", "former", "current"); absent or None
                where not known. Anything else is not looked at.
            owner: whose they are, for messages.

        Raises:
            DataError: a value that is none of these.
        """
        age, sex, smoking = (clinical.get(name) for name in ("age", "sex", "smoking"))
        vector = dict.fromkeys(CLINICAL_FEATURES, 0.0)
        if age is not None:
            if isinstance(age, bool) or not isinstance(age, (int, float)) or not 0 <= age <= 130:
                raise DataError(f"{owner}: age must be 0 to 130 years or None, found {age!r}")
            vector["age"], vector["age_known"] = (age - AGE_CENTER) / AGE_SCALE, 1.0
        for name, value, places in (
            ("sex", sex, {"F": "female", "M": "male"}),
            ("smoking", smoking, {s: s for s in ("never", "former", "current")}),
        ):
            if value is not None:
                if value not in places:
                    raise DataError(f"{owner}: {name} must be one of {', '.join(places)} or None, found {value!r}")
                vector[places[value]] = 1.0
        return torch.tensor(list(vector.values()))


class ClinicalVectord(MapTransform):
    """Dictionary twin of `ClinicalVector`.

    Args:
        key: where an item has its clinical variables; the vector takes their place.
        output_key: where the vector goes instead, if given.
    """

    def __init__(self, key: str = "clinical", output_key: str | None = None) -> None:
        super().__init__(key)
        self.key = key
        self.output_key = output_key or key
        self.transform = ClinicalVector()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Adds the vector; an item without the key has nothing known."""
        result = dict(data)
        owner = str(result.get("case", "case"))
        result[self.output_key] = self.transform(result.get(self.key) or {}, owner)
        return result
