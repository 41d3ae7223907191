"""Regimes of fine-tuning in trainings as MONAI runs them: what moves, what does not by a bit, and how fast."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import monai
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ignite.distributed.comp_models.base import _SerialModel
from ignite.engine import Events
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import LrScheduleHandler, ValidationHandler
from monai.optimizers import WarmupCosineSchedule
from torch import Tensor, nn

from monai_staging.errors import UsageError
from monai_staging.networks.backbones import NETWORKS, ConvBackbone, build_backbone
from monai_staging.networks.nodule import NoduleNetwork
from monai_staging.networks.staging import StagingNetwork
from monai_staging.workflows.checkpoint import TrainingCheckpoint
from monai_staging.workflows.determinism import EpochSeeder
from monai_staging.workflows.fine_tuning import (
    REGIMES,
    FrozenStages,
    GradualUnfreezing,
    fine_tuning_handlers,
    parameter_groups,
)
from monai_staging.workflows.fine_tuning_stages import stages
from monai_staging.workflows.gradients import GradientNorm

RESNET = ("stem", "layer1", "layer2", "layer3", "layer4")
CLASSES = {"t": ["T1", "T2"], "n": ["N0", "N1"], "m": ["M0", "M1"]}


class Classifier(nn.Module):
    """A backbone with batch norm, and a head with batch norm too, whose statistics have to go on."""

    def __init__(self, network: str = "resnet10") -> None:
        super().__init__()
        self.backbone = build_backbone(network, in_channels=1, width=0.125)
        self.norm = nn.BatchNorm1d(self.backbone.out_channels)
        self.head = nn.Linear(self.backbone.out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        score: Tensor = self.head(self.norm(self.backbone(x).mean((2, 3))))
        return score


class Training:
    """A training of a few small steps in a regime; notes the network's state before it and after each epoch."""

    def __init__(
        self,
        regime: str,
        network: str = "resnet10",
        epochs: int = 3,
        decay: float = 1.0,
        weight_decay: float = 0.1,
        accumulation_steps: int = 1,
        folder: Path | None = None,
        resume: bool = False,
        compiled: bool = False,
        total_epochs: int | None = None,
        **handlers: Any,
    ) -> None:
        torch.manual_seed(0)
        self.network = Classifier(network)
        generator = torch.Generator().manual_seed(1)
        items = [
            {"image": torch.randn(1, 32, 32, generator=generator), "label": torch.randn(1, generator=generator)}
            for _ in range(8)
        ]
        loader = DataLoader(Dataset(items), batch_size=2, shuffle=True)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.network, regime, 0.01, 0.005, decay), lr=1.0, weight_decay=weight_decay
        )
        steps = len(loader) * (total_epochs or epochs)
        schedule = WarmupCosineSchedule(self.optimizer, warmup_steps=2, t_total=steps)
        evaluator = SupervisedEvaluator(device="cpu", val_data_loader=loader, network=self.network)
        self.rates: list[list[float]] = []
        self.states = [self.state()]
        trainer = SupervisedTrainer(
            device="cpu",
            max_epochs=epochs,
            train_data_loader=loader,
            network=torch.compile(self.network, backend="eager") if compiled else self.network,  # type: ignore[arg-type]
            optimizer=self.optimizer,
            loss_function=nn.MSELoss(),
            accumulation_steps=accumulation_steps,
            train_handlers=[
                # As in bundles: a validation in between puts the network into evaluation mode and back.
                ValidationHandler(interval=1, validator=evaluator),
                EpochSeeder(0),
                LrScheduleHandler(schedule, print_lr=False, epoch_level=False),
                GradientNorm(self.network, 5.0),
                *fine_tuning_handlers(self.network, regime, **handlers),
            ],
        )
        if folder is not None:
            TrainingCheckpoint(folder, self.network, self.optimizer, schedule, resume=resume).attach(trainer)
        trainer.add_event_handler(Events.ITERATION_STARTED, self._note_rates)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: self.states.append(self.state()))
        self.trainer = trainer

    def _note_rates(self, engine: Any) -> None:
        self.rates.append([group["lr"] for group in engine.optimizer.param_groups])

    def state(self) -> dict[str, Tensor]:
        """Parameters and buffers."""
        return {name: value.clone() for name, value in self.network.state_dict().items()}

    def run(self) -> Training:
        self.trainer.run()
        return self

    def moved(self, epoch: int) -> set[str]:
        """Stages of the backbone, and ``head``, of which anything changed in an epoch, by a bit."""
        before, after = self.states[epoch - 1], self.states[epoch]
        return {part(name) for name in before if not torch.equal(before[name], after[name])}


