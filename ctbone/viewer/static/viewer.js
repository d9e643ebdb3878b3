// The viewer: three linked planes on 2D canvases, windowed in the browser.

import { indexOf, Placement, PLANES } from "./geometry.js";
import { applyKey, listen } from "./input.js";
import { drawOverlay } from "./measures.js";

// Centre and width in HU; bone and soft tissue are those of the networks' input.
export const WINDOWS = { bone: [400, 1800], soft: [40, 400], lung: [-600, 1500] };
const LOWEST = -32768; // int16
const TOOLS = ["scroll", "window", "zoom", "pan", "ruler"];
const SWITCHES = ["crosshair", "outline", "smooth", "heat"];
const ENGLISH = {
  axial: "Axial", coronal: "Coronal", sagittal: "Sagittal",
  scroll: "Scroll", window: "Window", zoom: "Zoom", pan: "Pan", ruler: "Ruler",
  bone: "Bone", soft: "Soft tissue", lung: "Lung",
  crosshair: "Crosshair", outline: "Outline", smooth: "Smooth", heat: "Heat map",
  maximise: "One plane", reset: "Reset view", tools: "Tools of the viewer",
  plane_label: "{plane} plane, slice {slice} of {slices}",
};
const KEY_OF = {
  bone: "B", soft: "T", lung: "L", crosshair: "X", outline: "O", smooth: "I", heat: "H",
  maximise: "F", reset: "Z", ruler: "M",
};

/** Grey values of all int16 numbers: 255 · clamp((HU − (centre − width/2)) / width, 0, 1). */
export function greyTable([centre, width], table = new Uint32Array(65536)) {
  for (let at = 0; at < table.length; at++) {
    const share = (at + LOWEST - (centre - width / 2)) / width;
    const grey = Math.round(255 * Math.min(1, Math.max(0, share)));
    table[at] = (0xff000000 | (grey << 16) | (grey << 8) | grey) >>> 0;
  }
  return table;
}

/** Colours of a heat map: clear below a tenth, then yellow to red. */
function heatTable() {
  const table = new Uint32Array(256);
  for (let value = 26; value < 256; value++) {
    const share = value / 255;
    const [red, green, alpha] = [255, Math.round(220 * (1 - share)), Math.round(150 * share)];
    table[value] = ((alpha << 24) | (green << 8) | red) >>> 0;
  }
  return table;
}

class PlaneView {
  constructor(plane) {
    this.plane = plane;
    this.canvas = document.createElement("canvas");
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "img");
    this.canvas.className = `plane ${plane}`;
    this.context = this.canvas.getContext("2d", { alpha: false });
    this.zoom = 1;
    this.pan = [0, 0];
    this.pointer = null;
    this.painted = {};
    this.layers = {};
  }

  use(volume) {
    const { across, down, through } = PLANES[this.plane];
    this.volume = volume;
    this.slice = volume.start[through];
    this.zoom = 1;
    this.pan = [0, 0];
    this.pointer = null;
    this.painted = {};
    for (const layer of ["image", "heat"]) {
      const source = document.createElement("canvas");
      [source.width, source.height] = [volume.shape[across], volume.shape[down]];
      const context = source.getContext("2d");
      const data = context.createImageData(source.width, source.height);
      const pixels = new Uint32Array(data.data.buffer);
      this.layers[layer] = { source, context, data, pixels };
    }
  }

  outline() {
    if (this.outlined?.slice !== this.slice || this.outlined.volume !== this.volume) {
      const edges = this.volume.outline(this.plane, this.slice);
      this.outlined = { slice: this.slice, volume: this.volume, edges };
    }
    return this.outlined.edges;
  }

  /** Paint a layer's slice into its source canvas, unless it stands there. */
  paint(layer, key, table, offset) {
    if (this.painted[layer] === key) return;
    const { context, data, pixels } = this.layers[layer];
    this.volume.paint(this.plane, this.slice, { layer, table, offset, pixels });
    context.putImageData(data, 0, 0);
    this.painted[layer] = key;
  }

  draw(viewer) {
    const { canvas, context } = this;
    const { shape, spacing } = this.volume;
    const { width, height } = canvas;
    const { plane, zoom, pan } = this;
    this.placement = new Placement({ plane, shape, spacing, width, height, zoom, pan });
    const at = this.placement;
    context.fillStyle = "#000000";
    context.fillRect(0, 0, width, height);
    context.imageSmoothingEnabled = viewer.shows.smooth;
    const box = [at.left, at.top, at.columns * at.columnWidth, at.rows * at.rowHeight];
    this.paint("image", `${this.slice} ${viewer.windowNumber}`, viewer.table, -LOWEST);
    context.drawImage(this.layers.image.source, ...box);
    if (viewer.shows.heat && this.volume.has("heat")) {
      this.paint("heat", `${this.slice}`, viewer.heatColours, 0);
      context.drawImage(this.layers.heat.source, ...box);
    }
    drawOverlay(context, this, viewer);
  }
}

