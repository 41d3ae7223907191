"""Each workaround is still needed: stock MONAI Label fails without it. When one of these fails, a workaround can go."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from monai_staging.label.compat import NEVER_CALLED, install, python_path, without_absent_gpus

# One process for all: each attempt imports MONAI Label anew, and torch once.
STOCK = """
import json, os, sys
from monai_staging.label.compat import NEVER_CALLED, python_path, stand_in, without_absent_gpus

found = {}
for missing in NEVER_CALLED:
    for name in [name for name in sys.modules if name.partition(".")[0] in {"monailabel", *NEVER_CALLED}]:
        del sys.modules[name]
    for name, purpose in NEVER_CALLED.items():
        if name != missing:
            stand_in(name, purpose)
    try:
        import monailabel.interfaces.app
        found[missing] = None
    except ImportError as error:
        found[missing] = error.name or str(error)
stand_in(missing, "")

import torch
from monailabel.interfaces.tasks.batch_infer import BatchInferTask

class Store:
    def list_images(self):
        return ["scan"]

def batch(request):
    try:
        return BatchInferTask()(request, Store(), lambda request, store: {"label": request["device"]})
    except ZeroDivisionError:
        return "division by zero"

found["gpus"] = torch.cuda.device_count()
found["batch"] = batch({}), batch(without_absent_gpus({}, torch.cuda.device_count()))

from monailabel.utils.async_tasks.utils import _task_func

os.environ.pop("PYTHONPATH", None)
try:
    _task_func({"request": {}, "id": "1"}, "none")
    found["path"] = None
except KeyError as error:
    found["path"] = error.args[0]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def stock(monailabel: None) -> dict[str, object]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MONAI_LABEL_")}
    done = subprocess.run([sys.executable, "-c", STOCK], capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", NEVER_CALLED)
def test_monai_label_does_not_start_without_a_stand_in(stock: dict[str, object], name: str) -> None:
    assert stock[name] == name


def test_pydicom_still_lacks_what_pydicom_seg_imports() -> None:
    assert importlib.util.find_spec("pydicom._storage_sopclass_uids") is None


def test_a_batch_without_a_gpu_divides_by_zero(stock: dict[str, object]) -> None:
    if stock["gpus"]:
        pytest.skip("this machine has a GPU")
    assert stock["batch"] == ["division by zero", {"scan": {"label": "cpu"}}]


def test_a_batch_needs_the_variable_pythonpath(stock: dict[str, object]) -> None:
    assert stock["path"] == "PYTHONPATH"


def test_requests_keep_the_gpus_that_are_there() -> None:
    assert without_absent_gpus({"model": "tumour"}, 1) == {"model": "tumour"}
    assert without_absent_gpus({"multi_gpu": True}, 0) == {"multi_gpu": False, "device": "cpu"}


def test_pythonpath_keeps_what_it_was() -> None:
    assert python_path(None, "app") == python_path("", "app") == "app"
    assert python_path("before", "app") == f"before{os.pathsep}app"


def test_a_stand_in_says_what_it_stands_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NEVER_CALLED:
        monkeypatch.delitem(sys.modules, name, raising=False)
    install()
    import itk

    with pytest.raises(ImportError, match=r"itk\.imwrite: itk is not installed \(writes the images"):
        itk.imwrite()
    assert not hasattr(itk, "__path__")
    for name in NEVER_CALLED:
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_a_module_that_is_there_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from monai_staging.label.compat import stand_in

    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    stand_in("colorsys", "")
    assert sys.modules["colorsys"].rgb_to_hls(0, 0, 0) == (0, 0, 0)
