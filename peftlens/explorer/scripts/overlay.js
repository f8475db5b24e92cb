// Overlay on the points: vectors of a prompt with their paths, directions of an adapter, marks and
// labels of tokens. A few hundred marks in SVG, which are fast to draw.

const SVG = "http://www.w3.org/2000/svg";
const SHAPES = { now: "M-8-8H8V8H-8Z", difference: "M-8-8H8V8H-8Z", writes: "M-3-8H3V-3H8V3H3V8H-3V3H-8V-3H-3Z", reads: "M-8 0A8 8 0 1 1 8 0A8 8 0 1 1-8 0Z", start: "M0-6L6 0 0 6-6 0Z", raised: "M0-7L6 5H-6Z", lowered: "M0 7L6-5H-6Z" };

function node(parent, name, attributes) {
  const made = parent.appendChild(document.createElementNS(SVG, name));
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/** Redraw the overlay.
 *  @param layer the SVG; @param at function from a point of the map to [left, top], px;
 *  @param shown { ways, found, chosen, near, query, raised, lowered, labels, lasso }: points, and placed
 *  labels. A way is { points: one or null per step, step, label, number, shape, active, pick }. A mark
 *  and the name of a cluster keep their `pick`: the map calls it, as a click's end may find another
 *  node in the place of that of its beginning. */
export function drawOverlay(layer, at, shown) {
  layer.replaceChildren();
  const circle = (point, r, name) => {
    const [cx, cy] = at(point);
    node(layer, "circle", { cx, cy, r, class: name });
  };
  for (const point of shown.found) circle(point, 4, "found");
  for (const point of shown.near) circle(point, 5, "near");
  if (shown.query) circle(shown.query, 7, "query");
  for (const kind of ["raised", "lowered"]) {
    for (const point of shown[kind]) node(layer, "path", { d: SHAPES[kind], transform: `translate(${at(point)})`, class: kind });
  }
  if (shown.chosen) circle(shown.chosen, 9, "chosen");
  for (const label of shown.labels) {
    const text = node(layer, "text", { x: label.x, y: label.y, class: label.kind });
    text.textContent = label.text;
    text.pick = label.pick;
  }
  // the active vector on top
  for (const way of [...shown.ways].sort((one, other) => one.active - other.active)) drawWay(layer, at, way);
  if (shown.lasso) node(layer, "polygon", { points: shown.lasso.map((one) => one.join()).join(" "), class: "lasso" });
}

function drawWay(layer, at, way) {
  if (!way.points[way.step]) return;
  const places = way.points.slice(0, way.step + 1).filter(Boolean).map(at);
  const group = node(layer, "g", { class: way.active ? "way active" : "way" });
  node(group, "polyline", { points: places.map((one) => one.join()).join(" ") });
  if (way.shape === "now") node(group, "path", { d: SHAPES.start, transform: `translate(${places[0]})`, class: "start" });
  const mark = node(group, "g", { class: `mark ${way.shape}`, transform: `translate(${places.at(-1)})` });
  node(mark, "path", { d: SHAPES[way.shape], class: way.shape });
  node(mark, "title", {}).textContent = way.label;
  if (way.number !== "") node(mark, "text", { "text-anchor": "middle", y: 3.5, class: "number" }).textContent = way.number;
  mark.pick = way.pick;
}