export class Viewer {
  /** `root` is emptied; `keys` says whether the viewer listens to the keys of the page itself. */
  constructor(root, { phrases = {}, keys = true } = {}) {
    this.root = root;
    root.viewer = this; // for tests and the console
    this.phrases = { ...ENGLISH, ...phrases };
    this.views = Object.keys(PLANES).map((plane) => new PlaneView(plane));
    this.active = this.views[0];
    this.tool = matchMedia("(pointer: fine)").matches ? "window" : "scroll";
    this.shows = { crosshair: true, outline: false, smooth: true, heat: false };
    this.table = new Uint32Array(65536);
    this.heatColours = heatTable();
    this.rulers = [];
    this.frames = []; // ms of the last drawings, for measurements
    this.setWindow(WINDOWS.bone);
    this._build();
    for (const view of this.views) listen(this, view);
    new ResizeObserver(() => this._resize()).observe(this.planes);
    if (keys) {
      document.addEventListener("keydown", (event) => {
        if (this.key(event)) event.preventDefault();
      });
    }
  }

  get ratio() {
    return window.devicePixelRatio || 1;
  }

  key(event) {
    return applyKey(this, event);
  }

  /** Show a volume; its chunks arrive while it is shown. */
  show(volume) {
    if (this.volume) this.volume.onChunk = () => {};
    this.volume = volume;
    this.rulers = [];
    this.openRuler = null;
    this.index = [...volume.start];
    for (const view of this.views) view.use(volume);
    volume.onChunk = (layer, first, count) => this._arrived(layer, first, count);
    this.root.classList.toggle("flat", volume.shape[2] === 1);
    this._resize();
    this.draw();
    return volume.load();
  }

  /** Show nothing, as in a pause. */
  clear() {
    if (this.volume) this.volume.onChunk = () => {};
    this.volume = null;
    for (const { context, canvas } of this.views) {
      context.fillStyle = "#000000";
      context.fillRect(0, 0, canvas.width, canvas.height);
    }
  }

  scroll(slices) {
    const { plane, slice } = this.active;
    const index = [...this.index];
    index[PLANES[plane].through] = slice + slices;
    this.moveTo(index);
  }

  /** Move the crosshair, and with it the slices of all planes. */
  moveTo(index) {
    this.index = index.map((at, axis) =>
      Math.min(this.volume.shape[axis] - 1, Math.max(0, Math.round(at))),
    );
    for (const view of this.views) view.slice = this.index[PLANES[view.plane].through];
    this.invalidate();
  }

  activate(plane) {
    this.active = this.views.find((view) => view.plane === plane);
    this.root.dataset.active = plane;
    this.invalidate();
  }

  maximise() {
    this.root.classList.toggle("single");
    this._resize();
    this.invalidate();
  }

  useWindow(name) {
    this.setWindow(WINDOWS[name]);
    this.invalidate();
  }

  changeWindow(centre, width) {
    this.setWindow([this.window[0] + centre, Math.max(1, this.window[1] + width)]);
    this.invalidate();
  }

  setWindow(window) {
    this.window = window;
    this.windowNumber = (this.windowNumber ?? 0) + 1;
    greyTable(window, this.table);
  }

  zoomBy(factor) {
    const view = this.active;
    const zoom = Math.min(40, Math.max(0.25, view.zoom * factor));
    view.pan = view.pan.map((at) => (at * zoom) / view.zoom);
    view.zoom = zoom;
    this.invalidate();
  }

  panBy(right, down) {
    const view = this.active;
    view.pan = [view.pan[0] + right * this.ratio, view.pan[1] + down * this.ratio];
    this.invalidate();
  }

