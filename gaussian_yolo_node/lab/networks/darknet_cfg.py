"""Parse Darknet's `.cfg` files into layers with known shapes, and check them for contradictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gaussian_yolo_node.files import write_whole
from gaussian_yolo_node.lab.networks.darknet_sections import CfgError, Section, split_sections
from gaussian_yolo_node.text_files import NotTextError, decode_text

COARSEST_STRIDE = 32
YOLO_ENTRIES = {"Gaussian_yolo": 9, "yolo": 5}  # per anchor, before the classes


@dataclass(frozen=True)
class Layer:
    """One section after [net].

    Attributes:
        index: among the layers, as used by `route` and `shortcut`.
        line: line number of the section, from 1.
        shape: of the output: channels, height, width.
    """

    index: int
    line: int
    shape: tuple[int, int, int]


@dataclass(frozen=True)
class Convolutional(Layer):
    """Convolution, batch norm or bias, activation."""

    in_channels: int
    kernel: int
    stride: int
    padding: int
    groups: int
    batch_normalize: bool
    activation: str


@dataclass(frozen=True)
class Shortcut(Layer):
    """The sum of the previous layer and an earlier one."""

    source: int
    activation: str


@dataclass(frozen=True)
class Route(Layer):
    """Earlier layers, concatenated."""

    sources: tuple[int, ...]


@dataclass(frozen=True)
class Upsample(Layer):
    """Nearest-neighbour upsampling by `factor`, values times `scale`."""

    factor: int
    scale: float


@dataclass(frozen=True)
class Yolo(Layer):
    """Detection layer: the previous layer is a head, with raw entries per anchor and cell.

    Attributes:
        gaussian: entries are mu_x s_x mu_y s_y mu_w s_w mu_h s_h objectness and the classes; else x y w h objectness
            and the classes.
        classes: number of classes.
        anchors: width and height of this head's anchors, in px of the network's input.
        stride: px of the input per cell.
    """

    gaussian: bool
    classes: int
    anchors: tuple[tuple[float, float], ...]
    stride: int


@dataclass(frozen=True)
class Cfg:
    """A parsed `.cfg`.

    Attributes:
        source: the file, for messages.
        text: the original text, byte for byte (undecodable bytes as surrogates).
        input_size: height and width for the layers' shapes, px.
        channels: of the input.
        layers: in order.
    """

    source: str
    text: str
    input_size: tuple[int, int]
    channels: int
    layers: tuple[Layer, ...]

    @property
    def convolutions(self) -> tuple[Convolutional, ...]:
        """The layers that have weights, in the order of the `.weights` file."""
        return tuple(layer for layer in self.layers if isinstance(layer, Convolutional))

    @property
    def heads(self) -> tuple[Yolo, ...]:
        """The detection layers, in the order of the file."""
        return tuple(layer for layer in self.layers if isinstance(layer, Yolo))


def read_cfg(path: Path, size: tuple[int, int] | None = None) -> Cfg:
    """Read a file; see `parse_cfg`."""
    try:
        data = path.read_bytes()
        decode_text(data, "surrogateescape")
    except OSError as error:
        raise CfgError(f"{path} cannot be read: {error.strerror}") from error
    except NotTextError as error:
        raise CfgError(f"{path} is {error}") from error
    return parse_cfg(data.decode("utf-8", "surrogateescape"), str(path), size)


def write_cfg(cfg: Cfg, path: Path) -> None:
    """Write the original text of a cfg, byte for byte. Raises WriteError on failure."""
    write_whole(path, cfg.text.encode("utf-8", "surrogateescape"))


def parse_cfg(text: str, source: str, size: tuple[int, int] | None = None) -> Cfg:
    """Build the layers of a cfg.

    Args:
        source: the file, for messages.
        size: input height and width, px, instead of the cfg's. Anchors are in px and do not change.

    Raises:
        CfgError: an unknown section or option, a value that is not a number or out of range, or contradictory values;
            the message names the line.
    """
    sections = split_sections(text.removeprefix("\ufeff"), source)
    if not sections or sections[0].kind != "net":
        line = sections[0].line if sections else 1
        raise CfgError(f"{source}, line {line}: the first section is not [net]; give the .cfg of a Darknet network")
    net = sections[0]
    channels = net.integer("channels", least=1)
    height, width = (net.integer("height", least=1), net.integer("width", least=1)) if size is None else size
    for name, value in (("height", height), ("width", width)):
        if value < 1 or value % COARSEST_STRIDE:
            complaint = f"{name}={value} is not a multiple of {COARSEST_STRIDE}; give another input size"
            raise net.error(f"has {complaint}", name) if size is None else CfgError(f"{source}: {complaint}")
    layers: list[Layer] = []
    for section in sections[1:]:
        if section.kind == "net":
            raise section.error("appears twice; leave one")
        shape = layers[-1].shape if layers else (channels, height, width)
        layers.append(_BUILDERS[section.kind](_Place(section, sections[len(layers)], layers, shape, (height, width))))
    if not layers:
        raise net.error("has no layers after it; give the .cfg of a whole network")
    return Cfg(source, text, (height, width), channels, tuple(layers))


@dataclass(frozen=True)
class _Place:
    """A section and its context.

    Attributes:
        before: the previous section; [net] for the first layer.
        layers: built so far.
        shape: of the layer's input: channels, height, width.
        input_size: of the network, height and width, px.
    """

    section: Section
    before: Section
    layers: Sequence[Layer]
    shape: tuple[int, int, int]
    input_size: tuple[int, int]

    @property
    def index(self) -> int:
        return len(self.layers)

    def source(self, written: int, option: str) -> int:
        """The index of an earlier layer, written as absolute or, if negative, relative to this layer."""
        index = self.index + written if written < 0 else written
        if not 0 <= index < self.index:
            raise self.section.error(
                f"has {option} {written}, but is layer {self.index} itself and can only take earlier ones", option
            )
        if isinstance(self.layers[index], Yolo):
            raise self.section.error(f"has {option} {written}, which is a detection layer and gives no map", option)
        return index

    def check_input(self) -> None:
        if self.layers and isinstance(self.layers[-1], Yolo):
            raise self.section.error("follows a detection layer, which gives no map; begin with a [route]")


def _convolutional(place: _Place) -> Convolutional:
    section = place.section
    place.check_input()
    channels, height, width = place.shape
    filters, kernel = section.integer("filters", 1, least=1), section.integer("size", 1, least=1)
    stride, groups = section.integer("stride", 1, least=1), section.integer("groups", 1, least=1)
    padding = kernel // 2 if section.integer("pad", 0, least=0) else section.integer("padding", 0, least=0)
    if channels % groups or filters % groups:
        raise section.error(f"has groups={groups}, which does not divide {channels} channels to {filters}", "groups")
    out = ((height + 2 * padding - kernel) // stride + 1, (width + 2 * padding - kernel) // stride + 1)
    if min(out) < 1:
        raise section.error(f"has size={kernel}, which is larger than its input of {width}x{height}", "size")
    return Convolutional(
        place.index,
        section.line,
        (filters, *out),
        channels,
        kernel,
        stride,
        padding,
        groups,
        bool(section.integer("batch_normalize", 0, least=0)),
        section.activation("logistic"),
    )


def _shortcut(place: _Place) -> Shortcut:
    section = place.section
    place.check_input()
    written = section.integers("from")
    if len(written) != 1:
        raise section.error(f"adds {len(written)} layers where one is supported", "from")
    source = place.source(written[0], "from")
    shape = place.layers[source].shape
    if shape != place.shape:
        raise section.error(f"adds layer {source} of {_show(shape)} to {_show(place.shape)}; they must agree", "from")
    return Shortcut(place.index, section.line, shape, source, section.activation("linear"))


def _route(place: _Place) -> Route:
    section = place.section
    sources = tuple(place.source(written, "layers") for written in section.integers("layers"))
    shapes = [place.layers[source].shape for source in sources]
    for source, shape in zip(sources, shapes, strict=True):
        if shape[1:] != shapes[0][1:]:
            raise section.error(
                f"joins layer {source} of {_show(shape)} to layer {sources[0]} of {_show(shapes[0])}; "
                "height and width must agree",
                "layers",
            )
    return Route(place.index, section.line, (sum(shape[0] for shape in shapes), *shapes[0][1:]), sources)


def _upsample(place: _Place) -> Upsample:
    section = place.section
    place.check_input()
    channels, height, width = place.shape
    factor = section.integer("stride", 2, least=1)
    shape = (channels, height * factor, width * factor)
    return Upsample(place.index, section.line, shape, factor, section.number("scale", 1.0))


def _yolo(place: _Place) -> Yolo:
    section = place.section
    place.check_input()
    classes, total = section.integer("classes", 20, least=1), section.integer("num", 1, least=1)
    sizes = section.numbers("anchors")
    if len(sizes) != 2 * total:
        raise section.error(f"has {len(sizes)} numbers in anchors where num={total} needs {2 * total}", "anchors")
    mask = section.integers("mask", ",".join(map(str, range(total))))
    if min(sizes) <= 0:
        raise section.error(f"has an anchor of {min(sizes):g}, which must be above 0 px", "anchors")
    if not all(0 <= member < total for member in mask) or len(set(mask)) != len(mask):
        raise section.error(f"has a mask that is not of different numbers from 0 to {total - 1} (num={total})", "mask")
    _check_head(place, len(mask) * (YOLO_ENTRIES[section.kind] + classes), len(mask), classes)
    height, width = place.input_size
    stride = height // place.shape[1]
    if (place.shape[1] * stride, place.shape[2] * stride) != (height, width):
        raise section.error(f"has a grid of {place.shape[2]}x{place.shape[1]} cells, no even part of {width}x{height}")
    for head in place.layers:
        if isinstance(head, Yolo) and (head.classes, head.gaussian) != (classes, section.kind == "Gaussian_yolo"):
            raise section.error(f"differs in classes or kind from the head in line {head.line}", "classes")
    anchors = tuple((sizes[2 * member], sizes[2 * member + 1]) for member in mask)
    return Yolo(place.index, section.line, place.shape, section.kind == "Gaussian_yolo", classes, anchors, stride)


def _check_head(place: _Place, needed: int, anchors: int, classes: int) -> None:
    head = place.layers[-1] if place.layers else None
    if not isinstance(head, Convolutional) or head.activation != "linear":
        raise place.section.error("does not follow a convolution with activation=linear, which gives the raw entries")
    if head.shape[0] != needed:
        entries = YOLO_ENTRIES[place.section.kind]
        raise place.before.error(
            f"has filters={head.shape[0]}, but [{place.section.kind}] in line {place.section.line} needs {needed}: "
            f"{anchors} anchors of {entries} entries and {classes} classes",
            "filters",
        )


def _show(shape: tuple[int, int, int]) -> str:
    return f"{shape[0]} channels of {shape[2]}x{shape[1]}"


_BUILDERS: dict[str, Callable[[_Place], Layer]] = {
    "convolutional": _convolutional,
    "shortcut": _shortcut,
    "route": _route,
    "upsample": _upsample,
    "Gaussian_yolo": _yolo,
    "yolo": _yolo,
}
