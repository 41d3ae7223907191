"""State dicts in everybody's files, and our own checkpoint."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from monai_staging.errors import DataError, UsageError
from monai_staging.networks.backbones import build_backbone
from monai_staging.networks.pretrained import load_pretrained, read_checkpoint, read_state_dict, write_checkpoint

FACTS = {"network": "resnet10", "spatial_dims": 2, "in_channels": 3, "width": 0.125, "task": "x", "run_id": None}


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return list(found) == list(expected) and all(torch.equal(found[key], expected[key]) for key in expected)


def test_our_checkpoint_comes_back_with_what_it_says_of_itself(tmp_path: Path) -> None:
    backbone = build_backbone("resnet10", width=0.125).to(memory_format=torch.channels_last)
    write_checkpoint(tmp_path / "a" / "backbone.pt", backbone, FACTS)
    checkpoint = read_checkpoint(tmp_path / "a" / "backbone.pt")
    assert checkpoint.source == FACTS
    assert same(dict(checkpoint.state), dict(backbone.state_dict()))
    assert set(torch.load(tmp_path / "a" / "backbone.pt", weights_only=True)) == {"state_dict", "source"}
    report = load_pretrained(build_backbone("resnet10", width=0.125), tmp_path / "a" / "backbone.pt")
    assert report.source.facts == FACTS and report.source.run_id is None
    assert "network resnet10, spatial_dims 2" in report.text()


def test_the_same_checkpoint_is_the_same_bytes(tmp_path: Path) -> None:
    backbone = build_backbone("resnet10", width=0.125)
    for name in ("a.pt", "b.pt"):
        write_checkpoint(tmp_path / name, backbone, FACTS)
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()


def test_the_run_that_trained_a_checkpoint_is_reported(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a.pt", build_backbone("resnet10", width=0.125), {"run_id": "abc123"})
    report = load_pretrained(build_backbone("resnet10", width=0.125), tmp_path / "a.pt")
    assert report.source.run_id == "abc123"
    assert "run abc123" in report.text()


def test_what_wraps_a_network_is_not_in_its_checkpoint(tmp_path: Path) -> None:
    backbone = build_backbone("resnet10", width=0.125)
    wrapped = nn.ModuleDict({"module": nn.ModuleDict({"_orig_mod": backbone})})
    write_checkpoint(tmp_path / "a.pt", wrapped, {})
    assert same(read_state_dict(tmp_path / "a.pt"), dict(backbone.state_dict()))


def test_a_source_that_would_not_load_safely_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="strings, numbers and None only, others: path"):
        write_checkpoint(tmp_path / "a.pt", nn.Linear(1, 1), {"path": tmp_path, "task": "x"})  # type: ignore[dict-item]
    assert not (tmp_path / "a.pt").exists()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {"state_dict": s, "epoch": 3},
        lambda s: {"model": s},
        lambda s: {"network": s, "optimizer": {"lr": 1}},
        lambda s: {"net": s},
        lambda s: {"trunk_state_dict": s, "head_state_dict": {}},
        lambda s: {"state_dict": {"model": s}},
    ],
)
@pytest.mark.parametrize(
    "prefix", ["", "module.", "backbone.", "net.backbone.", "_orig_mod.", "module._orig_mod.model."]
)
def test_wrapped_and_prefixed_state_dicts_load(wrap: Any, prefix: str, tmp_path: Path) -> None:
    source = build_backbone("alexnet", width=0.125)
    torch.save(wrap({f"{prefix}{key}": value for key, value in source.state_dict().items()}), tmp_path / "w.pt")
    backbone = build_backbone("alexnet", width=0.125)
    report = load_pretrained(backbone, tmp_path / "w.pt")
    assert report.share == report.used == 1.0 and not report.left_out
    assert same(dict(backbone.state_dict()), dict(source.state_dict()))


def test_of_a_whole_network_the_backbone_is_taken(tmp_path: Path) -> None:
    source = build_backbone("alexnet", width=0.125)
    state = {f"backbone.{key}": value for key, value in source.state_dict().items()}
    torch.save(state | {"neck.weight": torch.ones(99_999), "heads.t.0.bias": torch.ones(3)}, tmp_path / "w.pt")
    report = load_pretrained(build_backbone("alexnet", width=0.125), tmp_path / "w.pt")
    assert report.share == report.used == 1.0
    assert report.left_out == ("neck.weight", "heads.t.0.bias")


def test_a_prefix_stays_where_names_match_with_it(tmp_path: Path) -> None:
    network = nn.ModuleDict({"model": nn.Conv2d(1, 2, 3)})
    network.network = "conv"  # type: ignore[assignment]
    torch.save({"model.weight": torch.ones(2, 1, 3, 3), "model.bias": torch.ones(2)}, tmp_path / "w.pt")
    report = load_pretrained(network, tmp_path / "w.pt")  # type: ignore[arg-type]
    assert report.matched == ("model.weight", "model.bias")


def test_an_exported_program_is_read_without_running_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # In channels-last memory and with a shared and an empty tensor, so that strides and sizes matter.
    source = build_backbone("resnet10", width=0.125, in_channels=1).to(memory_format=torch.channels_last)
    source.register_buffer("nothing", torch.zeros(0, 3))
    source.register_parameter("again", source.bn1.weight)  # type: ignore[arg-type, union-attr]
    torch.export.save(torch.export.export(source.eval(), (torch.rand(1, 1, 32, 32),)), tmp_path / "model.pt2")
    monkeypatch.setattr(torch.export, "load", None)
    found = read_state_dict(tmp_path / "model.pt2")
    expected = source.state_dict()
    assert {key for key, value in expected.items() if value.numel()} <= set(found)
    assert all(torch.equal(found[key], expected[key]) for key in found)


def archive(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def saved(value: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


def test_pickled_weights_in_an_exported_program_are_read_as_tensors_only(tmp_path: Path) -> None:
    entry = {"path_name": "weight_0", "use_pickle": True, "tensor_meta": None}
    index = {"m/data/weights/model_weights_config.json": json.dumps({"config": {"a": entry}}).encode()}
    good = archive(tmp_path / "good.pt2", **index, **{"m/data/weights/weight_0": saved(nn.Parameter(torch.ones(2)))})
    assert torch.equal(read_state_dict(good)["a"], torch.ones(2))
    bad = archive(tmp_path / "bad.pt2", **index, **{"m/data/weights/weight_0": saved(nn.Linear(1, 1))})
    with pytest.raises(DataError, match="not readable as a state dict"):
        read_state_dict(bad)


def test_older_exported_programs_are_read(tmp_path: Path) -> None:
    for name in ("serialized_state_dict.pt", "m/data/weights/model.pt"):
        file = archive(tmp_path / "old.pt2", **{name: saved({"a": torch.ones(2)})})
        assert torch.equal(read_state_dict(file)["a"], torch.ones(2))


def test_exported_programs_of_no_known_layout_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="one set of weights is needed, found 0"):
        read_state_dict(archive(tmp_path / "a.pt2", other=b""))
    meta = {"dtype": 29, "sizes": [{"as_int": 1}], "strides": [{"as_int": 1}], "storage_offset": {"as_int": 0}}
    entry = {"path_name": "w", "use_pickle": False, "tensor_meta": meta}
    index = json.dumps({"config": {"a": entry}}).encode()
    members = {"m/data/weights/model_weights_config.json": index, "m/data/weights/w": b"\0"}
    with pytest.raises(DataError, match="element type 29 is not known"):
        read_state_dict(archive(tmp_path / "b.pt2", **members))


def test_safetensors_are_read_and_damaged_ones_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.arange(3.0)}, tmp_path / "a.safetensors")
    assert torch.equal(read_state_dict(tmp_path / "a.safetensors")["a"], torch.arange(3.0))
    (tmp_path / "b.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes()[:-3])
    with pytest.raises(DataError, match="not readable as a state dict"):
        read_state_dict(tmp_path / "b.safetensors")
    with pytest.raises(DataError, match="a local file is needed, none is there"):
        read_state_dict(tmp_path / "c.safetensors")
