// What is drawn over the image: letters, scale bar, crosshair, outline, rulers, readings.

import { edgeLetters, pixelOf, PLANES, toPatient } from "./geometry.js";

const COLOURS = { text: "#c9d1d9", line: "#e3b341", outline: "#ff7b72", ruler: "#79c0ff" };
const BARS = [1, 2, 5, 10, 20, 50, 100, 200]; // mm

/** Length of a ruler in mm; the plane's axes are at right angles. */
export function lengthOf(ruler, spacing) {
  const { across, down } = PLANES[ruler.plane];
  return Math.hypot(
    (ruler.to[0] - ruler.from[0]) * spacing[across],
    (ruler.to[1] - ruler.from[1]) * spacing[down],
  );
}

/** Longest bar that fills at most a quarter of the width: mm. */
export function barOf(scale, width) {
  return BARS.filter((mm) => mm * scale <= width / 4).pop() ?? BARS[0];
}

export function drawOverlay(context, view, viewer) {
  const { canvas } = context;
  const ratio = viewer.ratio;
  context.font = `${Math.round(13 * ratio)}px system-ui, sans-serif`;
  context.lineWidth = ratio;
  if (viewer.shows.outline && viewer.volume.has("mask")) outline(context, view, viewer);
  if (viewer.shows.crosshair) crosshair(context, view, viewer);
  rulers(context, view, viewer);
  letters(context, view, viewer, canvas);
  scaleBar(context, view, viewer, canvas);
  readings(context, view, viewer, canvas);
}

function text(context, words, x, y, align = "left", baseline = "top") {
  context.textAlign = align;
  context.textBaseline = baseline;
  context.strokeStyle = "#000000";
  context.lineWidth *= 3;
  context.strokeText(words, x, y);
  context.lineWidth /= 3;
  context.fillText(words, x, y);
}

function outline(context, view, viewer) {
  const edges = view.outline();
  context.strokeStyle = COLOURS.outline;
  context.lineWidth = 1.5 * viewer.ratio;
  context.beginPath();
  for (let at = 0; at < edges.length; at += 4) {
    context.moveTo(...view.placement.toScreen(edges[at], edges[at + 1]));
    context.lineTo(...view.placement.toScreen(edges[at + 2], edges[at + 3]));
  }
  context.stroke();
  context.lineWidth = viewer.ratio;
}

function crosshair(context, view, viewer) {
  const pixel = pixelOf(view.plane, viewer.index, viewer.volume.shape);
  const [x, y] = view.placement.toScreen(...pixel).map((at) => Math.round(at) + 0.5);
  const gap = 10 * viewer.ratio;
  const { width, height } = context.canvas;
  context.strokeStyle = COLOURS.line;
  context.beginPath();
  for (const [x0, y0, x1, y1] of [
    [0, y, x - gap, y],
    [x + gap, y, width, y],
    [x, 0, x, y - gap],
    [x, y + gap, x, height],
  ]) {
    context.moveTo(x0, y0);
    context.lineTo(x1, y1);
  }
  context.stroke();
}

function rulers(context, view, viewer) {
  const here = viewer.rulers.filter(
    (ruler) => ruler.plane === view.plane && ruler.slice === view.slice,
  );
  for (const ruler of here) {
    const [from, to] = [ruler.from, ruler.to].map((pixel) => view.placement.toScreen(...pixel));
    context.strokeStyle = COLOURS.ruler;
    context.lineWidth = 1.5 * viewer.ratio;
    context.beginPath();
    context.moveTo(...from);
    context.lineTo(...to);
    context.stroke();
    context.lineWidth = viewer.ratio;
    context.fillStyle = COLOURS.ruler;
    const words = `${lengthOf(ruler, viewer.volume.spacing).toFixed(1)} mm`;
    text(context, words, to[0] + 6 * viewer.ratio, to[1] + 6 * viewer.ratio);
  }
}

function letters(context, view, viewer, { width, height }) {
  const at = edgeLetters(view.plane, viewer.volume.letters);
  const margin = 6 * viewer.ratio;
  context.fillStyle = COLOURS.line;
  text(context, at.left, margin, height / 2, "left", "middle");
  text(context, at.right, width - margin, height / 2, "right", "middle");
  text(context, at.top, width / 2, margin, "center", "top");
  text(context, at.bottom, width / 2, height - margin, "center", "bottom");
}

function scaleBar(context, view, viewer, { width, height }) {
  const mm = barOf(view.placement.scale, width);
  const length = mm * view.placement.scale;
  const right = width - 12 * viewer.ratio;
  const bottom = height - 12 * viewer.ratio;
  context.strokeStyle = COLOURS.text;
  context.lineWidth = 2 * viewer.ratio;
  context.beginPath();
  context.moveTo(right - length, bottom);
  context.lineTo(right, bottom);
  context.stroke();
  context.lineWidth = viewer.ratio;
  context.fillStyle = COLOURS.text;
  text(context, `${mm} mm`, right, bottom - 5 * viewer.ratio, "right", "bottom");
}

function readings(context, view, viewer, { height }) {
  const margin = 8 * viewer.ratio;
  const line = 17 * viewer.ratio;
  const { volume, phrases } = viewer;
  const slices = volume.shape[PLANES[view.plane].through];
  context.fillStyle = COLOURS.text;
  text(context, `${phrases[view.plane]} ${view.slice + 1}/${slices}`, margin, margin);
  const index = view.pointer ?? viewer.index;
  const value = volume.value("image", index);
  if (value === null) return;
  const mm = toPatient(volume.affine, index).map((one) => one.toFixed(0));
  text(context, `${value} HU`, margin, height - margin - line, "left", "bottom");
  text(context, `${mm.join(" ")} mm`, margin, height - margin, "left", "bottom");
}