def part(name: str) -> str:
    if not name.startswith("backbone."):
        return "head"
    _, layer, *_ = name.split(".")
    return layer if layer.startswith("layer") else "stem"


def everything_moved(training: Training, names: set[str], epoch: int) -> bool:
    """Whether every parameter and every batch norm's statistics of these stages changed in an epoch."""
    before, after = training.states[epoch - 1], training.states[epoch]
    return all(not torch.equal(before[name], after[name]) for name in before if part(name) in names)


# -- stages --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("network", NETWORKS)
def test_everything_in_a_backbone_is_in_one_stage(network: str, spatial_dims: int) -> None:
    with torch.device("meta"):
        backbone = build_backbone(network, spatial_dims=spatial_dims, width=0.125)
    found = stages(backbone)
    owned = Counter(id(parameter) for stage in found for parameter in stage.parameters())
    assert owned == Counter(id(parameter) for parameter in backbone.parameters())
    held = [id(buffer) for stage in found for module in stage.modules for buffer in module.buffers()]
    assert Counter(held) == Counter(id(buffer) for buffer in backbone.buffers())
    assert all(any(True for _ in stage.parameters()) for stage in found)


@pytest.mark.parametrize("network", ["alexnet", "vgg11", "vgg13_bn", "resnet10", "resnet50", "segresnet"])
def test_stages_go_from_the_input_to_the_output(network: str) -> None:
    backbone = build_backbone(network, in_channels=1, width=0.125).eval()
    found = stages(backbone)
    order: list[int] = []
    for index, stage in enumerate(found):
        for module in nn.ModuleList(stage.modules).modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_pre_hook(lambda *_, index=index: order.append(index))
    backbone.pyramid(torch.zeros(1, 1, 64, 64))
    assert order == sorted(order) and set(order) == set(range(len(found)))


def test_stages_have_the_names_of_the_field() -> None:
    expected = {
        "alexnet": ["stage1", "stage2", "stage3"],
        "vgg16": ["stage1", "stage2", "stage3", "stage4", "stage5"],
        "resnet18": list(RESNET),
        "segresnet": ["stem", "level1", "level2", "level3", "level4", "level5"],
    }
    for network, names in expected.items():
        assert [name for name, _ in stages(build_backbone(network, width=0.125))] == names


def test_convolutions_after_the_last_pooling_are_a_stage() -> None:
    features = nn.Sequential(nn.Conv2d(1, 8, 3), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.ReLU())
    found = stages(ConvBackbone(features, out_channels=8, min_size=8))
    assert [(stage.name, len(stage.modules)) for stage in found] == [("stage1", 2), ("stage2", 2)]


def test_backbones_side_by_side_share_their_stages() -> None:
    network = NoduleNetwork("resnet10", views=3, branches="own", width=0.125)
    found = stages(network.backbone)
    assert [stage.name for stage in found] == list(RESNET)
    assert {id(p) for p in found[-1].parameters()} == {
        id(p)
        for backbone in network.backbones
        for p in backbone.layer4.parameters()  # type: ignore[union-attr]
    }


