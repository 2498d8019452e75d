"""Grammar and scaling of the tables, and the blocks in training."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra 'train')")

from gaussian_yolo_node.errors import GaussianYoloError  # noqa: E402
from gaussian_yolo_node.lab.networks.backbones import create_backbone  # noqa: E402
from gaussian_yolo_node.lab.networks.blocks import (  # noqa: E402
    BlockSpec,
    DepthwiseSeparable,
    GroupedPointwise,
    InvertedResidual,
    measure_batch_norms,
    parse_table,
    round_channels,
    stochastic_depth,
)
from gaussian_yolo_node.lab.networks.mdconv import Kernels  # noqa: E402


def test_a_word_with_everything() -> None:
    assert BlockSpec.parse("ir_r3_k3.5-exp_s1_e6_c40_a2_p4_se0.5_silu") == BlockSpec(
        "ir",
        3,
        Kernels((3, 5), "exponential"),
        1,
        6,
        40,
        expand_groups=2,
        project_groups=4,
        se_ratio=0.5,
        activation="silu",
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ir_r2_k3",
        "xx_r1_k3_s1_e1_c16",
        "ir_r1_k3_s1_e1_c16_x",
        "ir_r0_k3_s1_e1_c16",
        "ir_r1_k3_s3_e1_c16",
        "ir_r1_k3-big_s1_e1_c16",
        "ir_r1_k3_s1_e1_c16_silu_se0.5",  # order is fixed
        "ir_r1_k3_s1_e1_c16_se1.5",
        "ds_r1_k3_s1_e6_c16",  # nothing to expand
        "dsa_r1_k3_s1_e1_c16_a2",
        "ir_r1_k3_s1_e1_c16 ir_r1_k3_s1_e1_c16",  # one word
    ],
)
def test_a_malformed_word_is_refused(text: str) -> None:
    with pytest.raises(GaussianYoloError, match=r"do not read|does not read|only an inverted residual"):
        BlockSpec.parse(text)


def test_a_table_scales_to_one_spec_a_block() -> None:
    table = ("ds_r1_k3_s1_e1_c16", "ir_r2_k5_s2_e6_c24 ir_r1_k3_s1_e3_c24", "ir_r1_k3_s2_e6_c320")
    stages = parse_table(table, width=1.4, depth=1.8)
    assert [[(b.stride, b.channels) for b in stage] for stage in stages] == [
        [(1, 24), (1, 24)],
        [(2, 32), (1, 32), (1, 32), (1, 32), (1, 32), (1, 32)],
        [(2, 448), (1, 448)],
    ]
    assert [len(stage) for stage in parse_table(table, depth=1.8, fixed_ends=True)] == [1, 6, 1]


@pytest.mark.parametrize(
    ("channels", "expected"), [(32, 32), (35.2, 32), (39.6, 40), (3, 8), (17.6, 16), (10, 16), (12, 16)]
)
def test_round_channels(channels: float, expected: int) -> None:
    assert round_channels(channels) == expected


def test_unequal_groups_of_a_pointwise_convolution_are_refused() -> None:
    with pytest.raises(GaussianYoloError, match="from 6 to 8 channels has no 4 equal groups"):
        GroupedPointwise(6, 8, 4)


def test_stochastic_depth_drops_whole_samples_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    branch = torch.ones(2000, 2, 3, 3)
    dropped = stochastic_depth(branch, 0.2, training=True)
    per_sample = dropped.flatten(1)
    assert torch.equal(per_sample.amin(1), per_sample.amax(1))
    assert {round(value, 4) for value in per_sample[:, 0].unique().tolist()} == {0.0, 1.25}
    # Standard error 0.5 / sqrt(2000) = 0.011.
    assert abs(float(dropped.mean()) - 1) < 0.05
    assert torch.equal(stochastic_depth(branch, 0.2, training=False), branch)
    assert torch.equal(stochastic_depth(branch, 0.0, training=True), branch)


def test_stochastic_depth_decays_linearly_over_the_blocks() -> None:
    model = create_backbone("efficientnet_b0", stochastic_depth=0.2)
    blocks = [module for module in model.modules() if isinstance(module, DepthwiseSeparable | InvertedResidual)]
    assert [block.skip_rate for block in blocks] == pytest.approx([0.2 * i / 16 for i in range(16)])


def test_dropout_acts_in_training_only() -> None:
    torch.manual_seed(0)
    model = create_backbone("mixnet_s", num_classes=4, dropout=0.5)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    image = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert not torch.equal(model(image), model(image))
        model.eval()
        assert torch.equal(model(image), model(image))


@pytest.mark.parametrize(
    ("name", "rate"), [("efficientnet_b0", 0.2), ("efficientnet_b7", 0.5), ("mixnet_s", 0.2), ("mixnet_l", 0.25)]
)
def test_dropout_is_the_papers(name: str, rate: float) -> None:
    with torch.device("meta"):
        assert create_backbone(name, num_classes=2).dropout == rate


@pytest.mark.parametrize("option", ["dropout", "stochastic_depth"])
@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_impossible_rates_are_refused(option: str, rate: float) -> None:
    with pytest.raises(GaussianYoloError, match=option):
        create_backbone("mixnet_s", **{option: rate})


@pytest.mark.parametrize("name", ["mixnet_s", "efficientnet_b0", "mobilenet_v1"])
def test_gradients_reach_every_parameter(name: str) -> None:
    model = create_backbone(name, num_classes=3, stochastic_depth=0.1)
    model(torch.randn(8, 3, 64, 64)).square().sum().backward()
    assert [key for key, parameter in model.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("training", [False, True])
def test_measured_statistics_are_the_mean_over_the_batches(training: bool) -> None:
    torch.manual_seed(0)
    norm = torch.nn.BatchNorm2d(3, momentum=0.03).train(training)
    norm.running_mean.fill_(9)
    batches = [torch.randint(0, 256, (2, 3, 5, 4), dtype=torch.uint8) for _ in range(3)]
    measure_batch_norms(norm, iter(batches))
    for measured, values in (
        (norm.running_mean, [batch.float().mean((0, 2, 3)) for batch in batches]),
        (norm.running_var, [batch.float().var((0, 2, 3)) for batch in batches]),
    ):
        assert torch.allclose(measured, torch.stack(values).mean(0), rtol=1e-5)
    assert norm.momentum == 0.03 and norm.training == training
    assert norm.weight.eq(1).all() and norm.weight.grad is None
