from __future__ import annotations

from pathlib import Path

import pytest
from darknet_factory import small_cfg

from gaussian_yolo_node.lab.networks.darknet_cfg import Route, Upsample, Yolo, parse_cfg, read_cfg, write_cfg
from gaussian_yolo_node.lab.networks.darknet_sections import CfgError

CFG = small_cfg()


def test_layers_have_the_shapes_of_the_network() -> None:
    cfg = parse_cfg(CFG, "small.cfg")

    assert [layer.shape for layer in cfg.layers] == [
        (8, 16, 24),
        (8, 8, 12),
        (8, 8, 12),
        (8, 8, 12),  # the sum
        (12, 4, 6),
        (16, 2, 3),
        (22, 2, 3),
        (22, 2, 3),  # a head
        (16, 2, 3),
        (16, 4, 6),
        (28, 4, 6),  # joined
        (22, 4, 6),
        (22, 4, 6),
    ]
    assert cfg.input_size == (64, 96)
    assert [(head.stride, head.anchors) for head in cfg.heads] == [
        (32, ((33.0, 23.0), (30.0, 61.0))),
        (16, ((10.0, 13.0), (16.0, 30.0))),
    ]
    route, upsample = cfg.layers[8], cfg.layers[9]
    assert isinstance(route, Route) and route.sources == (5,)  # relative
    assert isinstance(upsample, Upsample) and (upsample.factor, upsample.scale) == (2, 0.5)
    assert isinstance(cfg.layers[10], Route) and cfg.layers[10].sources == (9, 4)  # relative and absolute


def test_another_input_size_scales_the_shapes_and_leaves_the_anchors() -> None:
    cfg, larger = parse_cfg(CFG, "small.cfg"), parse_cfg(CFG, "small.cfg", (128, 32))

    assert larger.input_size == (128, 32)
    assert larger.layers[5].shape == (16, 4, 1)
    assert [head.anchors for head in larger.heads] == [head.anchors for head in cfg.heads]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[net]", "[network]"),
        ("filters=8\n", "filters = 8 \r\n"),  # white space and line ends
        ("[convolutional]", "[conv]"),
        ("[net]\n", "; a comment\n\n[net]\nmomentum=.9\npolicy = steps\nsteps=1,2\n"),  # training only
        ("num=4", "num=4\njitter=.3\nignore_thresh=.5\ntruth_thresh=1\nrandom=1\nmax=200"),
        ("from=-2", "from=1"),
    ],
)
def test_what_means_the_same_builds_the_same(old: str, new: str) -> None:
    def described(text: str) -> list[str]:
        return [repr(layer).split("shape=")[1] for layer in parse_cfg(text, "small.cfg").layers]

    assert old in CFG
    assert described(CFG.replace(old, new)) == described(CFG)


def test_without_a_mask_a_head_has_all_anchors() -> None:
    text = CFG[: CFG.index("[route]")].replace("mask=2,3\n", "").replace("filters=22", "filters=44")

    (head,) = parse_cfg(text, "small.cfg").heads

    assert len(head.anchors) == 4


