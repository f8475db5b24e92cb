// Colors of the tokens, by cluster, kind, length of the embedding, nearness to the labels, or what an
// adapter raises and lowers.

const BLUES = [[0, "#8a8f98"], [0.5, "#56b4e9"], [1, "#0072b2"]];
const CHANGES = ["#d55e00", "#c26e35", "#a97f68", "#8a8f98", "#6d9590", "#489a83", "#009e73"];
const HUES = 24; // number of colors that clusters cycle through: more could not be distinguished

/** One color per token for one of the choices: cluster, norm, kind, task, change0 and so on. */
export function coloring(data, choice) {
  const change = choice.startsWith("change") && data.changes[choice.slice("change".length)];
  if (change) return { values: change.values, scale: steps(CHANGES), low: 1, high: 255, limit: change.limit };
  if (choice === "norm") return { values: data.norm, scale: BLUES, low: 0, high: 255 };
  if (choice === "task" && data.task) return { values: data.task, scale: BLUES, low: 0, high: 255 };
  if (choice === "cluster" && data.cluster) {
    // neighboring numbers get colors far apart
    const values = Array.from(data.cluster, (one) => (one === 65535 ? -1 : (one * 7) % HUES));
    return { values, scale: steps(["#8a8f98", ...hues()]), low: -1, high: HUES - 1 };
  }
  const okabe = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a8f98"];
  return { values: data.kind, scale: steps(okabe), low: 0, high: okabe.length - 1 };
}

function hues() {
  return Array.from({ length: HUES }, (_, n) => `hsl(${(n * 360) / HUES}, 55%, 52%)`);
}

/** A scale on which each whole number has one color. */
function steps(colors) {
  const last = colors.length - 1;
  return colors.map((color, n) => [n / last, color]);
}
