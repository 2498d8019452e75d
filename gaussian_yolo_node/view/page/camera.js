// One camera: picture, boxes with their bands, message and graphs.
import { Graph } from "./graph.js";
import { colourOf, element } from "./svg.js";

const FONT_SHARE = 1 / 62; // size of a label, as a share of the frame's width
const MOST_LETTERS = 0.6; // width of a letter, as a share of its size

export class CameraPanel {
  constructor(parent, name) {
    this.section = document.createElement("section");
    this.section.className = "camera";
    const title = document.createElement("h2");
    title.textContent = name;
    this.message = document.createElement("p");
    this.picture = document.createElement("div");
    this.picture.className = "picture";
    this.canvas = document.createElement("canvas");
    this.canvas.width = this.canvas.height = 0;
    this.boxes = element("svg");
    this.picture.append(this.canvas, this.boxes);
    this.frame = document.createElement("p");
    this.frame.className = "frame";
    const graphs = document.createElement("div");
    graphs.className = "graphs";
    this.rate = new Graph(graphs, "rate", (value) => `${value.toFixed(1)} Hz`);
    this.age = new Graph(graphs, "age", (value) => `${value.toFixed(0)} ms`);
    this.drops = new Graph(graphs, "drops", (value) => `${value.toFixed(1)} / s`);
    this.area = new Graph(graphs, "canvas", (value, canvas) => `${canvas} px`);
    this.last = null;
    this.section.append(title, this.message, this.picture, this.frame, graphs);
    parent.append(this.section);
  }

  remove() {
    this.section.remove();
  }

  report(report) {
    this.message.textContent = report.message;
    this.message.className = `level-${report.level}`;
    const { time, canvas } = report;
    this.rate.add(time, report.rate_hz);
    this.age.add(time, report.frame_age_p50_ms);
    this.drops.add(time, this.dropRate(report));
    const [height, width] = canvas.split("x").map(Number);
    this.area.add(time, width ? height * width : null, canvas);
    this.last = report;
  }

  // Drops per second since the last report; unknown after a restart, which counts from 0 again.
  dropRate(report) {
    const before = this.last;
    if (before === null || report.frames_dropped === null || !(report.frames_received >= before.frames_received)) {
      return null;
    }
    return Math.max(0, report.frames_dropped - before.frames_dropped) / Math.max(0.001, report.time - before.time);
  }

  async show(frame) {
    const picture = await createImageBitmap(frame.picture);
    if (this.canvas.width !== picture.width || this.canvas.height !== picture.height) {
      this.canvas.width = picture.width;
      this.canvas.height = picture.height;
    }
    this.canvas.getContext("2d").drawImage(picture, 0, 0);
    picture.close();
    const time = new Date(frame.stamp * 1000).toISOString().slice(11, 23);
    const count = frame.objects.length;
    this.frame.textContent = `${frame.frame} · ${time} · ${count} ${count === 1 ? "object" : "objects"}`;
    this.frame.dataset.stamp = frame.stamp;
    const [width, height] = frame.size;
    this.boxes.setAttribute("viewBox", `0 0 ${width} ${height}`);
    // The best ones last, on top.
    const objects = [...frame.objects].sort((a, b) => a.score - b.score);
    this.boxes.replaceChildren(...objects.map((object) => drawn(object, width * FONT_SHARE)));
  }
}

function drawn(object, size) {
  const [left, top, right, bottom] = object.box;
  const colour = colourOf(object);
  const group = element("g", { "data-label": object.label });
  const full = labelOf(object);
  group.append(
    element("title", {}, full.join(" ")),
    element("path", { class: "band", fill: colour, d: bandOf(object) }),
    element("rect", {
      class: "box",
      stroke: colour,
      x: left,
      y: top,
      width: right - left,
      height: bottom - top,
    }),
  );
  if (object.id !== undefined) group.setAttribute("data-id", object.id);
  // An id is shown on a box of any size.
  const text = fitting(full, Math.max(right - left, bottom - top), size) || (object.id === undefined ? "" : full[0]);
  const above = top > 1.3 * size;
  const label = { class: "label", x: left, y: above ? top - 0.3 * size : bottom + size, "font-size": size };
  if (text) group.append(element("text", label, text));
  return group;
}

// The ring between the box grown and shrunk by one sigma of its edges; a shrunk one ends in its centre.
function bandOf({ box: [left, top, right, bottom], sigma: [across, down] }) {
  const inX = Math.min(across, (right - left) / 2);
  const inY = Math.min(down, (bottom - top) / 2);
  const outer = `M${left - across} ${top - down}H${right + across}V${bottom + down}H${left - across}Z`;
  return `${outer}M${left + inX} ${top + inY}H${right - inX}V${bottom - inY}H${left + inX}Z`;
}

function labelOf(object) {
  const sigma = (object.sigma[0] + object.sigma[1]) / 2;
  const id = object.id === undefined ? [] : [`#${object.id}`];
  return [...id, object.label, object.score.toFixed(2), `±${sigma.toFixed(1)} px`];
}

// As many of the words, the first of them first, as a box of this size may carry.
function fitting(words, boxSize, fontSize) {
  for (let count = words.length; count > 0; count--) {
    const text = words.slice(0, count).join(" ");
    if (text.length * MOST_LETTERS * fontSize <= 1.5 * boxSize) return text;
  }
  return "";
}
