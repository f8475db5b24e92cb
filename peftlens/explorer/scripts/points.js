// Tokens as points, written pixel by pixel: a frame of 262,144 points takes a few hundredths of a
// second on any machine, with or without a GPU, and needs neither a library nor WebGL.

const DIM = 0.13; // opacity of points that are not emphasized
const BINS = 256; // depths that are told apart in three dimensions

/** Points of one map, drawn on a canvas. */
export class Points {
  constructor(canvas) {
    this.paper = canvas.getContext("2d", { alpha: false });
    this.canvas = canvas;
  }

  /** Draw a frame.
   *  @param world { x, y, z }: coordinates, z null in the plane;
   *  @param rows of the camera for the size in CSS pixels;
   *  @param style { index, palette, background, emphasized, ratio, zoom }: color of each token by its
   *    index into the palette of r, g, b, and a mask of tokens that stand out, or null. */
  draw(world, rows, style) {
    const { width, height } = this.size(style.ratio);
    this.project(world, rows, style.ratio);
    this.pixels.fill(255 * 2 ** 24 + style.background[2] * 65536 + style.background[1] * 256 + style.background[0]);
    const radius = pointRadius(world.x.length, width * height, style.zoom) * Math.sqrt(style.ratio);
    const { emphasized } = style;
    const all = { ...style, stamp: stamp(radius), opacity: emphasized ? DIM : 0.75, order: world.z ? this.byDepth() : null };
    this.plot({ ...all, only: emphasized, wanted: 0 });
    if (emphasized) this.plot({ ...all, stamp: stamp(radius * 1.25 + 0.5), opacity: 1, only: emphasized, wanted: 1 });
    this.paper.putImageData(this.image, 0, 0);
  }

  size(ratio) {
    const width = Math.max(1, Math.round(this.canvas.clientWidth * ratio));
    const height = Math.max(1, Math.round(this.canvas.clientHeight * ratio));
    if (this.image?.width !== width || this.image?.height !== height) {
      Object.assign(this.canvas, { width, height });
      this.image = this.paper.createImageData(width, height);
      this.bytes = this.image.data;
      this.pixels = new Uint32Array(this.bytes.buffer);
    }
    return { width, height };
  }

  project({ x, y, z }, { right, up, near }, ratio) {
    if (this.across?.length !== x.length) [this.across, this.down, this.depth] = [0, 1, 2].map(() => new Float32Array(x.length));
    const { across, down, depth } = this;
    const [a, b, c, d] = right.map((one) => one * ratio), [e, f, g, h] = up.map((one) => one * ratio);
    for (let id = 0; id < x.length; id += 1) {
      const deep = z ? z[id] : 0;
      across[id] = a * x[id] + b * y[id] + c * deep + d;
      down[id] = e * x[id] + f * y[id] + g * deep + h;
      if (z) depth[id] = near[0] * x[id] + near[1] * y[id] + near[2] * deep + near[3];
    }
    this.ratio = ratio;
  }

  /** Ids from the farthest to the nearest, by counting. */
  byDepth() {
    const { depth } = this;
    let [low, high] = [Infinity, -Infinity];
    for (const one of depth) { low = Math.min(low, one); high = Math.max(high, one); }
    const bin = (id) => Math.min(BINS - 1, Math.floor(((depth[id] - low) / (high - low || 1)) * BINS));
    const starts = new Uint32Array(BINS + 1), order = new Uint32Array(depth.length);
    this.nearness = new Uint8Array(depth.length);
    for (let id = 0; id < depth.length; id += 1) starts[(this.nearness[id] = bin(id)) + 1] += 1;
    for (let n = 0; n < BINS; n += 1) starts[n + 1] += starts[n];
    for (let id = 0; id < depth.length; id += 1) order[starts[this.nearness[id]]++] = id;
    return order;
  }

  plot({ index, palette, stamp: { size, dx, dy, alpha }, opacity, order, only, wanted }) {
    const { across, down, bytes, nearness, image: { width, height } } = this;
    for (let n = 0; n < across.length; n += 1) {
      const id = order ? order[n] : n;
      if (only && only[id] !== wanted) continue;
      const left = Math.round(across[id]), top = Math.round(down[id]);
      if (!(left >= size && top >= size && left < width - size && top < height - size)) continue;
      const entry = 3 * index[id];
      const r = palette[entry], g = palette[entry + 1], b = palette[entry + 2];
      const strength = opacity * (order ? 0.35 + (0.65 * nearness[id]) / BINS : 1);
      for (let m = 0; m < dx.length; m += 1) {
        const at = 4 * ((top + dy[m]) * width + left + dx[m]), share = alpha[m] * strength;
        bytes[at] += (r - bytes[at]) * share;
        bytes[at + 1] += (g - bytes[at + 1]) * share;
        bytes[at + 2] += (b - bytes[at + 2]) * share;
      }
    }
  }

  /** Id of the point nearest to a place, in CSS pixels; null if none is within the reach. */
  pick(left, top, reach, emphasized) {
    const [px, py] = [left * this.ratio, top * this.ratio];
    let best = null, least = (reach * this.ratio) ** 2;
    for (let id = 0; id < this.across.length; id += 1) {
      if (emphasized && !emphasized[id]) continue;
      const square = (this.across[id] - px) ** 2 + (this.down[id] - py) ** 2;
      if (square < least) [best, least] = [id, square];
    }
    return best;
  }

  /** Ids of the points in a polygon of [left, top] in CSS pixels. */
  inside(polygon) {
    const ids = [];
    for (let id = 0; id < this.across.length; id += 1) {
      if (within(this.across[id] / this.ratio, this.down[id] / this.ratio, polygon)) ids.push(id);
    }
    return ids;
  }

  /** Ids of the points on the canvas, the first `most` of them; null if there are more. */
  visible(most) {
    const ids = [];
    for (let id = 0; id < this.across.length; id += 1) {
      if (this.across[id] < 0 || this.down[id] < 0 || this.across[id] > this.image.width || this.down[id] > this.image.height) continue;
      if (ids.length === most) return null;
      ids.push(id);
    }
    return ids;
  }
}

/** Radius of a point, px: smaller where there are many, larger as one zooms in. */
function pointRadius(count, area, zoom) {
  const even = Math.max(0.7, Math.min(3.5, 0.28 * Math.sqrt(area / count)));
  return Math.min(6, even * zoom ** 0.35);
}

/** Pixels of a disc and their coverage. */
function stamp(radius) {
  const size = Math.ceil(radius + 0.5), dx = [], dy = [], alpha = [];
  for (let down = -size; down <= size; down += 1) {
    for (let right = -size; right <= size; right += 1) {
      const covered = Math.min(1, radius + 0.5 - Math.hypot(right, down));
      if (covered > 0) { dx.push(right); dy.push(down); alpha.push(covered); }
    }
  }
  return { size, dx: Int8Array.from(dx), dy: Int8Array.from(dy), alpha: Float32Array.from(alpha) };
}

/** Whether a place is in a polygon, by the even-odd rule. */
function within(x, y, polygon) {
  let odd = false;
  for (let n = 0, before = polygon.length - 1; n < polygon.length; before = n, n += 1) {
    const [x1, y1] = polygon[n], [x2, y2] = polygon[before];
    if (y1 > y !== y2 > y && x < ((x2 - x1) * (y - y1)) / (y2 - y1) + x1) odd = !odd;
  }
  return odd;
}