# Original text, replacement, its line, and the message.
WRONG = [
    ("[shortcut]", "[maxpool]", 29, "unknown section [maxpool]"),
    ("[yolo]", "[Yolo]", 55, "unknown section [Yolo]"),  # names keep their case
    ("size=1\nactivation=logistic", "size=1\nscale_x_y=2\nactivation=logistic", 27, "unknown option scale_x_y"),
    ("filters=12", "filter=12", 35, "unknown option filter of [convolutional]"),
    ("channels=3", "channels=3\nchannels=3", 5, "channels is already given in line 4"),
    ("channels=3", "channels 3", 4, "'channels 3' is neither"),
    ("[net]\n", "batch=1\n[net]\n", 1, "'batch=1' is neither"),
    ("[net]", "[convolutional]", 2, "unknown option width of [convolutional]"),
    ("[net]\nwidth=96\nheight=64\nchannels=3\n", "", 2, "the first section is not [net]"),
    ("[shortcut]\nfrom=-2\nactivation=leaky", "[net]", 29, "appears twice"),
    ("width=96\n", "", 1, "lacks width"),
    ("width=96", "width=100", 2, "width=100 is not a multiple of 32"),
    ("height=64", "height=0", 3, "height=0, which must be at least 1"),
    ("filters=12", "filters=12.5", 35, "'12.5' is not a whole number"),
    ("filters=12", "filters=0", 35, "filters=0, which must be at least 1"),
    ("stride=4", "stride=0", 10, "stride=0, which must be at least 1"),
    ("activation=relu", "activation=mish", 21, "activation=mish, which is not supported"),
    ("groups=2", "groups=3", 20, "groups=3, which does not divide 8 channels"),
    ("size=5\nstride=2\npadding=2", "size=99\nstride=2", 17, "size=99, which is larger than its input of 24x16"),
    ("from=-2", "from=-9", 30, "from -9, but is layer 3 itself"),
    ("from=-2", "from=3", 30, "from 3, but is layer 3 itself"),
    ("from=-2", "from=-2,-3", 30, "adds 2 layers where one is supported"),
    ("from=-2", "from=0", 30, "adds layer 0 of 8 channels of 24x16 to 8 channels of 12x8"),
    ("from=-2\n", "", 29, "lacks from"),
    ("layers=-1, 4", "layers=-1, 7", 69, "layers 7, which is a detection layer"),
    ("layers=-1, 4", "layers=-1, 5", 69, "joins layer 5 of 16 channels of 3x2 to layer 9 of 16 channels of 6x4"),
    ("layers=-1, 4", "layers=", 69, "'' is not a whole number"),
    ("[route]\nlayers=-3\n\n[upsample]", "[upsample]", 61, "follows a detection layer"),
    ("scale=.5", "scale=half", 66, "'half' is not a number"),
    ("scale=.5", "scale=nan", 66, "'nan' is not a number"),
    (
        "filters=22",
        "filters=21",
        52,
        "filters=21, but [Gaussian_yolo] in line 55 needs 22: 2 anchors of 9 entries and 2",
    ),
    ("filters=22\n", "", 49, "filters=1, but [Gaussian_yolo] in line 54 needs 22"),
    ("[Gaussian_yolo]", "[yolo]", 52, "filters=22, but [yolo] in line 55 needs 14"),
    ("classes=2", "classes=3", 52, "filters=22, but [Gaussian_yolo] in line 55 needs 24"),
    ("classes=2", "classes=0", 58, "classes=0, which must be at least 1"),
    ("mask=2,3", "mask=2,4", 56, "mask that is not of different numbers from 0 to 3 (num=4)"),
    ("mask=2,3", "mask=2,2", 56, "mask that is not of different numbers"),
    ("mask=2,3", "mask=1,2,3", 52, "filters=22, but [Gaussian_yolo] in line 55 needs 33"),
    ("num=4", "num=2000000000", 57, "8 numbers in anchors where num=2000000000 needs 4000000000"),
    ("num=4", f"num={'9' * 400}", 59, "is not a whole number"),
    ("num=4", "num=4000000000", 59, "'4000000000' is not a whole number"),
    ("num=4", "num=3", 57, "8 numbers in anchors where num=3 needs 6"),
    ("anchors=10,13, 16,30, 33,23, 30,61", "anchors=10,13, 16,30, 33,23, 30", 57, "7 numbers in anchors"),
    ("anchors=10,13", "anchors=-10,13", 57, "an anchor of -10"),
    ("anchors=10,13", "anchors=ten,13", 57, "'ten' is not a number"),
    ("activation=linear", "activation=leaky", 55, "does not follow a convolution with activation=linear"),
]


@pytest.mark.parametrize(("old", "new", "line", "message"), WRONG, ids=[f"{new!r}" for _, new, _, _ in WRONG])
def test_what_is_wrong_is_named_with_its_line(old: str, new: str, line: int, message: str) -> None:
    text = CFG.replace("[Gaussian_yolo]", "[yolo]", 1) if old == "[yolo]" else CFG
    assert old in text

    with pytest.raises(CfgError) as caught:
        parse_cfg(text.replace(old, new, 1), "some.cfg")

    assert str(caught.value).startswith(f"some.cfg, line {line}: "), caught.value
    assert message in str(caught.value)


def test_heads_that_differ_in_classes_are_named() -> None:
    first, second = CFG.rsplit("[convolutional]", 1)
    text = first + "[convolutional]" + second.replace("filters=22", "filters=24").replace("classes=2", "classes=3")

    with pytest.raises(CfgError, match=r"differs in classes or kind from the head in line 55"):
        parse_cfg(text, "some.cfg")


