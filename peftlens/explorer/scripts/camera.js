// Camera of the maps: which part of the plane or space is in view. Both axes have one scale. Linked
// maps share one camera.

const ROOM = 0.94; // share of the map that all tokens fill at zoom 1
const CLOSEST = 400;

export class Camera {
  /** @param worlds {2: points, 3: points or null}; points are { x, y, z } in map units. */
  constructor(worlds) {
    this.worlds = worlds;
    this.dimensions = 2;
    this.reset();
  }

  get world() {
    return this.worlds[this.dimensions];
  }

  /** Show all tokens. */
  reset() {
    const { x, y, z } = this.world;
    const box = [x, y, ...(z ? [z] : [])].map(extent);
    this.center = box.map(([low, high]) => (low + high) / 2);
    this.sides = box.map(([low, high]) => Math.max(1, high - low));
    this.zoom = 1;
    [this.yaw, this.pitch] = z ? [0.6, 0.4] : [0, 0];
  }

  choose(dimensions) {
    this.dimensions = this.worlds[dimensions] ? dimensions : 2;
    this.reset();
  }

  /** Pixels per map unit. */
  scale(width, height) {
    const [across, up] = this.dimensions === 3 ? [Math.max(...this.sides), Math.max(...this.sides)] : this.sides;
    return this.zoom * ROOM * Math.min(width / across, height / up);
  }

  /** Coefficients of x, y, z and 1 in the position on the screen and the depth (higher is nearer). */
  rows(width, height) {
    const s = this.scale(width, height);
    const [cy, sy, cp, sp] = [Math.cos(this.yaw), Math.sin(this.yaw), Math.cos(this.pitch), Math.sin(this.pitch)];
    const turned = this.dimensions === 3
      ? [[cy, 0, -sy], [-sy * sp, cp, -cy * sp], [sy * cp, sp, cy * cp]]
      : [[1, 0, 0], [0, 1, 0], [0, 0, 1]];
    const shift = ([a, b, c], to) => to - a * this.center[0] - b * this.center[1] - c * (this.center[2] ?? 0);
    const [right, up, near] = [turned[0].map((one) => one * s), turned[1].map((one) => -one * s), turned[2]];
    return { right: [...right, shift(right, width / 2)], up: [...up, shift(up, height / 2)], near: [...near, shift(near, 0)] };
  }

  /** Move by pixels. */
  pan(dx, dy, width, height) {
    const s = this.scale(width, height);
    const { right, up } = this.rows(width, height);
    for (let axis = 0; axis < this.center.length; axis += 1) this.center[axis] -= (dx * right[axis] + dy * up[axis]) / (s * s);
  }

  /** Zoom by a factor; the place under the pixel stays there. */
  zoomAt(factor, px, py, width, height) {
    const from = this.zoom;
    this.zoom = Math.min(CLOSEST, Math.max(0.5, from * factor));
    const growth = this.zoom / from - 1;
    this.pan((width / 2 - px) * growth, (height / 2 - py) * growth, width, height);
  }

  rotate(dx, dy) {
    this.yaw += dx * 0.008;
    this.pitch = Math.max(-Math.PI / 2, Math.min(Math.PI / 2, this.pitch + dy * 0.008));
  }

  /** The view as text; a link keeps it. */
  toText() {
    const angles = this.dimensions === 3 ? [this.yaw.toFixed(3), this.pitch.toFixed(3)] : [];
    return [this.zoom.toFixed(3), ...this.center.map((one) => one.toFixed(0)), ...angles].join(",");
  }

  /** Restore a view; text that is none leaves all tokens in view. */
  fromText(text) {
    const values = text.split(",").map(Number);
    const count = this.center.length;
    if (values.length !== (this.dimensions === 3 ? 6 : 3) || !values.every(Number.isFinite) || values[0] <= 0) return;
    this.zoom = Math.min(CLOSEST, values[0]);
    this.center = values.slice(1, 1 + count);
    if (this.dimensions === 3) [this.yaw, this.pitch] = values.slice(1 + count);
  }
}

/** Position of a point on the screen: [right, down, depth]. */
export function projected({ right, up, near }, [x, y, z = 0]) {
  return [right, up, near].map(([a, b, c, shift]) => a * x + b * y + c * z + shift);
}

/** Range of nearly all values: a few outliers would leave the others little room. */
function extent(values) {
  const order = Float32Array.from(values).sort();
  const at = (share) => order[Math.round(share * (order.length - 1))];
  return [at(0.001), at(0.999)];
}
