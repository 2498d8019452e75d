// The connection: asks for what is new, hands it to the parts of the page, and comes back after a restart of the node.
import { CameraPanel } from "./camera.js";
import { Road } from "./road.js";

const RETRY_MS = 500;
const SILENCE_MS = 6000; // the server answers within 2 s, if only with nothing

const panels = new Map();
const road = new Road(document.getElementById("road"));

function connect() {
  const address = new URL("live", location.href);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(address);
  socket.binaryType = "arraybuffer";
  let over = false;
  let asked = false;
  let silence = setTimeout(lose, SILENCE_MS);

  function ask() {
    if (over || asked || document.hidden || socket.readyState !== WebSocket.OPEN) return;
    asked = true;
    socket.send("next");
    silence = setTimeout(lose, SILENCE_MS);
  }

  function lose() {
    if (over) return;
    over = true;
    clearTimeout(silence);
    document.removeEventListener("visibilitychange", ask);
    socket.close();
    say("no connection, trying again", true);
    setTimeout(connect, RETRY_MS);
  }

  socket.onopen = () => {
    clearTimeout(silence);
    ask();
  };
  socket.onmessage = async (event) => {
    clearTimeout(silence);
    if (over) return;
    say("connected", false);
    try {
      await show(decode(event.data));
    } finally {
      asked = false;
      ask();
    }
  };
  socket.onclose = lose;
  // A hidden page does not ask, and so costs nothing.
  document.addEventListener("visibilitychange", ask);
}

// The length of a JSON object, the object, and the pictures of its frames.
function decode(buffer) {
  const length = new DataView(buffer).getUint32(0);
  const answer = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  let start = 4 + length;
  for (const frame of answer.frames) {
    frame.picture = new Blob([new Uint8Array(buffer, start, frame.bytes)], { type: "image/jpeg" });
    start += frame.bytes;
  }
  return answer;
}

async function show(answer) {
  for (const [name, panel] of panels) {
    if (answer.cameras.includes(name)) continue;
    panel.remove();
    panels.delete(name);
    road.remove(name);
  }
  for (const name of answer.cameras) {
    if (!panels.has(name)) panels.set(name, new CameraPanel(document.getElementById("cameras"), name));
  }
  for (const report of answer.reports) panels.get(report.camera).report(report);
  await Promise.all(answer.frames.map((frame) => panels.get(frame.camera).show(frame)));
  for (const frame of answer.frames) road.take(frame);
  if (answer.frames.length) road.draw();
}

function say(text, lost) {
  document.getElementById("connection").textContent = text;
  document.body.classList.toggle("lost", lost);
}

connect();
