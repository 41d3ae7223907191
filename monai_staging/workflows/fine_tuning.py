"""Regimes of fine-tuning: which parts of a pretrained network learn, how fast, and from which epoch on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from ignite.engine import Engine, Events
from monai.optimizers import generate_param_groups
from torch import nn
from torch.utils.hooks import RemovableHandle

from monai_staging.errors import UsageError
from monai_staging.workflows.fine_tuning_stages import Stage, stages
from monai_staging.workflows.saved_state import bare

logger = logging.getLogger("monai_staging.workflows")

REGIMES = ("full", "linear", "discriminative", "gradual")
"""Names that :func:`parameter_groups` and :func:`fine_tuning_handlers` know."""


def parameter_groups(
    network: nn.Module,
    regime: str,
    learning_rate: float,
    backbone_learning_rate: float | None = None,
    decay: float = 1.0,
    weight_decay: float | None = None,
    decay_norm_and_bias: bool = True,
) -> list[dict[str, Any]]:
    """Parameter groups for an optimizer of torch, by the name of a regime.

    - ``full``: everything learns, the backbone at its own rate.
    - ``linear``: the backbone is frozen, as in a linear probe; whatever else the network has is its head.
    - ``discriminative``: everything learns, the earlier a stage of the backbone the more slowly (Howard and Ruder 2018,
      arXiv:1801.06146, where a layer has the rate of the next one divided by 2.6).
    - ``gradual``: begins like ``linear``; then the stages are thawed one after the other, from the output to the input
      (same source), or all at once (Kumar et al. 2022, arXiv:2202.10054). ``decay`` slows the earlier ones here too.

    ``linear`` and ``gradual`` freeze the backbone here and now. The handlers of :func:`fine_tuning_handlers` are needed
    on the trainer too: they keep a frozen batch norm's statistics as they are, and thaw. The groups hold all
    parameters, frozen ones too, so that a schedule has the same groups from the first step to the last. What is frozen
    has no gradient, and an optimizer leaves it alone, weight decay included.

    Args:
        network: its ``backbone`` is what was pretrained; the rest, its head, starts anew.
        regime: one of :data:`REGIMES`.
        learning_rate: of the head.
        backbone_learning_rate: of the backbone's last stage, the one next to the output; ``learning_rate`` if None.
        decay: factor on the rate from each stage of the backbone to the one before it, above 0 and up to 1.
        weight_decay: of every group; the optimizer's own if None.
        decay_norm_and_bias: whether weight decay also pulls at vectors and scalars, which are the biases and what
            normalisations learn. If not, these have groups of their own.

    Returns:
        Groups from the network's input to its output, each with ``params``, ``lr``, ``name`` and, where it is not the
        optimizer's, ``weight_decay``.

    Raises:
        UsageError: a regime that is not known, a setting out of range or without effect in this regime, a network
            without a backbone, or a backbone without stages where they are needed.
    """
    _check_regime(regime)
    last_rate = learning_rate if backbone_learning_rate is None else backbone_learning_rate
    if not (learning_rate > 0 and last_rate > 0):
        raise UsageError(f"Fine-tuning: learning rates must be positive, found {learning_rate} and {last_rate}")
    if weight_decay is not None and not weight_decay >= 0:
        raise UsageError(f"Fine-tuning: weight_decay must be at least 0, found {weight_decay}")
    if not 0 < decay <= 1:
        raise UsageError(f"Fine-tuning: decay must be above 0 and at most 1, found {decay}")
    if decay < 1 and regime in ("full", "linear"):
        raise UsageError(f"Fine-tuning: decay has no effect in the regime {regime!r}, found {decay}")
    if decay == 1 and regime == "discriminative":
        raise UsageError("Fine-tuning: the regime 'discriminative' needs a decay below 1, found 1; 'full' has one rate")
    network = bare(network)
    backbone = _backbone(network)
    whole = regime in ("full", "linear")
    parts = [Stage("backbone", (backbone,))] if whole else stages(backbone)
    rates = [last_rate * decay**k for k in reversed(range(len(parts)))]
    groups = generate_param_groups(
        network,
        [lambda _, part=part: nn.ModuleList(part.modules) for part in parts],
        ["select"] * len(parts),
        rates,
    )
    names = [part.name if whole else f"backbone.{part.name}" for part in parts]
    named = [
        {"params": list(group["params"]), "lr": rate, "name": name}
        for group, rate, name in zip(groups, [*rates, learning_rate], [*names, "head"], strict=True)
    ]
    if regime in ("linear", "gradual"):
        _freeze(parts)
    return [group for one in named for group in _with_weight_decay(one, weight_decay, decay_norm_and_bias)]


def fine_tuning_handlers(
    network: nn.Module,
    regime: str,
    epochs_per_stage: int = 1,
    head_epochs: int = 1,
    schedule: Sequence[int] | None = None,
) -> list[FrozenStages]:
    """The handlers that a regime needs on the trainer, none for some; so that a bundle chooses by a name.

    Args:
        network: as given to :func:`parameter_groups`.
        regime: one of :data:`REGIMES`.
        epochs_per_stage: see :class:`GradualUnfreezing`, which it is for, as are the others.
        head_epochs: of the head alone.
        schedule: epochs in place of both.

    Raises:
        UsageError: a regime that is not known, or as of :class:`GradualUnfreezing`.
    """
    _check_regime(regime)
    if regime == "linear":
        return [FrozenStages(network)]
    if regime == "gradual":
        return [GradualUnfreezing(network, epochs_per_stage, head_epochs, schedule)]
    return []


class FrozenStages:
    """Keeps a backbone as it is: no gradient, no step, and no batch that changes a batch norm's statistics.

    MONAI's trainer puts the whole network into training mode in every iteration, in which batch norm averages over the
    batches it sees, frozen or not. So what is frozen is put back into evaluation mode before each forward pass.

    Args:
        network: its ``backbone`` is frozen.

    Raises:
        UsageError: a network without a backbone.
    """

    def __init__(self, network: nn.Module) -> None:
        self.stages = self._find(_backbone(bare(network)))
        self._frozen: list[Stage] = []
        self._hook: RemovableHandle | None = None

    def _find(self, backbone: nn.Module) -> list[Stage]:
        return [Stage("backbone", (backbone,))]

    def thawed(self, epoch: int) -> int:
        """How many stages learn in an epoch (from 1), counted from the output; a function of the epoch alone."""
        return 0

    def attach(self, engine: Engine) -> None:
        """Attaches to a MONAI trainer; before or after the checkpoint is the same."""
        engine.add_event_handler(Events.STARTED, self._started)
        engine.add_event_handler(Events.EPOCH_STARTED, self._epoch_started)
        engine.add_event_handler(Events.COMPLETED, self._completed)

    def _started(self, engine: Any) -> None:
        self._completed(engine)
        # On what the trainer calls: around a compiled or distributed network, not inside.
        self._hook = engine.network.register_forward_pre_hook(self._hold)

    def _epoch_started(self, engine: Engine) -> None:
        thawed = self.thawed(engine.state.epoch)
        learning, frozen = self.stages[len(self.stages) - thawed :], self.stages[: len(self.stages) - thawed]
        if len(frozen) != len(self._frozen):
            held = ", ".join(stage.name for stage in frozen) or "nothing"
            others = ", ".join([*(stage.name for stage in learning), "head"])
            logger.info("Fine-tuning: from epoch %d on frozen: %s; learning: %s.", engine.state.epoch, held, others)
        for stage in learning:
            for parameter in stage.parameters():
                parameter.requires_grad_(True)
        _freeze(frozen)
        self._frozen = frozen

    def _hold(self, network: nn.Module, args: Any) -> None:
        for stage in self._frozen:
            for module in stage.modules:
                module.eval()

    def _completed(self, engine: Engine) -> None:
        if self._hook is not None:
            self._hook.remove()
            self._hook = None


class GradualUnfreezing(FrozenStages):
    """Thaws a backbone stage by stage, from the output to the input (Howard and Ruder 2018, arXiv:1801.06146).

    The head learns alone for ``head_epochs``; then the last stage learns too, and every ``epochs_per_stage`` the one
    before it. With ``epochs_per_stage=0`` all stages are thawed at once: a linear probe, then fine-tuning (LP-FT, Kumar
    et al. 2022, arXiv:2202.10054). What is frozen follows from the epoch, so that a training that is resumed goes on as
    if it had not been interrupted.

    A stage learns from the rate that the schedule has by then, without a warm-up of its own. Networks in
    ``DistributedDataParallel`` are refused: it averages only the gradients of what could learn when it was made, and
    what is thawed later would drift apart. ``workflows.distributed.DistributedTraining`` wraps the network anew then.

    Args:
        network: its ``backbone`` has stages, see :func:`monai_staging.workflows.fine_tuning_stages.stages`.
        epochs_per_stage: epochs from one stage's thaw to the next one's.
        head_epochs: epochs of the head alone.
        schedule: in place of both: the first epoch, counted from 1, in which each stage learns, from the output to the
            input. Stages without one stay frozen.

    Raises:
        UsageError: an epoch out of range, a schedule that is not in order or is longer than the backbone has stages, a
            backbone without stages; when the training starts, ``DistributedDataParallel``.
    """

    def __init__(
        self,
        network: nn.Module,
        epochs_per_stage: int = 1,
        head_epochs: int = 1,
        schedule: Sequence[int] | None = None,
    ) -> None:
        super().__init__(network)
        if epochs_per_stage < 0 or head_epochs < 0:
            raise UsageError(
                "GradualUnfreezing: epochs_per_stage and head_epochs must be at least 0, found "
                f"{epochs_per_stage} and {head_epochs}"
            )
        if schedule is None:
            schedule = [head_epochs + 1 + k * epochs_per_stage for k in range(len(self.stages))]
        elif list(schedule) != sorted(schedule) or (schedule and schedule[0] < 1):
            raise UsageError(
                "GradualUnfreezing: a schedule is epochs from 1 on in rising order, from the output's stage to the "
                f"input's; found {list(schedule)}"
            )
        elif len(schedule) > len(self.stages):
            raise UsageError(
                f"GradualUnfreezing: a schedule has at most an epoch for each of the {len(self.stages)} stages "
                f"({', '.join(stage.name for stage in self.stages)}); found {len(schedule)}: {list(schedule)}"
            )
        self.schedule = tuple(int(epoch) for epoch in schedule)

    def _find(self, backbone: nn.Module) -> list[Stage]:
        return stages(backbone)

    def thawed(self, epoch: int) -> int:
        """How many stages learn in an epoch (from 1), counted from the output."""
        return sum(first <= epoch for first in self.schedule)

    def _started(self, engine: Any) -> None:
        if isinstance(getattr(engine.network, "_orig_mod", engine.network), nn.parallel.DistributedDataParallel):
            raise UsageError(
                "GradualUnfreezing: DistributedDataParallel would not average the gradients of what is thawed later; "
                "found it around the network. Leave that to workflows.distributed.DistributedTraining."
            )
        late = [
            stage.name
            for stage, first in zip(reversed(self.stages), self.schedule, strict=False)
            if first > engine.state.max_epochs
        ]
        if late:
            logger.warning(
                "Fine-tuning: %s will not be thawed in %d epochs; the schedule's last thaw is in epoch %d.",
                *(", ".join(late), engine.state.max_epochs, self.schedule[-1]),
            )
        super()._started(engine)


def _check_regime(regime: str) -> None:
    if regime not in REGIMES:
        raise UsageError(f"Fine-tuning: the regime must be one of {', '.join(REGIMES)}; found {regime!r}")


def _backbone(network: nn.Module) -> nn.Module:
    backbone = getattr(network, "backbone", None)
    if not isinstance(backbone, nn.Module):
        raise UsageError(
            f"Fine-tuning: the network needs a backbone, a module by that name; {type(network).__name__} has none"
        )
    return backbone


def _freeze(parts: Sequence[Stage]) -> None:
    for part in parts:
        for parameter in part.parameters():
            parameter.requires_grad_(False)
            # A gradient of zero, which MONAI's trainer leaves behind, is a step to AdamW, which decays the weight.
            parameter.grad = None


def _with_weight_decay(
    group: dict[str, Any], weight_decay: float | None, decay_norm_and_bias: bool
) -> list[dict[str, Any]]:
    """The group, or its weights and its vectors apart; empty ones are left out."""
    settings = {} if weight_decay is None else {"weight_decay": weight_decay}
    parameters = group["params"]
    if decay_norm_and_bias:
        parts = [{**group, **settings}]
    else:
        weights = [parameter for parameter in parameters if parameter.ndim > 1]
        vectors = [parameter for parameter in parameters if parameter.ndim <= 1]
        apart = {"params": vectors, "name": f"{group['name']}, norms and biases", "weight_decay": 0.0}
        parts = [{**group, **settings, "params": weights}, {**group, **apart}]
    return [part for part in parts if part["params"]]
