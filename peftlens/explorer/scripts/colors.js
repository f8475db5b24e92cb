// Colors of the tokens, by kind, cluster, length of the embedding, nearness to the labels, or what an
// adapter raises and lowers. Scales are stretched to the middle 98 % of their values.

import { levelAt } from "./data.js";

const OKABE_ITO = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a8f98"];
const HUES = ["#4e79a7", "#e15759", "#59a14f", "#edc948", "#b07aa1", "#f28e2b", "#76b7b2", "#ff9da7", "#9c755f", "#8cd17d", "#a0cbe8", "#d4a6c8"];
const NEUTRAL = "#8a8f98";
const GROWING = { light: ["#cfd8df", "#56b4e9", "#0072b2", "#08264a"], dark: ["#3a4751", "#0072b2", "#56b4e9", "#e3f4ff"] };
const CHANGES = ["#d55e00", NEUTRAL, "#009e73"];
const STEPS = 255;

/** Colors by one of the choices: { index, palette, legend }; a legend is a scale or a list. */
export function coloring(data, choice, theme) {
  const change = choice.startsWith("change") && data.changes[choice.slice("change".length)];
  if (change) {
    const real = Float32Array.from(change.values, (one) => ((one - 128) / 127) * change.limit);
    return scaled(real, [-change.limit, change.limit], CHANGES, "logits of the last layer's difference");
  }
  if (choice === "norm") {
    const real = Float32Array.from(data.norm.levels, (_, id) => levelAt(data.norm, id));
    return scaled(real, middle(real), GROWING[theme], "length of the embedding");
  }
  if (choice === "task" && data.task) {
    const real = Float32Array.from(data.task, (one) => one / 255);
    return scaled(real, middle(real), GROWING[theme], "highest cosine to a label");
  }
  if (choice === "cluster" && data.cluster) return clusters(data);
  const counts = new Array(data.kinds.length).fill(0);
  for (const kind of data.kind) counts[kind] += 1;
  const entries = data.kinds.map((name, kind) => ({ name, color: OKABE_ITO[kind], count: counts[kind], group: `kind:${kind}` }));
  return { index: data.kind, palette: paletteOf(OKABE_ITO), legend: { entries: entries.filter((one) => one.count) } };
}

function clusters(data) {
  // neighboring numbers get colors far apart
  const index = Uint8Array.from(data.cluster, (one) => (one === 65535 ? HUES.length : (one * 7) % HUES.length));
  const note = `${data.clusterNames.length.toLocaleString("en")} clusters share ${HUES.length} colors; their names are on the map`;
  return { index, palette: paletteOf([...HUES, NEUTRAL]), legend: { entries: [], note } };
}

function scaled(values, [low, high], stops, title) {
  const index = Uint8Array.from(values, (one) => Math.round(Math.min(1, Math.max(0, (one - low) / (high - low || 1))) * (STEPS - 1)));
  const colors = Array.from({ length: STEPS }, (_, n) => mixed(stops, n / (STEPS - 1)));
  return { index, palette: Uint8Array.from(colors.flat()), legend: { title, stops, ticks: [low, (low + high) / 2, high] } };
}

/** First and 99th percentile. */
function middle(values) {
  const order = Float32Array.from(values).sort();
  const at = (share) => order[Math.round(share * (order.length - 1))];
  return [at(0.01), at(0.99)];
}

const rgb = (color) => [1, 3, 5].map((at) => Number.parseInt(color.slice(at, at + 2), 16));
const paletteOf = (colors) => Uint8Array.from(colors.flatMap(rgb));

function mixed(stops, share) {
  const place = share * (stops.length - 1), from = Math.min(stops.length - 2, Math.floor(place));
  const [one, other] = [rgb(stops[from]), rgb(stops[from + 1])];
  return one.map((value, n) => Math.round(value + (other[n] - value) * (place - from)));
}

/** The page's background as r, g and b. */
export function backgroundOf(element) {
  return getComputedStyle(element).backgroundColor.match(/\d+/g).slice(0, 3).map(Number);
}
