"""The nodule network: a backbone over one or several views, measured features beside it, a head for the classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from monai_staging.errors import UsageError
from monai_staging.networks.backbones import build_backbone
from monai_staging.networks.boosted_trees import BoostedTrees
from monai_staging.networks.kernel_logistic import KernelLogistic
from monai_staging.networks.quantiles import QuantileScale

BRANCHES = ("shared", "own")


class NoduleOutput(NamedTuple):
    """What the network says of a batch of B nodules.

    Attributes:
        logits: (B, K): one log-odds for ``binary``, one per finding for ``multi-label``, unnormalised log-probabilities
            for ``multi-class``.
        attributes: (B, A) readers' other ratings, standardised; A may be 0.
    """

    logits: Tensor
    attributes: Tensor


class NoduleNetwork(nn.Module):
    """Classifies a nodule from its views and, if asked to, from what was measured of it.

    The views' features are averaged over positions and over views. Measured features pass through
    :class:`~monai_staging.networks.quantiles.QuantileScale`, which has to be fitted to the training part, and a layer
    of their own. The readers' other ratings may be learned beside the class: they say what to look at, and are not
    needed for a prediction.

    Args:
        network: a name of :data:`monai_staging.networks.backbones.NETWORKS`.
        outputs: logits.
        in_channels: channels of a view.
        views: pictures of a nodule.
        branches: ``shared``, one backbone sees every view; ``own``, one backbone a view.
        spatial_dims: of a view.
        width: factor on the backbone's channels.
        features: measured features; 0 for none.
        attributes: readers' other ratings learned beside; 0 for none.
        trees: of boosted trees on the measured features, see
            :class:`~monai_staging.networks.boosted_trees.BoostedTrees`; 0 for none. They are fitted by `fit_features`,
            and in evaluation mode the log-odds are the mean of theirs and the network's own.
        landmarks: of a kernel logistic regression on the measured features, likewise, see
            :class:`~monai_staging.networks.kernel_logistic.KernelLogistic`; 0 for none.
        hidden: units of the measured features' layer.
        dropout: before the head.
        weights: where the backbone starts, see :func:`monai_staging.networks.backbones.build_backbone`.

    Shape:
        views ``(B, V, C, *spatial)``, of one view also ``(B, C, *spatial)``, features (B, F) in their own units, NaN
        where one is missing.

    Raises:
        UsageError: a setting out of range.
    """

    def __init__(
        self,
        network: str = "resnet18",
        outputs: int = 1,
        in_channels: int = 2,
        views: int = 1,
        branches: str = "shared",
        spatial_dims: int = 2,
        width: float = 0.5,
        features: int = 0,
        attributes: int = 0,
        trees: int = 0,
        landmarks: int = 0,
        hidden: int = 32,
        dropout: float = 0.3,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        if branches not in BRANCHES:
            raise UsageError(f"NoduleNetwork: branches must be one of {', '.join(BRANCHES)}; found {branches!r}")
        if min(outputs, in_channels, views) < 1 or min(features, attributes, trees, landmarks) < 0:
            raise UsageError(
                "NoduleNetwork: outputs, in_channels and views are at least 1, features, attributes, trees and "
                f"landmarks at least 0; found {outputs}, {in_channels}, {views}, {features}, {attributes}, {trees}, "
                f"{landmarks}"
            )
        if (trees or landmarks) and (not features or outputs != 1):
            raise UsageError(
                "NoduleNetwork: trees and landmarks need measured features and one output; found "
                f"{features} and {outputs}"
            )
        count = views if branches == "own" else 1
        self.views = views
        self.spatial_dims = spatial_dims
        self.backbones = nn.ModuleList(
            build_backbone(network, spatial_dims=spatial_dims, in_channels=in_channels, width=width, weights=weights)
            for _ in range(count)
        )
        channels = int(self.backbones[0].out_channels)  # type: ignore[arg-type]
        self.dropout = nn.Dropout(dropout)
        self.scale = QuantileScale(features) if features else None
        self.measured = nn.Sequential(nn.Linear(features, hidden), nn.GELU(), nn.Dropout(dropout)) if features else None
        self.trees = BoostedTrees(features, trees) if trees else None
        self.kernel = KernelLogistic(features, landmarks) if landmarks else None
        self.outputs = outputs
        self.head = nn.Linear(channels + (hidden if features else 0), outputs + attributes)

    @property
    def backbone(self) -> nn.Module:
        """What is pretrained; the rest starts anew."""
        return self.backbones

    def embed(self, views: Tensor) -> Tensor:
        """(B, channels) what the backbone makes of the views."""
        batch, count = views.shape[:2]
        axes = tuple(range(2, views.dim() - 1))
        if len(self.backbones) == 1:
            maps = self.backbones[0](views.flatten(0, 1))
            return maps.mean(axes).view(batch, count, -1).mean(1)
        pooled = [backbone(views[:, place]).mean(axes) for place, backbone in enumerate(self.backbones)]
        return torch.stack(pooled, dim=1).mean(1)

    def forward(self, views: Tensor, features: Tensor | None = None, details: bool = False) -> Tensor | NoduleOutput:
        """Logits (B, K); with ``details`` the attributes as well."""
        if self.views == 1 and views.dim() == self.spatial_dims + 2:
            views = views[:, None]
        if views.shape[1] != self.views:
            raise UsageError(f"NoduleNetwork: {self.views} views a nodule are needed, found {views.shape[1]}")
        seen = self.dropout(self.embed(views))
        if self.scale is not None and self.measured is not None:
            if features is None:
                raise UsageError("NoduleNetwork: this network needs the measured features, found none")
            seen = torch.cat([seen, self.measured(self.scale(features))], dim=1)
        found = self.head(seen)
        logits = found[:, : self.outputs]
        if not self.training:
            logits = self._with_measured(logits, features)
        output = NoduleOutput(logits, found[:, self.outputs :])
        return output if details else output.logits

    def _with_measured(self, logits: Tensor, features: Tensor | None) -> Tensor:
        """The mean with what rests on the measured features alone.

        Not while training: what that knows already, the network would not learn.
        """
        if features is None or self.scale is None:
            return logits
        found = [logits]
        if self.trees is not None:
            found.append(self.trees(features).to(logits.dtype))
        if self.kernel is not None:
            found.append(self.kernel(self.scale(features)).to(logits.dtype))
        return torch.stack(found).mean(dim=0)

    def fit_features(
        self, features: Tensor | Sequence[Sequence[float]], labels: Tensor | None = None, seed: int = 0
    ) -> None:
        """Fits what measured features pass through to those of the training part.

        Args:
            features: (N, F).
            labels: (N) classes 0 and 1, for trees and landmarks.
            seed: of both.
        """
        values = torch.as_tensor(features, dtype=torch.float32)
        if self.scale is not None:
            self.scale.fit(values)
        if self.trees is None and self.kernel is None:
            return
        if labels is None:
            raise UsageError("NoduleNetwork: trees and landmarks are fitted to labels, found none")
        if self.trees is not None:
            self.trees.fit(values.numpy(), labels.numpy(), seed)
        if self.kernel is not None and self.scale is not None:
            self.kernel.fit(self.scale(values).numpy(), labels.numpy(), seed)
