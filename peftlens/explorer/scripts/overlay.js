// Overlay on the points: vectors of a prompt with their paths, tokens found by the search, and the
// selected token. A few hundred marks in SVG, which are fast to draw.

const SVG = "http://www.w3.org/2000/svg";
const SHAPES = { now: "M-6-6H6V6H-6Z", difference: "M-6-6H6V6H-6Z", writes: "M-2-7H2V-2H7V2H2V7H-2V2H-7V-2H-2Z", reads: "M-6 0A6 6 0 1 1 6 0A6 6 0 1 1-6 0Z", start: "M0-6L6 0 0 6-6 0Z", raised: "M0-7L6 5H-6Z", lowered: "M0 7L6-5H-6Z" };

function node(parent, name, attributes) {
  const made = parent.appendChild(document.createElementNS(SVG, name));
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/** Redraw the overlay.
 *  @param layer the SVG; @param cloud maps points to positions; @param shown: { ways, found, chosen,
 *  near, raised, lowered }: points on the map, except for the ways and near, which have a text.
 *  A way is { xy: one [x, y] or null per step, step, label, shape, active, pick }. */
export function drawOverlay(layer, cloud, shown) {
  layer.replaceChildren();
  const at = ([x, y]) => cloud.place(x, y);
  for (const point of shown.found) {
    const [cx, cy] = at(point);
    node(layer, "circle", { cx, cy, r: 4, class: "found" });
  }
  for (const { point, text } of [...shown.near].reverse()) { // the first ones on top
    const [cx, cy] = at(point);
    node(layer, "circle", { cx, cy, r: 5, class: "near" });
    node(layer, "text", { x: cx + 8, y: cy + 4 }).textContent = text;
  }
  for (const kind of ["raised", "lowered"]) {
    for (const point of shown[kind]) node(layer, "path", { d: SHAPES[kind], transform: `translate(${at(point)})`, class: kind });
  }
  for (const way of shown.ways) {
    if (!way.xy[way.step]) continue;
    const places = way.xy.slice(0, way.step + 1).filter(Boolean).map(at);
    const group = node(layer, "g", { class: way.active ? "way active" : "way" });
    node(group, "polyline", { points: places.map((one) => one.join()).join(" ") });
    const mark = (place, shape) => node(group, "path", { d: SHAPES[shape], transform: `translate(${place})`, class: shape });
    if (way.shape === "now") mark(places[0], "start");
    const last = mark(places.at(-1), way.shape);
    node(last, "title", {}).textContent = way.label;
    last.addEventListener("click", way.pick);
  }
  if (shown.chosen) {
    const [cx, cy] = at(shown.chosen);
    node(layer, "circle", { cx, cy, r: 9, class: "chosen" });
  }
}
