// The three planes of a volume whose indices grow to the left, posterior and superior side.

// Axes: 0 left, 1 posterior, 2 superior. `across` and `down` run along the screen, `through` along
// the slices; the rows of coronal and sagittal planes begin at the superior end.
export const PLANES = {
  axial: { across: 0, down: 1, through: 2, upsideDown: false },
  coronal: { across: 0, down: 2, through: 1, upsideDown: true },
  sagittal: { across: 1, down: 2, through: 0, upsideDown: true },
};

const OPPOSITE = { R: "L", L: "R", A: "P", P: "A", S: "I", I: "S" };

export const opposite = (letters) => [...letters].map((letter) => OPPOSITE[letter]).join("");

/** Letters at the edges of a plane: left, right, top, bottom. */
export function edgeLetters(plane, letters) {
  const { across, down, upsideDown } = PLANES[plane];
  const bottom = upsideDown ? opposite(letters[down]) : letters[down];
  return {
    left: opposite(letters[across]),
    right: letters[across],
    top: opposite(bottom),
    bottom,
  };
}

/** Where the pixels of a plane lie on a canvas of width × height device pixels. */
export class Placement {
  constructor({ plane, shape, spacing, width, height, zoom, pan }) {
    const { across, down } = PLANES[plane];
    this.columns = shape[across];
    this.rows = shape[down];
    const wide = this.columns * spacing[across];
    const high = this.rows * spacing[down];
    this.scale = Math.min(width / wide, height / high) * zoom; // device pixels per mm
    this.columnWidth = spacing[across] * this.scale;
    this.rowHeight = spacing[down] * this.scale;
    this.left = width / 2 + pan[0] - (wide * this.scale) / 2;
    this.top = height / 2 + pan[1] - (high * this.scale) / 2;
  }

  /** The point of a pixel's centre on the canvas; fractions lie between the centres. */
  toScreen(column, row) {
    return [
      this.left + (column + 0.5) * this.columnWidth,
      this.top + (row + 0.5) * this.rowHeight,
    ];
  }

  /** The fractional column and row under a point of the canvas. */
  toPixel(x, y) {
    return [(x - this.left) / this.columnWidth - 0.5, (y - this.top) / this.rowHeight - 0.5];
  }
}

/** Column and row of a voxel index in a plane. */
export function pixelOf(plane, index, shape) {
  const { across, down, upsideDown } = PLANES[plane];
  return [index[across], upsideDown ? shape[down] - 1 - index[down] : index[down]];
}

/** Voxel index of a plane's column and row at a slice. */
export function indexOf(plane, [column, row], slice, shape) {
  const { across, down, through, upsideDown } = PLANES[plane];
  const index = [0, 0, 0];
  index[across] = column;
  index[down] = upsideDown ? shape[down] - 1 - row : row;
  index[through] = slice;
  return index;
}

/** Patient coordinates of an index, RAS mm. */
export function toPatient(affine, index) {
  return [0, 1, 2].map(
    (axis) =>
      affine[axis][0] * index[0] +
      affine[axis][1] * index[1] +
      affine[axis][2] * index[2] +
      affine[axis][3],
  );
}