  resetView() {
    for (const view of this.views) [view.zoom, view.pan] = [1, [0, 0]];
    this.rulers = [];
    this.openRuler = null;
    this.invalidate();
  }

  toggle(name) {
    this.shows[name] = !this.shows[name];
    this.invalidate();
  }

  chooseTool(name) {
    this.tool = name;
    this._mark();
  }

  /** Column and row of a plane under the pointer, with fractions. */
  pixelAt(view, event) {
    const box = view.canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    return view.placement.toPixel(x * this.ratio, y * this.ratio);
  }

  indexAt(view, event) {
    return indexOf(view.plane, this.pixelAt(view, event), view.slice, this.volume.shape);
  }

  /** Draw before the next frame, once. */
  invalidate() {
    if (this.waiting || !this.volume) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      if (this.volume) this.draw();
    });
  }

  draw() {
    const started = performance.now();
    for (const view of this.views) if (view.canvas.width > 1) view.draw(this);
    this.frames.push(performance.now() - started);
    if (this.frames.length > 200) this.frames.shift();
    this._mark();
  }

  _arrived(layer, first, count) {
    for (const view of this.views) {
      const through = PLANES[view.plane].through;
      const visible = through !== 2 || (view.slice >= first && view.slice < first + count);
      if (visible) view.painted[layer] = null;
      if (layer === "mask") view.outlined = null;
    }
    this.invalidate();
  }

  _resize() {
    for (const { canvas } of this.views) {
      const { width, height } = canvas.getBoundingClientRect();
      const [wide, high] = [width, height].map((at) => Math.max(1, Math.round(at * this.ratio)));
      if (canvas.width !== wide) canvas.width = wide;
      if (canvas.height !== high) canvas.height = high;
    }
    this.invalidate();
  }

  _build() {
    this.root.replaceChildren();
    this.root.classList.add("viewer");
    this.root.dataset.active = this.active.plane;
    this.planes = document.createElement("div");
    this.planes.className = "planes";
    this.planes.append(...this.views.map((view) => view.canvas));
    this.buttons = {};
    const bar = document.createElement("div");
    bar.className = "tools";
    bar.setAttribute("role", "toolbar");
    bar.setAttribute("aria-label", this.phrases.tools);
    const add = (name, action) => bar.append(this._button(name, action));
    for (const tool of TOOLS) add(tool, () => this.chooseTool(tool));
    for (const window of Object.keys(WINDOWS)) add(window, () => this.useWindow(window));
    for (const name of SWITCHES) add(name, () => this.toggle(name));
    add("maximise", () => this.maximise());
    add("reset", () => this.resetView());
    this.root.append(bar, this.planes);
  }

  _button(name, action) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = this.phrases[name];
    button.className = name;
    if (KEY_OF[name]) {
      button.title = `${this.phrases[name]} (${KEY_OF[name]})`;
      button.setAttribute("aria-keyshortcuts", KEY_OF[name]);
    }
    button.addEventListener("click", (event) => {
      if (this.volume) action();
      if (event.detail) button.blur(); // after the mouse, keys go to the page again
    });
    this.buttons[name] = button;
    return button;
  }

  /** Say in the buttons and labels what is chosen. */
  _mark() {
    const pressed = (name, on) => this.buttons[name].setAttribute("aria-pressed", String(on));
    for (const tool of TOOLS) pressed(tool, this.tool === tool);
    for (const name of SWITCHES) pressed(name, this.shows[name]);
    for (const [name, window] of Object.entries(WINDOWS)) {
      pressed(name, window[0] === this.window[0] && window[1] === this.window[1]);
    }
    pressed("maximise", this.root.classList.contains("single"));
    if (!this.volume) return;
    this.buttons.outline.hidden = !this.volume.has("mask");
    this.buttons.heat.hidden = !this.volume.has("heat");
    for (const view of this.views) {
      const slices = this.volume.shape[PLANES[view.plane].through];
      const label = this.phrases.plane_label
        .replace("{plane}", this.phrases[view.plane])
        .replace("{slice}", view.slice + 1)
        .replace("{slices}", slices);
      if (view.canvas.getAttribute("aria-label") !== label) {
        view.canvas.setAttribute("aria-label", label);
      }
    }
  }
}
