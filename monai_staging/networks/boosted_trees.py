"""Gradient-boosted trees as tensors: fitted by scikit-learn, kept in a network's weights, no pickle."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from monai_staging.errors import UsageError

DEPTH = 3
# A binary tree of that depth.
NODES = 2 ** (DEPTH + 1) - 1
# Of scikit-learn's `GradientBoostingClassifier` (Friedman 2001, 2002): slow, stochastic, a few features a split.
SETTINGS = {"learning_rate": 0.04, "max_depth": DEPTH, "subsample": 0.5, "max_features": 0.2, "min_samples_leaf": 8}


class BoostedTrees(nn.Module):
    """Log-odds of the second of two classes from measured features; a mean of several boosted ensembles.

    Args:
        features: how many.
        trees: of an ensemble.
        members: ensembles, with seeds of their own, whose log-odds are averaged.

    Shape:
        (B, features), NaN where one is missing, to (B, 1). Before `fit`, 0.
    """

    feature: Tensor
    threshold: Tensor
    left: Tensor
    right: Tensor
    value: Tensor
    offset: Tensor
    typical: Tensor
    fitted: Tensor

    def __init__(self, features: int, trees: int = 200, members: int = 3) -> None:
        super().__init__()
        if min(features, trees, members) < 1:
            raise UsageError(
                f"BoostedTrees: features, trees and members are at least 1; found {features}, {trees}, {members}"
            )
        self.features, self.trees, self.members = features, trees, members
        shape = (members * trees, NODES)
        # Thresholds stay in double precision: a feature that lies on one must not change sides.
        self.register_buffer("feature", torch.zeros(shape, dtype=torch.int64))
        self.register_buffer("threshold", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("left", torch.zeros(shape, dtype=torch.int64))
        self.register_buffer("right", torch.zeros(shape, dtype=torch.int64))
        self.register_buffer("value", torch.zeros(shape))
        self.register_buffer("offset", torch.zeros(()))
        self.register_buffer("typical", torch.zeros(features))
        self.register_buffer("fitted", torch.zeros(()))

    def fit(self, values: ArrayLike, truth: ArrayLike, seed: int = 0) -> None:
        """Fits to (N, features) values and (N) classes 0 and 1.

        Raises:
            UsageError: shapes that do not go together, or a single class.
        """
        inputs, classes = np.array(values, dtype=np.float32), np.asarray(truth).astype(int)
        if inputs.ndim != 2 or inputs.shape[1] != self.features or len(inputs) != len(classes):
            raise UsageError(
                f"BoostedTrees: values (N, {self.features}) and N classes are needed, found {inputs.shape} and "
                f"{classes.shape}"
            )
        if set(classes.tolist()) != {0, 1}:
            raise UsageError(f"BoostedTrees: both classes must occur, found {sorted(set(classes.tolist()))}")
        typical = np.nan_to_num(np.nanmedian(inputs, axis=0))
        self.typical.copy_(torch.from_numpy(typical))
        inputs = np.where(np.isnan(inputs), typical, inputs)
        offsets = [self._fit_member(member, inputs, classes, seed) for member in range(self.members)]
        self.offset.fill_(float(np.mean(offsets)))
        self.fitted.fill_(1.0)

    def _fit_member(self, member: int, inputs: NDArray[Any], classes: NDArray[Any], seed: int) -> float:
        from sklearn.ensemble import GradientBoostingClassifier

        state = int(np.random.SeedSequence([seed, member]).generate_state(1)[0] >> 1)
        model = GradientBoostingClassifier(n_estimators=self.trees, random_state=state, **SETTINGS)
        model.fit(inputs, classes)
        for place, (one,) in enumerate(model.estimators_):
            tree, row = one.tree_, member * self.trees + place
            count = tree.node_count
            leaf = tree.children_left < 0
            own = np.arange(count)
            columns = {
                "feature": np.where(leaf, 0, tree.feature),
                "threshold": np.where(leaf, 0.0, tree.threshold),
                # A leaf leads to itself, so that every path may take as many steps.
                "left": np.where(leaf, own, tree.children_left),
                "right": np.where(leaf, own, tree.children_right),
                "value": tree.value[:, 0, 0] * model.learning_rate / self.members,
            }
            for name, column in columns.items():
                buffer = getattr(self, name)
                buffer[row].zero_()
                buffer[row, :count] = torch.as_tensor(column).to(buffer.dtype)
        prior = classes.mean()
        return float(np.log(prior / (1 - prior)))

    def forward(self, values: Tensor) -> Tensor:
        """The log-odds."""
        inputs = torch.where(torch.isnan(values), self.typical.to(values.dtype), values).double()
        batch, rows = inputs.shape[0], self.feature.shape[0]
        node = torch.zeros(batch, rows, dtype=torch.int64, device=values.device)
        for _ in range(DEPTH):
            here = node[..., None]
            split = self.feature.expand(batch, -1, -1).gather(2, here)[..., 0]
            bound = self.threshold.expand(batch, -1, -1).gather(2, here)[..., 0]
            left = self.left.expand(batch, -1, -1).gather(2, here)[..., 0]
            right = self.right.expand(batch, -1, -1).gather(2, here)[..., 0]
            node = torch.where(inputs.gather(1, split) <= bound, left, right)
        leaves = self.value.expand(batch, -1, -1).gather(2, node[..., None])[..., 0]
        odds: Tensor = (leaves.sum(dim=1, keepdim=True) + self.offset) * self.fitted
        return odds
