// One map: the canvas of points, the overlay, the tooltip, and the gestures on them. What a gesture
// means is decided by the page (see main.js).

import { projected } from "./camera.js";
import { Points } from "./points.js";
import { drawOverlay } from "./overlay.js";
import { placedLabels } from "./labels.js";

const REACH = 12; // px around the pointer in which a token is found
const STILL = 4; // px that a click may move
const KEYS = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };

export class MapView {
  /** @param element of the map; @param camera, which may be shared;
   *  @param scene function that returns { style, marks, labels, lasso } of this map;
   *  @param on callbacks: moved, clicked, hovered, selected. */
  constructor(element, camera, scene, on) {
    Object.assign(this, { element, camera, scene, on, pointers: new Map(), lassoing: false, loop: null });
    this.layer = element.querySelector("svg");
    this.tip = element.querySelector(".tip");
    this.points = new Points(element.querySelector("canvas"));
    element.addEventListener("pointerdown", (event) => this.pressed(event));
    element.addEventListener("pointermove", (event) => this.pointed(event));
    for (const name of ["pointerup", "pointercancel"]) element.addEventListener(name, (event) => this.released(event));
    element.addEventListener("pointerleave", () => this.hover(null));
    element.addEventListener("wheel", (event) => this.rolled(event), { passive: false });
    element.addEventListener("dblclick", (event) => this.zoom(2, ...this.place(event)));
    element.addEventListener("keydown", (event) => this.key(event));
  }

  get size() {
    return [this.element.clientWidth, this.element.clientHeight];
  }

  /** Draw at the next frame, once for all changes before it. */
  draw() {
    if (this.due) return;
    this.due = true;
    requestAnimationFrame(() => { this.due = false; this.drawNow(); });
  }

  drawNow() {
    const [width, height] = this.size;
    if (!width || !height) return;
    const rows = this.camera.rows(width, height), scene = this.scene();
    const ratio = Math.min(2, devicePixelRatio || 1);
    this.points.draw(this.camera.world, rows, { ...scene.style, ratio, zoom: this.camera.zoom });
    const at = (point) => projected(rows, point).slice(0, 2);
    const wanted = scene.labels(this.points).map((one) => { const [left, top] = at(one.point); return { ...one, left, top }; });
    const marks = scene.marks;
    const taken = marks.ways.flatMap((way) => (way.points[way.step] ? [at(way.points[way.step])] : [])).map(([left, top]) => [left - 9, top - 9, left + 9, top + 9]);
    drawOverlay(this.layer, at, { ...marks, labels: placedLabels(wanted, width, height, [...taken, this.covered()]), lasso: this.loop });
    this.element.dataset.view = this.camera.toText();
  }

  /** Box of the legend on this map, under which a label could be neither read nor clicked. */
  covered() {
    const map = this.element.getBoundingClientRect();
    const { left, top, right, bottom } = document.querySelector(".corner").getBoundingClientRect();
    return [left - map.left, top - map.top, right - map.left, bottom - map.top];
  }