def test_backbones_without_known_stages_are_refused() -> None:
    with pytest.raises(UsageError, match="found Linear"):
        stages(nn.Linear(1, 1))
    with pytest.raises(UsageError, match="none at all"):
        stages(nn.ModuleList())
    pair = nn.ModuleList([build_backbone("resnet10", width=0.125), build_backbone("alexnet", width=0.125)])
    with pytest.raises(UsageError, match="ConvBackbone.*ResNetBackbone"):
        stages(pair)
    grown = build_backbone("resnet10", width=0.125)
    grown.adapter = nn.Linear(2, 2)
    with pytest.raises(UsageError, match="ResNetBackbone has 2 .*adapter.weight"):
        stages(grown)


# -- parameter groups ----------------------------------------------------------------------------------------------


def test_full_gives_the_groups_of_monai() -> None:
    network = StagingNetwork("resnet10", CLASSES, width=0.125)
    expected = monai.optimizers.generate_param_groups(network, [lambda net: net.backbone], ["select"], [0.0015])
    groups = parameter_groups(network, "full", 0.002, 0.0015)
    for group, theirs in zip(groups, expected, strict=True):
        assert [id(p) for p in group["params"]] == [id(p) for p in theirs["params"]]
    assert [(group["name"], group["lr"]) for group in groups] == [("backbone", 0.0015), ("head", 0.002)]
    assert all("weight_decay" not in group for group in groups)


