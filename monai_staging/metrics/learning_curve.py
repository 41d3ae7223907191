"""How soon a training run got as far as another one did: epochs and seconds to reach a target."""

from __future__ import annotations

from collections.abc import Sequence

from monai_staging.errors import UsageError


def epochs_to_reach(curve: Sequence[float], target: float, *, higher_is_better: bool = True) -> int | None:
    """The first epoch whose value reaches the target; None where none does.

    Args:
        curve: (epochs) validation score after each epoch, the first epoch first; NaN reaches nothing.
        target: for example the other arm's best value.
        higher_is_better: whether a score reaches the target from below, or a loss from above.

    Returns:
        The number of the epoch, counted from 1: as many epochs as it took.
    """
    for epoch, value in enumerate(curve, start=1):
        if value >= target if higher_is_better else value <= target:
            return epoch
    return None


def seconds_to_reach(
    curve: Sequence[float], seconds: Sequence[float], target: float, *, higher_is_better: bool = True
) -> float | None:
    """The training time after which the target was reached; None where it never was.

    Args:
        curve: (epochs) validation score after each epoch; see :func:`epochs_to_reach`.
        seconds: (epochs) since training began, at the end of each epoch.
        target: the value to reach.
        higher_is_better: as there.

    Raises:
        UsageError: curve and seconds differ in length, or seconds go backwards: durations of epochs, not times since
            the beginning.
    """
    if len(curve) != len(seconds):
        raise UsageError(f"A learning curve has one time an epoch, got {len(seconds)} times for {len(curve)} epochs.")
    backwards = [epoch for epoch in range(1, len(seconds)) if seconds[epoch] < seconds[epoch - 1]]
    if backwards:
        epoch = backwards[0]
        raise UsageError(
            f"Seconds count from the beginning of training, got {seconds[epoch]} in epoch {epoch + 1} "
            f"after {seconds[epoch - 1]}."
        )
    epochs = epochs_to_reach(curve, target, higher_is_better=higher_is_better)
    return None if epochs is None else float(seconds[epochs - 1])
