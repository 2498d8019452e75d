// Elements of drawings, and the colour of an object.

const NAMESPACE = "http://www.w3.org/2000/svg";
// Okabe and Ito's colour-blind safe palette.
const PALETTE = ["#e69f00", "#56b4e9", "#009e73", "#f0e442", "#cc79a7", "#d55e00", "#0072b2"];

// Text never becomes markup: it is set as text content.
export function element(name, attributes = {}, text = "") {
  const made = document.createElementNS(NAMESPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text) made.textContent = text;
  return made;
}

// A tracked object keeps its colour; another one has that of its class.
export function colourOf(object) {
  if (object.id === undefined) return PALETTE[object.class % PALETTE.length];
  return `hsl(${((object.id * 137.5) % 360).toFixed(1)} 80% 62%)`;
}
