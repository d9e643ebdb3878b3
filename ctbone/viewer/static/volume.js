// A volume in the browser: layers filled chunk by chunk, slices of the three planes.

import { PLANES } from "./geometry.js";

const AT_ONCE = 3; // chunks that are requested side by side
const AIR = -1024; // HU of voxels that have not arrived
const KINDS = { image: Int16Array, mask: Uint8Array, heat: Uint8Array };

export class Volume {
  /**
   * `description` comes from ViewerImage.description(); `source(layer, number)` resolves to the
   * bytes of a chunk.
   */
  constructor(description, source) {
    Object.assign(this, description);
    this.source = source;
    this.voxels = {};
    this.arrived = {};
    this.onChunk = () => {};
    this.stopped = false;
    const [nx, ny, nz] = this.shape;
    for (const [layer, count] of Object.entries(this.layers)) {
      this.voxels[layer] = new KINDS[layer](nx * ny * nz);
      this.arrived[layer] = new Uint8Array(Math.ceil(nz / count));
    }
    this.voxels.image.fill(AIR);
  }

  has(layer) {
    return layer in this.voxels;
  }

  get complete() {
    return Object.values(this.arrived).every((chunks) => chunks.every(Boolean));
  }

  /** Share of the image's chunks that have arrived, 0–1. */
  get share() {
    return this.arrived.image.reduce((sum, one) => sum + one, 0) / this.arrived.image.length;
  }

  /** Load all chunks, from the first slice outwards; resolves when all have arrived. */
  load() {
    this.loading ??= this._load();
    return this.loading;
  }

  stop() {
    this.stopped = true;
  }

  async _load() {
    const waiting = this._order();
    const take = async () => {
      while (waiting.length && !this.stopped) {
        const [layer, number] = waiting.shift();
        this._store(layer, number, await this.source(layer, number));
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, take));
  }

  /** Chunks by their distance from the first slice; those of the mask before the image's. */
  _order() {
    const order = [];
    for (const [layer, count] of Object.entries(this.layers)) {
      const first = Math.floor(this.start[2] / count);
      for (let number = 0; number < this.arrived[layer].length; number++) {
        order.push([layer, number, Math.abs(number - first) * count, layer === "image" ? 1 : 0]);
      }
    }
    return order.sort((a, b) => a[2] - b[2] || a[3] - b[3]);
  }

  _store(layer, number, buffer) {
    const voxels = this.voxels[layer];
    const perSlice = this.shape[0] * this.shape[1];
    const first = number * this.layers[layer];
    voxels.set(new KINDS[layer](buffer), first * perSlice);
    this.arrived[layer][number] = 1;
    this.onChunk(layer, first, Math.min(this.layers[layer], this.shape[2] - first));
  }

  value(layer, index) {
    const [x, y, z] = index.map(Math.round);
    const [nx, ny, nz] = this.shape;
    if (x < 0 || y < 0 || z < 0 || x >= nx || y >= ny || z >= nz) return null;
    return this.voxels[layer][(z * ny + y) * nx + x];
  }

  /** First voxel, step along a row, step between rows of a plane's slice. */
  strides(plane, slice) {
    const { across, down, through, upsideDown } = PLANES[plane];
    const steps = [1, this.shape[0], this.shape[0] * this.shape[1]];
    const rows = this.shape[down];
    const first = slice * steps[through] + (upsideDown ? (rows - 1) * steps[down] : 0);
    return [first, steps[across], upsideDown ? -steps[down] : steps[down]];
  }

  /** Write a slice of a layer through a table of colours into 32-bit pixels. */
  paint(plane, slice, { layer = "image", table, offset = 0, pixels }) {
    const { across, down } = PLANES[plane];
    const [first, step, rowStep] = this.strides(plane, slice);
    const [columns, rows] = [this.shape[across], this.shape[down]];
    const voxels = this.voxels[layer];
    let out = 0;
    for (let row = 0; row < rows; row++) {
      let at = first + row * rowStep;
      for (let column = 0; column < columns; column++, at += step) {
        pixels[out++] = table[voxels[at] + offset];
      }
    }
  }

  /** Edges of the mask in a slice, as column and row of both ends: x0, y0, x1, y1, … */
  outline(plane, slice) {
    const { across, down } = PLANES[plane];
    const [first, step, rowStep] = this.strides(plane, slice);
    const [columns, rows] = [this.shape[across], this.shape[down]];
    const mask = this.voxels.mask;
    const inside = (column, row) =>
      column >= 0 &&
      row >= 0 &&
      column < columns &&
      row < rows &&
      mask[first + column * step + row * rowStep] > 0;
    const edges = [];
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        if (!inside(column, row)) continue;
        const [l, r, t, b] = [column - 0.5, column + 0.5, row - 0.5, row + 0.5];
        if (!inside(column - 1, row)) edges.push(l, t, l, b);
        if (!inside(column + 1, row)) edges.push(r, t, r, b);
        if (!inside(column, row - 1)) edges.push(l, t, r, t);
        if (!inside(column, row + 1)) edges.push(l, b, r, b);
      }
    }
    return edges;
  }
}

/** Chunks that stand in the page as base64 of gzip. */
export function inPage(chunks) {
  return async (layer, number) => {
    const bytes = Uint8Array.from(atob(chunks[layer][number]), (one) => one.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).arrayBuffer();
  };
}