  place(event) {
    const box = this.element.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  zoom(factor, left, top) {
    this.camera.zoomAt(factor, left, top, ...this.size);
    this.on.moved();
  }

  pressed(event) {
    if (event.button > 0 && this.camera.dimensions === 2) return;
    this.pointers.set(event.pointerId, this.place(event));
    this.start = this.place(event);
    this.moves = false;
    this.mark = event.target.closest(".mark, .cluster");
    this.turns = this.camera.dimensions === 3 && event.button === 0 && !event.shiftKey;
    this.loop = this.camera.dimensions === 2 && (this.lassoing || event.shiftKey) ? [this.start] : null;
  }

  pointed(event) {
    const now = this.place(event), before = this.pointers.get(event.pointerId);
    if (!before) { this.hover(event); return; }
    if (!this.moves && Math.hypot(now[0] - this.start[0], now[1] - this.start[1]) < STILL) return;
    if (!this.moves) this.element.setPointerCapture(event.pointerId);
    this.moves = true;
    const [dx, dy] = [now[0] - before[0], now[1] - before[1]];
    this.hideTip();
    if (this.pointers.size === 2) this.pinch(event.pointerId, before, now);
    else if (this.loop) this.loop.push(now);
    else if (this.turns) this.camera.rotate(dx, dy);
    else this.camera.pan(dx, dy, ...this.size);
    this.pointers.set(event.pointerId, now);
    if (this.loop) this.draw();
    else this.on.moved();
  }

  pinch(id, before, now) {
    const [[, other]] = [...this.pointers].filter(([key]) => key !== id);
    const apart = (one) => Math.max(1, Math.hypot(one[0] - other[0], one[1] - other[1]));
    this.camera.zoomAt(apart(now) / apart(before), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2, ...this.size);
  }

  released(event) {
    if (!this.pointers.delete(event.pointerId)) return;
    const loop = this.loop;
    this.loop = null;
    if (loop && this.moves) this.on.selected(this.points.inside(loop));
    else if (!this.moves && event.type === "pointerup") this.clicked(event);
    if (loop) this.draw();
  }

  clicked(event) {
    if (this.mark) this.mark.pick();
    else this.on.clicked(this.points.pick(...this.place(event), REACH, null));
  }

  /** Find the token at the pointer, at most once per frame; none under a mark or a cluster's name,
   *  which the token's own name would displace. */
  hover(event) {
    this.latest = event;
    if (this.asking) return;
    this.asking = true;
    requestAnimationFrame(() => {
      this.asking = false;
      const mark = this.latest?.target.closest?.(".mark, .cluster");
      const id = !this.latest || mark || !this.points.across ? null : this.points.pick(...this.place(this.latest), REACH, null);
      this.on.hovered(id);
    });
  }

  /** Show text beside the pointer, or beside a place of the map. */
  showTip(parts, place = this.latest && this.place(this.latest)) {
    if (!parts || !place) { this.hideTip(); return; }
    this.tip.replaceChildren(...parts);
    this.tip.hidden = false;
    const [width, height] = this.size;
    const left = place[0] + 14 + this.tip.offsetWidth > width ? place[0] - 14 - this.tip.offsetWidth : place[0] + 14;
    const top = Math.min(place[1] + 10, height - this.tip.offsetHeight - 2);
    Object.assign(this.tip.style, { left: `${Math.max(2, left)}px`, top: `${Math.max(2, top)}px` });
  }

  hideTip() {
    this.tip.hidden = true;
  }

  rolled(event) {
    event.preventDefault();
    const pixels = event.deltaMode === 1 ? event.deltaY * 30 : event.deltaY;
    this.zoom(Math.exp(-Math.max(-300, Math.min(300, pixels)) * 0.002), ...this.place(event));
  }

  key(event) {
    const [width, height] = this.size;
    if (KEYS[event.key]) {
      if (this.camera.dimensions === 3 && !event.shiftKey) this.camera.rotate(...KEYS[event.key].map((one) => -one / 4));
      else this.camera.pan(...KEYS[event.key], width, height);
    } else if (event.key === "+" || event.key === "=") this.camera.zoomAt(1.4, width / 2, height / 2, width, height);
    else if (event.key === "-") this.camera.zoomAt(1 / 1.4, width / 2, height / 2, width, height);
    else if (event.key === "0") this.camera.reset();
    else return;
    event.preventDefault();
    this.on.moved();
  }

  /** Move to a point of the map, closer than now; at once where motion is unwanted. */
  fly(point, zoom = Math.max(8, this.camera.zoom)) {
    const { camera } = this;
    const from = { center: [...camera.center], zoom: camera.zoom }, started = performance.now();
    const time = matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : 350;
    this.flight = started;
    const go = (now) => {
      if (this.flight !== started) return; // another flight has begun
      const share = time ? Math.min(1, Math.max(0, (now - started) / time)) : 1, eased = share * share * (3 - 2 * share);
      camera.center = from.center.map((one, n) => one + (point[n] - one) * eased);
      camera.zoom = from.zoom * (zoom / from.zoom) ** eased;
      this.on.moved();
      if (share < 1) requestAnimationFrame(go);
    };
    requestAnimationFrame(go);
  }

  /** Whether a point is within the map. */
  shows(point) {
    const [width, height] = this.size, [left, top] = projected(this.camera.rows(width, height), point);
    return left > 0 && top > 0 && left < width && top < height;
  }
}
