"""The SROS2 policy of the nodes: which topics and services each may use, for `ros2 security create_permission`.

    python -m gaussian_yolo_node.ros.security_policy /camera/image_raw > perception.policy.xml
    python -m gaussian_yolo_node.ros.security_policy front=/front/image_raw rear=/rear/image_raw > cameras.policy.xml

Imports no ROS package. A test compares it with what a running node offers.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from xml.sax.saxutils import escape

from gaussian_yolo_node.ros.parameter_table import COMPRESSED_SUFFIX

NODE = "perception"
# What the node publishes, "~" for its own name; those with a condition (a calibration, other packages) too.
PUBLISHED = (
    *("~/detections", "~/tracks", "~/detections_3d", "~/image_annotated", "~/image_annotated/compressed"),
    *("~/image_raw", "~/image_raw/compressed", "~/camera_info", "~/label_info", "~/annotations", "~/objects"),
    *("~/transition_event", "/diagnostics", "/rosout", "/parameter_events"),
)
SERVICES = (
    "~/enable",
    *(f"~/{state}" for state in ("change_state", "get_state", "get_available_states", "get_available_transitions")),
    *("~/get_transition_graph", "~/get_type_description"),
    *(f"~/{action}_parameters" for action in ("describe", "get", "list", "set")),
    *("~/get_parameter_types", "~/set_parameters_atomically"),
)
OPERATOR = "gaussian_yolo_operator"
ENCLAVES = {"nodes": "/gaussian_yolo/perception", "operator": "/gaussian_yolo/operator"}


def policy(cameras: Mapping[str, str]) -> str:
    """The XML of two enclaves: the process of the nodes, and the tools that watch and control them.

    Args:
        cameras: topic of images for each namespace; an empty one for frames from a source.
    """
    nodes, seen, called = "", [], []
    for namespace, image_topic in cameras.items():
        full = f"{namespace.rstrip('/')}/{NODE}"
        published = [name.replace("~", full) for name in PUBLISHED]
        services = [name.replace("~", full) for name in SERVICES]
        seen += published
        called += services
        nodes += _profile(namespace or "/", NODE, published, _subscribed(image_topic), services, "reply")
    operator = _profile("/", OPERATOR, ["/rosout", "/parameter_events"], dict.fromkeys(seen), called, "request")
    enclaves = _enclave(ENCLAVES["nodes"], nodes) + _enclave(ENCLAVES["operator"], operator)
    return f"""\
<?xml version="1.0" encoding="UTF-8"?>
<!-- Written by `python -m gaussian_yolo_node.ros.security_policy {escape(" ".join(_arguments(cameras)))}`; see
     docs/security.md. -->
<policy version="0.2.0">
  <enclaves>
{enclaves}  </enclaves>
</policy>
"""


def _subscribed(image_topic: str) -> dict[str, None]:
    """What a node subscribes to; the depth image beside the camera's is a guess, as depth_topic has no default."""
    names = ["/clock", "/parameter_events", "/tf", "/tf_static"]
    if image_topic:
        camera = image_topic.rpartition("/")[0]
        names += [
            image_topic,
            f"{image_topic}{COMPRESSED_SUFFIX}",
            f"{camera}/camera_info",
            f"{camera}/depth/image_raw",
        ]
    return dict.fromkeys(names)


def _enclave(path: str, profiles: str) -> str:
    return f'    <enclave path="{path}">\n      <profiles>\n{profiles}      </profiles>\n    </enclave>\n'


def _profile(
    namespace: str, node: str, published: list[str], subscribed: Mapping[str, None], services: list[str], role: str
) -> str:
    return (
        f'        <profile ns="{escape(namespace)}" node="{node}">\n'
        + _rules("topics", "topic", "publish", published)
        + _rules("topics", "topic", "subscribe", list(subscribed))
        + _rules("services", "service", role, services)
        + "        </profile>\n"
    )


def _rules(group: str, item: str, action: str, names: list[str]) -> str:
    lines = "".join(f"            <{item}>{escape(name)}</{item}>\n" for name in names)
    return f'          <{group} {action}="ALLOW">\n{lines}          </{group}>\n'


def _arguments(cameras: Mapping[str, str]) -> list[str]:
    return [f"{name.strip('/')}={topic}" if name.strip("/") else topic for name, topic in cameras.items()]


def main(arguments: list[str]) -> None:
    """Print the policy; each argument is an image topic, or NAMESPACE=TOPIC, where an empty topic is a source."""
    parts = [argument.rpartition("=") for argument in arguments or [""]]
    print(policy({f"/{name.strip('/')}" if name else "": topic for name, _, topic in parts}), end="")


if __name__ == "__main__":
    main(sys.argv[1:])