@pytest.mark.parametrize("size", [(64, 100), (0, 96), (-32, 96), (33, 33)])
def test_a_size_off_the_grid_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(CfgError, match="is not a multiple of 32"):
        parse_cfg(CFG, "some.cfg", size)


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing", "[net]\nwidth=32\nheight=32\nchannels=3"])
def test_nothing_is_no_network(text: str) -> None:
    with pytest.raises(CfgError, match=r"the first section is not|no layers"):
        parse_cfg(text, "some.cfg")


def test_a_file_comes_back_byte_for_byte(tmp_path: Path) -> None:
    raw = b"\xef# caf\xe9\r\n" + CFG.replace("\n", "\r\n", 7).encode() + b"\n\n"
    (tmp_path / "in.cfg").write_bytes(raw.removeprefix(b"\xef"))

    write_cfg(read_cfg(tmp_path / "in.cfg"), tmp_path / "out.cfg")

    assert (tmp_path / "out.cfg").read_bytes() == raw.removeprefix(b"\xef")


def test_the_official_file_comes_back_byte_for_byte(golden_dir: Path, tmp_path: Path) -> None:
    source = golden_dir / "darknet_tiny" / "tiny.cfg"

    write_cfg(read_cfg(source), tmp_path / "out.cfg")

    assert (tmp_path / "out.cfg").read_bytes() == source.read_bytes()


@pytest.mark.parametrize("name", ["missing.cfg", "."])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(CfgError, match="cannot be read"):
        read_cfg(tmp_path / name)


def test_a_binary_file_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "in.cfg").write_bytes(bytes(range(256)) * 9)

    with pytest.raises(CfgError, match="line 1"):
        read_cfg(tmp_path / "in.cfg")


def test_heads_know_their_kind() -> None:
    assert not parse_cfg(small_cfg("yolo"), "small.cfg").heads[0].gaussian
    assert all(isinstance(head, Yolo) and head.gaussian for head in parse_cfg(CFG, "small.cfg").heads)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("[net]\n", "[net]\nmosaic=1\nletter_box=1\n", "mosaic (line 2)"),
        ("num=4", "num=4\ncounters_per_class=100,200\niou_normalizer=0.5\nuc_normalizer=1.0", "counters_per_class"),
        ("num=4", "num=4\nmax_delta=5\nscale_x_y = 1.0\nnms_kind=greedynms\nbeta_nms=0.6", "max_delta"),
        ("num=4", "num=4\nscale_x_y=1", ""),
        ("num=4", "num=4 # of both heads", ""),
        ("num=4", "num=4 ; of both heads", ""),
        ("[net]\n", "[net] # the network\n  # indented\n", ""),
        ("[net]\n", "\ufeff[net]\n", ""),
        ("from=-2", "from=-2,", ""),
    ],
)
def test_what_changes_nothing_is_accepted_and_named(
    caplog: pytest.LogCaptureFixture, old: str, new: str, named: str
) -> None:
    assert old in CFG
    cfg = parse_cfg(CFG.replace(old, new), "fork.cfg")

    assert [layer.shape for layer in cfg.layers] == [layer.shape for layer in parse_cfg(CFG, "small.cfg").layers]
    assert named in caplog.text and bool(named) == bool(caplog.text)


@pytest.mark.parametrize(
    ("old", "new", "option"),
    [
        ("num=4", "num=4\nscale_x_y=1.05", "scale_x_y"),
        ("num=4", "num=4\nnms_kind=diounms", "nms_kind"),
        ("num=4", "num=4\nnew_coords=1", "new_coords"),
        ("filters=8\n", "filters=8\ndilation=2\n", "dilation"),
        ("filters=8\n", "filters=8\nantialiasing=x\n", "antialiasing"),
    ],
)
def test_what_changes_the_detections_is_refused(old: str, new: str, option: str) -> None:
    with pytest.raises(CfgError, match=rf"fork\.cfg, line \d+: .*{option}=.* which changes the detections"):
        parse_cfg(CFG.replace(old, new), "fork.cfg")


def test_a_cfg_in_utf16_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.cfg").write_bytes(CFG.encode("utf-16"))
    with pytest.raises(CfgError, match="UTF-16: save it as UTF-8"):
        read_cfg(tmp_path / "a.cfg")
