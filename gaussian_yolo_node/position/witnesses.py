"""What lower edge, height and depth image each say of an object's inverse depth, with analytic derivatives.

Depth is the horizontal distance ahead of the camera, to the nearest edge of the object. All three witnesses are nearly
linear in what is uncertain if they speak of its inverse, also at the horizon. A lower edge at the horizon has no place
on the ground, but its inverse depth is 0 with a standard deviation like any other.

The geometry is a cuboid whose sides are parallel to the camera's axes: its lower edge in the image is the near one; its
upper edge is the near one, too, or the far one if the camera looks down on it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.position.camera import Camera

Floats = NDArray[np.float64]

# The uncertain inputs, columns of the Jacobians: the box in px, the pose in m and rad, the class's height, reach and
# sideways shift in m, the depth read along the optical axis in m.
CX, CY, WIDTH, HEIGHT, CAMERA_HEIGHT, PITCH, ROLL, CLASS_HEIGHT, REACH, SHIFT, READING = range(11)
INPUTS = 11

_LEAST_PX = 1e-3  # keeps the shape of an empty box finite


@dataclass(frozen=True, eq=False)
class Rays:
    """Rays of N pixels for each of K points of a box, by slope up and slope left: both per m ahead.

    Attributes:
        ahead: [K, N], m ahead of the camera per m along the optical axis.
        up, left: [K, N], the slopes.
        up_u, up_v, left_u, left_v: [K, N], their derivatives by the pixel's column and row, 1/px.
    """

    ahead: Floats
    up: Floats
    left: Floats
    up_u: Floats
    up_v: Floats
    left_u: Floats
    left_v: Floats

    @classmethod
    def of(cls, camera: Camera, u: Floats, v: Floats) -> Rays:
        """Rays of the pixels u, v [K, N]; NaN for a ray that does not lead ahead."""
        m = camera.to_ray
        ray = m @ np.stack([u.ravel(), v.ravel(), np.ones(u.size)])
        ahead, left, up = ray.reshape(3, *u.shape)
        ahead = np.where(ahead > 0, ahead, np.nan)
        up, left = up / ahead, left / ahead
        return cls(
            ahead,
            up,
            left,
            (m[2, 0] - up * m[0, 0]) / ahead,
            (m[2, 1] - up * m[0, 1]) / ahead,
            (m[1, 0] - left * m[0, 0]) / ahead,
            (m[1, 1] - left * m[0, 1]) / ahead,
        )


BOTTOM, TOP, LEFT, RIGHT, MIDDLE = range(5)


def box_rays(camera: Camera, box: Floats) -> Rays:
    """Rays [5, N] of boxes [4, N] (cx cy w h, px): middles of the bottom, top, left and right edge, and the centre."""
    cx, cy, w, h = box
    return Rays.of(
        camera, np.stack([cx, cx, cx - w / 2, cx + w / 2, cx]), np.stack([cy + h / 2, cy - h / 2, cy, cy, cy])
    )


@dataclass(frozen=True, eq=False)
class Inverse:
    """Inverse depths of the nearest edges.

    Attributes:
        value: [..., N], 1/m.
        jacobian: [INPUTS, ..., N], its derivatives by the inputs.
    """

    value: Floats
    jacobian: Floats


def reach_of(box: Floats, line: tuple[Floats, Floats], limits: tuple[Floats, Floats]) -> tuple[Floats, Floats, Floats]:
    """Reach from the nearest edge to the centre, m: a line in the box's width over height, within limits.

    A car seen from behind is narrow and reaches 2 m; one that crosses is wide and reaches 1 m.

    Args:
        box: [4, N], cx cy w h in px.
        line: intercept and slope [N], m.
        limits: least and largest reach [N], m.

    Returns:
        Reach [N] in m, and its derivatives by width and height [N], m/px.
    """
    w, h = np.maximum(box[2:], _LEAST_PX)
    raw = line[0] + line[1] * w / h
    reach = np.clip(raw, *limits)
    slope = np.where(raw == reach, line[1], 0.0)
    return reach, slope / h, -slope * w / h**2


def by_lower_edge(camera: Camera, rays: Rays) -> Inverse:
    """From where the ray through the lower edge meets the ground."""
    height = camera.pose.translation[2]
    up, left = rays.up[BOTTOM], rays.left[BOTTOM]
    jacobian = np.zeros((INPUTS, len(up)))
    jacobian[CX] = -rays.up_u[BOTTOM] / height
    jacobian[CY] = -rays.up_v[BOTTOM] / height
    jacobian[HEIGHT] = jacobian[CY] / 2
    jacobian[CAMERA_HEIGHT] = up / height**2
    jacobian[PITCH] = (1 + up**2) / height
    jacobian[ROLL] = -left / height
    return Inverse(-up / height, jacobian)


def by_height(
    camera: Camera, rays: Rays, class_height: Floats, reach: Floats, reach_w: Floats, reach_h: Floats
) -> Inverse:
    """From the angle between the lower and the upper edge, and the height that the class has.

    With c the camera's height, H the object's, e its reach and q the inverse depth, the difference of the two slopes is
    k = H q if the upper edge is the near one (H >= c), and k = q (c - (c - H) / (1 + 2 e q)) if it is the far one.

    Args:
        class_height, reach: [N], m; `reach_w` and `reach_h` are the reach's derivatives by the box's width and height.
    """
    c = camera.pose.translation[2]
    k = rays.up[TOP] - rays.up[BOTTOM]
    above = np.maximum(c - class_height, 0.0)  # how far the camera looks down on the object
    half = class_height - 2 * reach * k
    far = np.sqrt(np.maximum(half**2 + 8 * reach * c * k, 0.0))
    q = np.where(above > 0, 2 * k / (half + far), k / class_height)
    share = 1 / (1 + 2 * reach * q)
    k_q = np.where(above > 0, c - above * share**2, class_height)
    k_reach = 2 * q**2 * above * share**2
    jacobian = np.zeros((INPUTS, len(q)))
    jacobian[CX] = rays.up_u[TOP] - rays.up_u[BOTTOM]
    jacobian[CY] = rays.up_v[TOP] - rays.up_v[BOTTOM]
    jacobian[WIDTH] = -k_reach * reach_w
    jacobian[HEIGHT] = -(rays.up_v[TOP] + rays.up_v[BOTTOM]) / 2 - k_reach * reach_h
    jacobian[CAMERA_HEIGHT] = np.where(above > 0, -q * (1 - share), 0.0)
    jacobian[PITCH] = rays.up[BOTTOM] ** 2 - rays.up[TOP] ** 2
    jacobian[ROLL] = rays.left[TOP] - rays.left[BOTTOM]
    jacobian[CLASS_HEIGHT] = np.where(above > 0, -q * share, -q)
    jacobian[REACH] = -k_reach
    return Inverse(q, jacobian / k_q)


def by_depth(camera: Camera, rays: Rays, reading: Floats) -> Inverse:
    """From the depth [N] in m along the optical axis that a depth image has in the box: that of the nearest side."""
    m = camera.to_ray
    ahead = rays.ahead[MIDDLE]
    q = 1 / (reading * ahead)
    jacobian = np.zeros((INPUTS, len(q)))
    jacobian[CX] = -q * m[0, 0] / ahead
    jacobian[CY] = -q * m[0, 1] / ahead
    jacobian[PITCH] = -q * rays.up[MIDDLE]
    jacobian[READING] = -q / reading
    return Inverse(q, jacobian)


def place(rays: Rays, inverse: Inverse, reach: Floats, reach_w: Floats, reach_h: Floats) -> tuple[Floats, Floats]:
    """Centres of footprints, ahead and left of the camera, from the nearest edges' inverse depths.

    A left or right edge of a box is that of the near side where it lies outside of the object as seen from the
    camera's axis, else that of the far side; the centre is the middle of the two.

    Args:
        inverse: of K statements on each object: [K, N] and [INPUTS, K, N].

    Returns:
        [2, K, N] in m, and derivatives [2, INPUTS, K, N].
    """
    near = 1 / inverse.value
    near_by_input = -(near**2) * inverse.jacobian
    sides = rays.left[LEFT : RIGHT + 1, None]
    up = rays.up[LEFT : RIGHT + 1, None]
    is_far = np.concatenate([sides[:1] < 0, sides[1:] > 0])  # slopes to the left are positive
    depths = near + 2 * reach * is_far  # [2, K, N]
    jacobian = np.empty((2, *near_by_input.shape))
    jacobian[0] = near_by_input
    # Half the sum of both sides' slope times depth.
    jacobian[1] = (sides[0] + sides[1]) / 2 * near_by_input
    weights = np.stack([np.ones_like(reach), (sides[0] * is_far[0] + sides[1] * is_far[1])[0]])
    for number, derivative in ((WIDTH, reach_w), (HEIGHT, reach_h), (REACH, 1.0)):
        jacobian[:, number] += (weights * derivative)[:, None]
    by_u = rays.left_u[LEFT : RIGHT + 1, None] * depths
    by_v = rays.left_v[LEFT : RIGHT + 1, None] * depths
    jacobian[1, CX] += (by_u[0] + by_u[1]) / 2
    jacobian[1, CY] += (by_v[0] + by_v[1]) / 2
    jacobian[1, WIDTH] += (by_u[1] - by_u[0]) / 4
    by_roll = up * depths
    jacobian[1, PITCH] -= (sides * by_roll).sum(0) / 2
    jacobian[1, ROLL] -= by_roll.sum(0) / 2
    jacobian[1, SHIFT] = 1.0
    return np.stack([near + reach, (sides * depths).sum(0) / 2]), jacobian
