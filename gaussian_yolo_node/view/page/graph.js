// A figure over the last minute.
import { element } from "./svg.js";

const SPAN_S = 60;
const [WIDTH, HEIGHT] = [120, 40];

export class Graph {
  constructor(parent, name, format) {
    this.format = format;
    this.samples = []; // [time in s, value or null, note]
    const box = document.createElement("div");
    box.className = "graph";
    box.dataset.name = name;
    const title = document.createElement("p");
    this.value = document.createElement("b");
    title.append(`${name} `, this.value);
    this.svg = element("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none" });
    box.append(title, this.svg);
    parent.append(box);
  }

  add(time, value, note = "") {
    this.samples.push([time, value, note]);
    // The node's clock may have been set back.
    this.samples = this.samples.filter(([at]) => time - at <= SPAN_S && at <= time);
    this.value.textContent = value === null ? "–" : this.format(value, note);
    this.svg.replaceChildren(...this.lines(time).map((points) => element("polyline", { points: points.join(" ") })));
  }

  // One line for each run of samples with values.
  lines(now) {
    const most = Math.max(...this.samples.map(([, value]) => value ?? 0)) || 1;
    const lines = [[]];
    for (const [time, value] of this.samples) {
      if (value === null) {
        lines.push([]);
        continue;
      }
      const x = WIDTH * (1 - (now - time) / SPAN_S);
      lines.at(-1).push(`${x.toFixed(2)},${(HEIGHT * (0.95 - (0.85 * value) / most)).toFixed(2)}`);
    }
    return lines.filter((points) => points.length > 0);
  }
}
