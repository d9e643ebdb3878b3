// Mouse, touch and keys of the viewer.

import { indexOf, pixelOf } from "./geometry.js";

const CLICK = 4; // CSS pixels that a click may move
const STEP = 8; // CSS pixels of dragging for one slice
const KEYS = {
  ArrowUp: (viewer) => viewer.scroll(1),
  ArrowDown: (viewer) => viewer.scroll(-1),
  PageUp: (viewer) => viewer.scroll(10),
  PageDown: (viewer) => viewer.scroll(-10),
  Home: (viewer) => viewer.scroll(-1e6),
  End: (viewer) => viewer.scroll(1e6),
  a: (viewer) => viewer.activate("axial"),
  c: (viewer) => viewer.activate("coronal"),
  s: (viewer) => viewer.activate("sagittal"),
  f: (viewer) => viewer.maximise(),
  b: (viewer) => viewer.useWindow("bone"),
  t: (viewer) => viewer.useWindow("soft"),
  l: (viewer) => viewer.useWindow("lung"),
  "[": (viewer) => viewer.changeWindow(-25, 0),
  "]": (viewer) => viewer.changeWindow(25, 0),
  "{": (viewer) => viewer.changeWindow(0, -50),
  "}": (viewer) => viewer.changeWindow(0, 50),
  "+": (viewer) => viewer.zoomBy(1.2),
  "=": (viewer) => viewer.zoomBy(1.2),
  "-": (viewer) => viewer.zoomBy(1 / 1.2),
  z: (viewer) => viewer.resetView(),
  i: (viewer) => viewer.toggle("smooth"),
  o: (viewer) => viewer.toggle("outline"),
  x: (viewer) => viewer.toggle("crosshair"),
  h: (viewer) => viewer.toggle("heat"),
  m: (viewer) => measureByKey(viewer),
};
const ARROWS = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };

/** Apply a key; returns whether the viewer knows it. Shift and arrows pan, Alt and arrows move
 * the crosshair within the plane. */
export function applyKey(viewer, event) {
  if (event.ctrlKey || event.metaKey || !viewer.volume) return false;
  const arrow = ARROWS[event.key];
  if (arrow && event.shiftKey) {
    viewer.panBy(arrow[0] * 20, arrow[1] * 20);
    return true;
  }
  if (arrow && event.altKey) {
    moveCrosshair(viewer, arrow);
    return true;
  }
  const action = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action || event.altKey) return false;
  action(viewer);
  return true;
}

function moveCrosshair(viewer, [right, down]) {
  const { volume, active } = viewer;
  const [column, row] = pixelOf(active.plane, viewer.index, volume.shape);
  viewer.moveTo(indexOf(active.plane, [column + right, row + down], active.slice, volume.shape));
  const ruler = viewer.openRuler;
  if (ruler) ruler.to = pixelOf(active.plane, viewer.index, volume.shape);
}

/** The first press begins a ruler at the crosshair, the second ends it at the crosshair. */
function measureByKey(viewer) {
  if (viewer.openRuler) {
    viewer.openRuler = null;
    viewer.invalidate();
    return;
  }
  viewer.shows.crosshair = true;
  const { plane, slice } = viewer.active;
  const pixel = pixelOf(plane, viewer.index, viewer.volume.shape);
  viewer.openRuler = { plane, slice, from: pixel, to: pixel };
  viewer.rulers.push(viewer.openRuler);
  viewer.invalidate();
}

/** Connect the mouse, the wheel and fingers to one plane. */
export function listen(viewer, view) {
  const { canvas } = view;
  const fingers = new Map();
  let drag = null;
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      viewer.activate(view.plane);
      if (event.ctrlKey) viewer.zoomBy(event.deltaY < 0 ? 1.1 : 1 / 1.1);
      else viewer.scroll(event.deltaY < 0 ? 1 : -1);
    },
    { passive: false },
  );
  canvas.addEventListener("pointerdown", (event) => {
    if (!viewer.volume) return;
    viewer.activate(view.plane);
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, [event.clientX, event.clientY]);
    drag = { tool: toolOf(viewer, event), moved: 0, rest: 0, ruler: null };
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!viewer.volume) return;
    view.pointer = viewer.indexAt(view, event);
    const before = fingers.get(event.pointerId);
    if (!before || !drag) return viewer.invalidate();
    const now = [event.clientX, event.clientY];
    if (fingers.size === 2) pinch(viewer, fingers, event.pointerId, now);
    else dragBy({ viewer, view, drag, event, before, now });
    fingers.set(event.pointerId, now);
  });
  const end = (event) => {
    const click = drag && drag.moved < CLICK && fingers.size === 1;
    fingers.delete(event.pointerId);
    if (click && event.type === "pointerup" && drag.tool !== "ruler") {
      viewer.moveTo(viewer.indexAt(view, event));
    }
    if (!fingers.size) drag = null;
  };
  canvas.addEventListener("pointerup", end);
  canvas.addEventListener("pointercancel", end);
  canvas.addEventListener("pointerleave", () => {
    view.pointer = null;
    viewer.invalidate();
  });
}

function toolOf(viewer, event) {
  if (event.button === 2) return "zoom";
  if (event.button === 1 || event.shiftKey) return "pan";
  return viewer.tool;
}

function dragBy({ viewer, view, drag, event, before, now }) {
  const [right, down] = [now[0] - before[0], now[1] - before[1]];
  drag.moved += Math.hypot(right, down);
  if (drag.moved < CLICK) return;
  if (drag.tool === "window") viewer.changeWindow(-down * 2, right * 4);
  else if (drag.tool === "pan") viewer.panBy(right, down);
  else if (drag.tool === "zoom") viewer.zoomBy(Math.exp(-down / 150));
  else if (drag.tool === "scroll") {
    drag.rest += down;
    const slices = Math.trunc(drag.rest / STEP);
    drag.rest -= slices * STEP;
    if (slices) viewer.scroll(-slices);
  } else if (drag.tool === "ruler") measure(viewer, view, drag, event, before);
}

function measure(viewer, view, drag, event, before) {
  if (!drag.ruler) {
    const from = viewer.pixelAt(view, { clientX: before[0], clientY: before[1] });
    drag.ruler = { plane: view.plane, slice: view.slice, from, to: from };
    viewer.rulers.push(drag.ruler);
  }
  drag.ruler.to = viewer.pixelAt(view, event);
  viewer.invalidate();
}

function pinch(viewer, fingers, moving, now) {
  const other = [...fingers].find(([id]) => id !== moving)[1];
  const before = fingers.get(moving);
  const apart = (point) => Math.max(20, Math.hypot(point[0] - other[0], point[1] - other[1]));
  viewer.zoomBy(apart(now) / apart(before));
  viewer.panBy((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
}

