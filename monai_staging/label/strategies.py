"""Which study comes next: each strategy answers with one that has no final label, and with its reason."""

from __future__ import annotations

import random
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from monai_staging.errors import DataError
from monai_staging.label.coverage import distance_to_nearest, next_center
from monai_staging.label.datastore import StudyDatastore
from monai_staging.label.looks import Look
from monai_staging.label.pieces import Pieces
from monai_staging.label.upstream import Strategy

HANDED_OUT_S = 3600
"""A study that somebody was given within this time comes last: two annotators are not given the same one."""
BUDGET_S = 20.0
"""A request looks at new studies no longer than this; the next request goes on."""


class NextStudy(Strategy):
    """A way to choose among the studies that wait for a label: without a final one, and not just handed out.

    Args:
        pieces: networks and studies, shared by all.
    """

    description_: str

    def __init__(self, pieces: Pieces) -> None:
        super().__init__(self.description_)
        self.pieces = pieces

    def __call__(self, request: Mapping[str, Any], datastore: StudyDatastore) -> dict[str, Any] | None:
        """The study, as ``id``, and why, as ``reason``; ``None`` when every study has a final label."""
        waiting = datastore.get_unlabeled_images()
        if not waiting:
            return None
        fresh = [name for name in waiting if not _handed_out(datastore.get_image_info(name))]
        return self.choose(fresh or waiting, datastore)

    @abstractmethod
    def choose(self, waiting: Sequence[str], datastore: StudyDatastore) -> dict[str, Any]:
        """One of them, which are one at least."""


class Random(NextStudy):
    """Any.

    Attributes:
        draw: where chance comes from; one with a seed makes it repeatable.
    """

    draw: random.Random = random.SystemRandom()
    description_ = "One at random: the baseline, and the only choice whose labels are a fair sample"

    def choose(self, waiting: Sequence[str], datastore: StudyDatastore) -> dict[str, Any]:
        """One of them, each as likely."""
        reason = f"drawn at random from {_studies(len(waiting))} that wait for a label"
        return {"id": self.draw.choice(waiting), "reason": reason}


class Looking(NextStudy):
    """A strategy that goes by what the staging network sees."""

    def looks(self, names: Sequence[str], datastore: StudyDatastore) -> dict[str, Look]:
        """What is known of the studies, after looking at some more; a study that cannot be read is left out.

        Raises:
            DataError: none of them can be read.
        """
        looker, refused = self.pieces.looker, ""
        found: dict[str, Look] = {}
        start = time.monotonic()
        for name in names:
            path = datastore.at_hand(name)
            look = None if path is None else looker.known(name, path)
            if look is None and (time.monotonic() - start < BUDGET_S or not found):
                try:
                    path = datastore.source(name)
                    look = looker.look(name, path, self.pieces.open(path).study)
                except (DataError, OSError) as error:
                    refused = f"{name}: {error}"
            if look is not None:
                found[name] = look
        if not found:
            raise DataError(f"None of {_studies(len(names))} can be looked at; the last: {refused}")
        return found


class Epistemic(Looking):
    """The one that the network is least sure of for want of labels."""

    description_ = "The one on whose T, N and M the network's passes with dropout disagree most"

    def choose(self, waiting: Sequence[str], datastore: StudyDatastore) -> dict[str, Any]:
        """The one of the highest mutual information."""
        with self.pieces.lock:
            found = self.looks(waiting, datastore)
        name = max(sorted(found), key=lambda own: found[own].score)
        by_letter = ", ".join(f"{letter.upper()} {own:.3f}" for letter, own in found[name].disagreement.items())
        reason = (
            f"the highest mutual information of T, N and M with the network's weights, {found[name].score:.3f} nats "
            f"({by_letter}), of {_looked_at(found, waiting)}"
        )
        return {"id": name, "reason": reason, "mutual_information": found[name].score}


class Diversity(Looking):
    """The one least like those that are labelled."""

    description_ = "The one least like any labelled study, in the staging network's features (greedy k-centre)"

    def choose(self, waiting: Sequence[str], datastore: StudyDatastore) -> dict[str, Any]:
        """The one farthest from its nearest labelled study; without any label, the most typical one."""
        labelled = datastore.get_labeled_images()
        with self.pieces.lock:
            found = self.looks(waiting, datastore)
            covered = list(self.looks(labelled, datastore).values()) if labelled else []
        names = sorted(found)
        points = np.stack([found[name].features for name in names])
        centers = np.array([look.features for look in covered]).reshape(-1, points.shape[1])
        place = next_center(points, centers)
        among = _looked_at(found, waiting)
        if not covered:
            return {"id": names[place], "reason": f"nothing is labelled yet: the most typical of {among}"}
        away = float(distance_to_nearest(points[place][None], centers)[0])
        reason = (
            f"{away:.2f} from the most similar of {_studies(len(covered))} with a final label, the farthest of {among}"
        )
        return {"id": names[place], "reason": reason, "distance": away}


STRATEGIES: dict[str, type[NextStudy]] = {"random": Random, "epistemic": Epistemic, "diversity": Diversity}
"""By the name that clients ask for."""


def _handed_out(info: Mapping[str, Any]) -> bool:
    times = [own.get("ts", 0) for own in info.get("strategy", {}).values() if isinstance(own, dict)]
    return time.time() - max(times, default=0) < HANDED_OUT_S


def _studies(count: int) -> str:
    return f"{count} {'study' if count == 1 else 'studies'}"


def _looked_at(found: Mapping[str, Look], waiting: Sequence[str]) -> str:
    if len(found) == len(waiting):
        return f"{_studies(len(waiting))} that wait for a label"
    return f"{len(found)} looked at so far of {_studies(len(waiting))} that wait for a label"
