// Labels on the map that do not overlap: those of a higher priority are placed first, so that more of
// them appear as one zooms in.

const FONT = "12px ui-monospace, monospace";
const HEIGHT = 15;
const MOST = 90; // labels on one map
const widths = new Map();
let paper = null;

function widthOf(text) {
  if (!widths.has(text)) {
    if (!paper) { paper = document.createElement("canvas").getContext("2d"); paper.font = FONT; }
    widths.set(text, paper.measureText(text).width + 4);
  }
  return widths.get(text);
}

/** Choose labels without overlaps.
 *  @param wanted [{ left, top, text, centered }] by priority; @param width, height of the map;
 *  @param taken boxes [left, top, right, bottom] that stay free. */
export function placedLabels(wanted, width, height, taken = []) {
  const boxes = [...taken], placed = [];
  for (const label of wanted) {
    if (placed.length === MOST) break;
    const wide = widthOf(label.text);
    const left = label.centered ? label.left - wide / 2 : label.left + 8;
    const top = label.top - HEIGHT / 2;
    if (left < 0 || top < 0 || left + wide > width || top + HEIGHT > height) continue;
    const box = [left, top, left + wide, top + HEIGHT];
    if (boxes.some((one) => box[0] < one[2] && one[0] < box[2] && box[1] < one[3] && one[1] < box[3])) continue;
    boxes.push(box);
    placed.push({ ...label, x: left + 2, y: label.top + 4 });
  }
  return placed;
}

/** Place and name of each cluster, the largest first: the token nearest to the median of its tokens. */
export function clusterLabels(data, world) {
  if (!data.cluster) return [];
  const members = new Map();
  data.cluster.forEach((cluster, id) => {
    if (cluster !== 65535) members.get(cluster)?.push(id) ?? members.set(cluster, [id]);
  });
  const axes = ["x", "y", "z"].filter((axis) => world[axis]);
  return [...members].map(([cluster, ids]) => {
    const median = axes.map((axis) => ids.map((id) => world[axis][id]).sort((a, b) => a - b)[ids.length >> 1]);
    const far = (id) => axes.reduce((sum, axis, n) => sum + (world[axis][id] - median[n]) ** 2, 0);
    const id = ids.reduce((best, one) => (far(one) < far(best) ? one : best));
    return { cluster, id, size: ids.length, text: shortened(data.clusterNames[cluster] ?? "") };
  }).filter((one) => one.text).sort((one, other) => other.size - one.size);
}

/** The first words of a name that fit into a label. */
export function shortened(name, most = 22) {
  const letters = [...name];
  if (letters.length <= most) return name;
  const words = name.split(", ");
  return [...words[0]].length <= most ? words[0] : `${letters.slice(0, most - 1).join("")}…`;
}
