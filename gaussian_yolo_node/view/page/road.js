// The road from above: x of the base frame, ahead, is up; y, to the left, is left. The drawing's unit is the metre.
import { colourOf, element } from "./svg.js";

const TRAIL_S = 5;
const GRID_M = 10;
const LEAST_AHEAD_M = 20;
const SIGMAS = 2;
const FORGET = 0.98; // share of the range that stays from frame to frame when nothing is so far away any more

export class Road {
  constructor(section) {
    this.section = section;
    this.svg = element("svg");
    section.append(this.svg);
    this.frames = new Map(); // newest frame by camera
    this.trails = new Map(); // by camera, then by id: [stamp, x, y], the newest last
    this.ahead = LEAST_AHEAD_M;
    this.behind = 2;
  }

  remove(camera) {
    this.frames.delete(camera);
    this.trails.delete(camera);
    this.draw();
  }

  take(frame) {
    const before = this.frames.get(frame.camera);
    this.frames.set(frame.camera, frame);
    // Stamps that go back are those of a recording that began again, or of a clock that was set.
    if (before === undefined || frame.stamp < before.stamp) this.trails.set(frame.camera, new Map());
    const trails = this.trails.get(frame.camera);
    for (const object of frame.objects) {
      if (object.place === undefined || object.id === undefined) continue;
      if (!trails.has(object.id)) trails.set(object.id, []);
      trails.get(object.id).push([frame.stamp, ...object.place]);
    }
    for (const [id, points] of trails) {
      const kept = points.filter(([stamp]) => frame.stamp - stamp <= TRAIL_S);
      if (kept.length) trails.set(id, kept);
      else trails.delete(id);
    }
  }

  draw() {
    const frames = [...this.frames.values()].filter((frame) => frame.on_road);
    this.section.hidden = frames.length === 0;
    if (this.section.hidden) return;
    const objects = frames.flatMap((frame) => frame.objects).filter((object) => object.place !== undefined);
    const along = objects.map((object) => object.place[0]);
    this.ahead = Math.max(LEAST_AHEAD_M, FORGET * this.ahead, 1.1 * Math.max(...along, 0));
    this.behind = Math.max(2, FORGET * this.behind, -1.1 * Math.min(...along, 0));
    const length = this.ahead + this.behind;
    const width = 0.8 * length;
    const size = length / 45;
    this.svg.setAttribute("viewBox", `${-width / 2} ${-this.ahead} ${width} ${length}`);
    this.svg.replaceChildren(
      ...this.grid(width, size),
      element("path", { class: "vehicle", d: "M0 -1 L0.9 1.4 L-0.9 1.4 Z" }),
      ...[...this.trails.values()].flatMap((trails) => [...trails].map(([id, points]) => trail(id, points))),
      ...objects.map((object) => marker(object, size)),
    );
  }

  grid(width, size) {
    const step = GRID_M * Math.max(1, Math.ceil(this.ahead / 80));
    const parts = [];
    for (let x = step; x <= this.ahead - size; x += step) {
      parts.push(element("circle", { class: "grid", r: x }));
      parts.push(element("text", { class: "scale", x: -width / 2 + 0.3 * size, y: -x, "font-size": size }, `${x} m`));
    }
    return [element("path", { class: "grid", d: `M0 ${-this.ahead} V${this.behind}` }), ...parts];
  }
}

function trail(id, points) {
  const way = points.map(([, x, y]) => `${-y},${-x}`).join(" ");
  return element("polyline", { class: "trail", stroke: colourOf({ id }), points: way, "data-id": id });
}

function marker(object, size) {
  const [x, y] = object.place;
  const colour = colourOf(object);
  const group = element("g");
  if (object.id !== undefined) group.setAttribute("data-id", object.id);
  group.append(
    element("title", {}, `${object.label}, ${Math.hypot(x, y).toFixed(1)} m`),
    element("ellipse", { class: "ellipse", fill: colour, stroke: colour, ...ellipse(object.place, object.covariance) }),
  );
  if (object.velocity !== undefined) {
    const [ahead, left] = object.velocity;
    group.append(element("path", { class: "velocity", stroke: colour, d: `M${-y} ${-x} l${-left} ${-ahead}` }));
  }
  const words = object.id === undefined ? object.label : `#${object.id} ${object.label}`;
  group.append(element("text", { class: "label", x: -y + 0.5 * size, y: -x - 0.5 * size, "font-size": size }, words));
  return group;
}

// The axes of a covariance [xx, xy, yy]: eigenvalues, and the direction of the larger one turned into the drawing.
export function ellipse([x, y], [xx, xy, yy]) {
  const middle = (xx + yy) / 2;
  const apart = Math.hypot((xx - yy) / 2, xy);
  const angle = Math.atan2(2 * xy, xx - yy) / 2;
  const turned = (Math.atan2(-Math.cos(angle), -Math.sin(angle)) * 180) / Math.PI;
  return {
    cx: -y,
    cy: -x,
    rx: SIGMAS * Math.sqrt(middle + apart),
    ry: SIGMAS * Math.sqrt(Math.max(0, middle - apart)),
    transform: `rotate(${turned} ${-y} ${-x})`,
  };
}