@settings(max_examples=30, deadline=None)
@given(
    regime=st.sampled_from(REGIMES),
    rate=st.floats(1e-6, 1.0),
    backbone_rate=st.none() | st.floats(1e-6, 1.0),
    decay=st.floats(0.1, 0.99),
    split=st.booleans(),
    weight_decay=st.none() | st.floats(0, 1),
)
def test_every_parameter_has_one_group_and_its_rate(
    regime: str, rate: float, backbone_rate: float | None, decay: float, split: bool, weight_decay: float | None
) -> None:
    with torch.device("meta"):
        network = Classifier()
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    normalising = {id(parameter) for norm in norms for parameter in norm.parameters()}
    decays = regime in ("discriminative", "gradual")
    groups = parameter_groups(network, regime, rate, backbone_rate, decay if decays else 1.0, weight_decay, not split)
    of = {id(parameter): group for group in groups for parameter in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(of) == len(list(network.parameters()))
    last = rate if backbone_rate is None else backbone_rate
    for name, parameter in network.named_parameters():
        group, where = of[id(parameter)], part(name)
        if where == "head":
            assert group["lr"] == rate
        else:
            behind = len(RESNET) - 1 - RESNET.index(where) if decays else 0
            assert group["lr"] == pytest.approx(last * decay**behind, rel=1e-12)
        assert parameter.requires_grad == (where == "head" or regime in ("full", "discriminative"))
        if split and (name.endswith("bias") or id(parameter) in normalising):
            assert group["weight_decay"] == 0
        else:
            assert group.get("weight_decay") == weight_decay
    torch.optim.AdamW(groups)


def test_a_network_that_is_all_backbone_has_no_group_for_a_head() -> None:
    network = nn.Module()
    network.backbone = build_backbone("alexnet", width=0.125)
    assert [group["name"] for group in parameter_groups(network, "full", 0.1)] == ["backbone"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("probe", 0.1), "one of full, linear, discriminative, gradual; found 'probe'"),
        (("full", 0.0), "positive, found 0.0"),
        (("full", 0.1, -1.0), "positive, found 0.1 and -1.0"),
        (("full", 0.1, None, 0.5), "no effect in the regime 'full', found 0.5"),
        (("linear", 0.1, None, 0.5), "no effect in the regime 'linear'"),
        (("discriminative", 0.1), "needs a decay below 1"),
        (("gradual", 0.1, None, 0.0), "above 0 and at most 1, found 0.0"),
        (("gradual", 0.1, None, 1.5), "above 0 and at most 1, found 1.5"),
        (("full", 0.1, None, 1.0, -0.1), "weight_decay must be at least 0, found -0.1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parameter_groups(Classifier(), *arguments)


def test_a_network_needs_a_backbone_that_fits_the_regime() -> None:
    plain = nn.Linear(1, 1)
    for refused in (lambda: parameter_groups(plain, "full", 0.1), lambda: FrozenStages(plain)):
        with pytest.raises(UsageError, match="Linear has none"):
            refused()
    # One rate for all of a backbone, or none at all, needs no stages.
    network = nn.Sequential()
    network.backbone = nn.Linear(1, 1)
    for regime in ("full", "linear"):
        assert len(parameter_groups(network, regime, 0.1)) == 1
    with pytest.raises(UsageError, match="found Linear"):
        parameter_groups(network, "discriminative", 0.1, decay=0.5)


# -- trainings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("regime", "decay"), [("full", 1.0), ("discriminative", 0.5)])
def test_where_nothing_is_frozen_everything_moves(regime: str, decay: float) -> None:
    training = Training(regime, decay=decay).run()
    for epoch in (1, 2, 3):
        assert everything_moved(training, {*RESNET, "head"}, epoch)


@pytest.mark.parametrize("accumulation_steps", [1, 3])
def test_linear_moves_the_head_alone(accumulation_steps: int) -> None:
    training = Training("linear", accumulation_steps=accumulation_steps).run()
    for epoch in (1, 2, 3):
        assert training.moved(epoch) == {"head"} and everything_moved(training, {"head"}, epoch)
    # Nothing of the frozen is in the optimizer's state, and nothing hangs on the network when all is done.
    assert len(training.optimizer.state) == len(
        [*training.network.norm.parameters(), *training.network.head.parameters()]
    )
    assert not training.network._forward_pre_hooks


def test_without_the_handler_a_frozen_batch_norm_would_move() -> None:
    """What the handler is for; if this fails, MONAI's trainer no longer needs it."""
    network = Classifier()
    parameter_groups(network, "linear", 0.1)
    before = network.backbone.bn1.running_mean.clone()
    network.train()(torch.randn(2, 1, 32, 32))
    assert not torch.equal(network.backbone.bn1.running_mean, before)


@pytest.mark.parametrize("accumulation_steps", [1, 3])
@pytest.mark.parametrize("decay", [1.0, 0.5])
def test_gradual_thaws_from_the_output_to_the_input(decay: float, accumulation_steps: int) -> None:
    training = Training("gradual", epochs=7, decay=decay, accumulation_steps=accumulation_steps).run()
    for epoch in range(1, 8):
        learning = {"head", *RESNET[max(0, len(RESNET) + 1 - epoch) :]}
        assert training.moved(epoch) == learning and everything_moved(training, learning, epoch)


@pytest.mark.parametrize(
    ("options", "thawed"),
    [
        ({"epochs_per_stage": 2, "head_epochs": 2}, [0, 0, 1, 1, 2]),
        ({"epochs_per_stage": 0, "head_epochs": 3}, [0, 0, 0, 5, 5]),
        ({"epochs_per_stage": 3, "head_epochs": 0}, [1, 1, 1, 2, 2]),
        ({"schedule": [2, 4, 4]}, [0, 1, 1, 3, 3]),
        ({"schedule": [1, 1]}, [2, 2, 2, 2, 2]),
        ({"schedule": []}, [0, 0, 0, 0, 0]),
    ],
)
def test_what_is_thawed_follows_from_the_epoch(options: dict[str, Any], thawed: list[int]) -> None:
    training = Training("gradual", epochs=5, **options).run()
    for epoch, count in enumerate(thawed, start=1):
        assert training.moved(epoch) == {"head", *RESNET[len(RESNET) - count :]}


def test_a_thawed_stage_learns_as_if_it_were_trained_with_the_rest_frozen() -> None:
    """From the same start, an epoch with one stage thawed is the same whether the stage was ever frozen or not."""
    late, early = Training("gradual", epochs=1, schedule=[1]).run(), Training("full", epochs=1)
    for name, parameter in early.network.named_parameters():
        parameter.requires_grad_(part(name) in ("head", "layer4"))
    early.trainer.add_event_handler(Events.STARTED, lambda: FrozenUntil(early.network))
    early.run()
    for name, value in late.states[1].items():
        torch.testing.assert_close(early.states[1][name], value, rtol=0, atol=0, msg=name)


class FrozenUntil:
    """An independent way to keep a batch norm's statistics: its `train` does nothing."""

    def __init__(self, network: Classifier) -> None:
        for name, module in network.backbone.named_modules():
            if isinstance(module, nn.BatchNorm2d) and not name.startswith("layer4"):
                module.eval()
                module.train = lambda mode=True, module=module: module  # type: ignore[method-assign]


def test_rates_keep_their_ratio_through_warm_up_and_cosine() -> None:
    training = Training("gradual", epochs=6, decay=0.5).run()
    expected = [0.005 * 0.5**k for k in (4, 3, 2, 1, 0)] + [0.01]
    assert training.rates[0] == [0.0] * 6
    assert training.rates[2] == pytest.approx(expected)
    for rates in training.rates[1:]:
        assert rates == pytest.approx([rate * rates[-1] / 0.01 for rate in expected])
    assert len({rates[-1] for rates in training.rates}) > 10


@pytest.mark.parametrize("stop", [1, 3, 6])
def test_resume_equals_a_training_that_was_not_interrupted(tmp_path: Path, stop: int) -> None:
    options: dict[str, Any] = {"decay": 0.5, "accumulation_steps": 2, "total_epochs": 7}
    whole = Training("gradual", epochs=7, folder=tmp_path / "whole", **options).run()
    Training("gradual", epochs=stop, folder=tmp_path / "parts", **options).run()
    resumed = Training("gradual", epochs=7, folder=tmp_path / "parts", resume=True, **options).run()
    assert len(resumed.states) == 1 + 7 - stop
    for name, value in whole.states[-1].items():
        assert torch.equal(resumed.states[-1][name], value), name
    assert [p.requires_grad for p in resumed.network.parameters()] == [
        p.requires_grad for p in whole.network.parameters()
    ]
    assert resumed.rates == whole.rates[4 * stop :]


def test_a_trainer_that_runs_again_begins_frozen() -> None:
    training = Training("gradual", epochs=2, epochs_per_stage=0).run()
    assert training.moved(2) == {"head", *RESNET}
    training.trainer.state.epoch = training.trainer.state.iteration = 0
    training.run()
    # Gradients and moments of the first run are there, and move nothing.
    assert training.moved(3) == {"head"} and training.moved(4) == {"head", *RESNET}


def test_a_compiled_network_is_frozen_and_thawed_too() -> None:
    training = Training("gradual", epochs=3, schedule=[2, 3], compiled=True).run()
    for epoch, count in ((1, 0), (2, 1), (3, 2)):
        assert training.moved(epoch) == {"head", *RESNET[len(RESNET) - count :]}


def test_views_with_a_backbone_each_thaw_together() -> None:
    torch.manual_seed(0)
    network = NoduleNetwork("resnet10", in_channels=1, views=2, branches="own", width=0.125)
    items = [{"image": torch.randn(2, 1, 32, 32), "label": torch.randn(1)} for _ in range(4)]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    SupervisedTrainer(
        device="cpu",
        max_epochs=2,
        train_data_loader=DataLoader(Dataset(items), batch_size=2),
        network=network,
        optimizer=torch.optim.AdamW(parameter_groups(network, "gradual", 0.01)),
        loss_function=nn.MSELoss(),
        train_handlers=fine_tuning_handlers(network, "gradual"),
        decollate=False,
    ).run()
    moved = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    learning = {name for name in before if not name.startswith("backbones") or name.split(".")[2] == "layer4"}
    assert moved == learning


def test_a_staging_network_is_probed_through_its_neck_and_heads() -> None:
    torch.manual_seed(0)
    network = StagingNetwork("resnet10", CLASSES, in_channels=1, width=0.125, features=16)
    items = [{"image": torch.rand(1, 32, 32, 4), "label": torch.zeros(1)} for _ in range(2)]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    SupervisedTrainer(
        device="cpu",
        max_epochs=1,
        train_data_loader=DataLoader(Dataset(items)),
        network=network,
        optimizer=torch.optim.AdamW(parameter_groups(network, "linear", 0.01), weight_decay=0.1),
        loss_function=lambda logits, label: logits.square().mean(),
        train_handlers=fine_tuning_handlers(network, "linear"),
        decollate=False,
    ).run()
    moved = {name.split(".")[0] for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert "backbone" not in moved and {"neck", "heads", "lesions"} <= moved


@pytest.mark.parametrize(
    ("options", "groups", "handlers"),
    [
        ({}, ["backbone", "head"], []),
        ({"regime": "linear"}, ["backbone", "head"], [FrozenStages]),
        ({"regime": "discriminative", "layer_decay": 0.5}, [*(f"backbone.{name}" for name in RESNET), "head"], []),
        ({"regime": "gradual"}, [*(f"backbone.{name}" for name in RESNET), "head"], [GradualUnfreezing]),
    ],
    ids=["default", "linear", "discriminative", "gradual"],
)
def test_the_staging_bundle_chooses_by_a_key(
    options: dict[str, Any], groups: list[str], handlers: list[type[FrozenStages]]
) -> None:
    config = ConfigParser()
    config.read_config(Path(__file__).parents[2] / "bundles" / "staging" / "train.json")
    config.update({"device": "cpu", "width": 0.125, "map_gradient": 1.0, **options})
    optimizer = config.get_parsed_content("optimizer")
    assert [group["name"] for group in optimizer.param_groups] == groups
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.02}
    assert (optimizer.param_groups[-2]["lr"], optimizer.param_groups[-1]["lr"]) == (0.0015, 0.002)
    assert [type(handler) for handler in config.get_parsed_content("fine_tuning_handlers")] == handlers


# -- handlers ------------------------------------------------------------------------------------------------------


def test_handlers_by_regime() -> None:
    kinds = {regime: [type(handler) for handler in fine_tuning_handlers(Classifier(), regime)] for regime in REGIMES}
    assert kinds == {"full": [], "linear": [FrozenStages], "discriminative": [], "gradual": [GradualUnfreezing]}
    with pytest.raises(UsageError, match="found 'all'"):
        fine_tuning_handlers(Classifier(), "all")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs_per_stage": -1}, "at least 0, found -1 and 1"),
        ({"head_epochs": -2}, "at least 0, found 1 and -2"),
        ({"schedule": [3, 2]}, r"rising order.*found \[3, 2\]"),
        ({"schedule": [0, 2]}, r"from 1 on.*found \[0, 2\]"),
        ({"schedule": [1] * 6}, "each of the 5 stages .stem, layer1.*found 6"),
    ],
)
def test_schedules_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        GradualUnfreezing(Classifier(), **options)


def test_it_says_what_is_frozen_and_what_will_not_be_thawed(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "monai_staging.workflows"):
        Training("gradual", epochs=3, epochs_per_stage=1, head_epochs=2).run()
    assert (
        "layer3, layer2, layer1, stem will not be thawed in 3 epochs; the schedule's last thaw is in epoch 7"
        in caplog.text
    )
    assert "from epoch 1 on frozen: stem, layer1, layer2, layer3, layer4; learning: head." in caplog.text
    assert "from epoch 3 on frozen: stem, layer1, layer2, layer3; learning: layer4, head." in caplog.text
    assert "from epoch 2" not in caplog.text


@pytest.fixture
def process_group() -> Iterator[None]:
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()
    # Ignite remembers the group it once saw.
    idist.utils._set_model(_SerialModel())


def test_distributed_networks_are_probed_but_not_thawed(process_group: None) -> None:
    for regime in ("linear", "gradual"):
        training = Training(regime, epochs=1)
        training.trainer.network = nn.parallel.DistributedDataParallel(training.network)
        if regime == "linear":
            assert training.run().moved(1) == {"head"}
        else:
            with pytest.raises(UsageError, match="would not average"):
                training.run()
