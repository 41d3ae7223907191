"""Kernel logistic regression as tensors: fitted by scikit-learn, kept in a network's weights, no pickle."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from monai_staging.errors import UsageError

GAMMA = 0.06
"""Of the kernel exp(-gamma |x - y|^2), for features that lie in -1 to 1."""
STRENGTH = 30.0
"""Inverse of the regularisation, scikit-learn's ``C``."""


class KernelLogistic(nn.Module):
    """Log-odds of the second of two classes: smooth in the features where boosted trees are stepped.

    A Gaussian kernel approximated on landmarks drawn from the training values (Williams and Seeger 2001),
    scikit-learn's ``Nystroem``, and logistic regression on it; both folded into one weight a landmark.

    Args:
        features: how many, scaled to -1 to 1 (:class:`~monai_staging.networks.quantiles.QuantileScale`).
        landmarks: at most; of fewer training values each is one.

    Shape:
        (B, features) to (B, 1). Before `fit`, 0.
    """

    landmarks: Tensor
    weights: Tensor
    offset: Tensor

    def __init__(self, features: int, landmarks: int = 300) -> None:
        super().__init__()
        if min(features, landmarks) < 1:
            raise UsageError(f"KernelLogistic: features and landmarks are at least 1; found {features}, {landmarks}")
        # Double: the weights are large and cancel.
        self.register_buffer("landmarks", torch.zeros(landmarks, features, dtype=torch.float64))
        self.register_buffer("weights", torch.zeros(landmarks, dtype=torch.float64))
        self.register_buffer("offset", torch.zeros((), dtype=torch.float64))

    def fit(self, values: ArrayLike, truth: ArrayLike, seed: int = 0) -> None:
        """Fits to (N, features) scaled values and (N) classes 0 and 1.

        Args:
            values: without a missing one.
            truth: of each.
            seed: of the landmarks.

        Raises:
            UsageError: shapes that do not go together, or a single class.
        """
        from sklearn.kernel_approximation import Nystroem
        from sklearn.linear_model import LogisticRegression

        inputs, classes = np.asarray(values, dtype=np.float64), np.asarray(truth).astype(int)
        count, width = self.landmarks.shape
        if inputs.ndim != 2 or inputs.shape[1] != width or len(inputs) != len(classes):
            raise UsageError(
                f"KernelLogistic: values (N, {width}) and N classes are needed, found {inputs.shape} and "
                f"{classes.shape}"
            )
        if set(classes.tolist()) != {0, 1}:
            raise UsageError(f"KernelLogistic: both classes must occur, found {sorted(set(classes.tolist()))}")
        kernel = Nystroem(gamma=GAMMA, n_components=min(count, len(inputs)), random_state=seed)
        seen = kernel.fit_transform(inputs)
        model = LogisticRegression(C=STRENGTH, max_iter=5000).fit(seen, classes)
        used = len(kernel.components_)
        self.landmarks.zero_()
        self.weights.zero_()
        self.landmarks[:used] = torch.from_numpy(kernel.components_)
        self.weights[:used] = torch.from_numpy(kernel.normalization_.T @ model.coef_[0])
        self.offset.fill_(float(model.intercept_[0]))

    def forward(self, values: Tensor) -> Tensor:
        """The log-odds, in double precision."""
        squared = (values.double()[:, None] - self.landmarks).square().sum(dim=2)
        odds: Tensor = (torch.exp(-GAMMA * squared) @ self.weights + self.offset)[:, None]
        return odds
