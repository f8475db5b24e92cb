// The page: read the data, keep the state, and draw the view of the state.

import { readData, spaceOf } from "./data.js";
import { checked, readHash, writeHash } from "./state.js";
import { find } from "./search.js";
import { Camera } from "./camera.js";
import { MapView } from "./map.js";
import { asked, Neighbors } from "./neighbors.js";
import { backgroundOf, coloring } from "./colors.js";
import { showLegend } from "./legend.js";
import { clusterLabels } from "./labels.js";
import { made, tokenButton, tokensCsv } from "./lists.js";
import { directionFacts, measureName, nearestPart, shiftLists, summary, tokenFacts, vectorFacts, vectorList } from "./panel.js";

const MARKED = 200; // hits of a search with a circle and a label
const CLOSE = 150; // tokens in view from which on all have a label
const PLAY = 900; // ms between two steps

const data = await readData(document.getElementById("data"));
const by = (id) => document.getElementById(id);
const worlds = { 2: { x: data.x, y: data.y, z: null }, 3: spaceOf(data.space) };
const neighbors = new Neighbors(data.neighbors, data.norm);
const last = (run) => (data.runs[run] ? data.runs[run].steps.length - 1 : 0);
const defaults = { run: "0", pair: "", step: "last", vector: data.runs[0]?.kinds ? "0" : "", metric: "cosine", query: "", color: by("color").value, token: "", shift: "", group: "", ask: "", layer: "", space: "2", view: "" };
const below = (end) => (value) => value === "" || (/^\d{1,9}$/.test(value) && Number(value) < end);
const offered = (id) => (value) => [...(by(id)?.options ?? [])].some((one) => one.value === value);
const read = checked(readHash(location.hash, defaults), defaults, {
  run: offered("run"), pair: offered("pair"), metric: offered("metric"), color: offered("color"), layer: offered("layer"),
  token: below(data.tokens.length), shift: below(data.shifts.length), space: (value) => Boolean(worlds[value]),
  group: (value) => { const [kind, number_] = value.split(":"); return kind === "kind" ? below(data.kinds.length)(number_ ?? "x") : kind === "cluster" ? below(data.clusterNames.length)(number_ ?? "x") : value === ""; },
});
const state = checked(read, defaults, {
  step: (value) => value === "last" || below(last(read.run) + 1)(value),
  vector: below(data.runs[read.run]?.positions.length ?? 0),
});
const camera = new Camera(worlds);
const dark = matchMedia("(prefers-color-scheme: dark)");
const shorter = Float32Array.from(data.norm.levels).sort();
let selected = [], hovered = null, playing = null, hit = -1;
let found = null, emphasized = null, colors = null, names = [], nearest = {};

const pickToken = (id) => { const point = pointOf(id); change({ token: String(id), vector: "", ask: "" }); if (!maps.run.view.shows(point)) maps.run.view.fly(point, camera.zoom); };
const pickVector = (side) => (vector) => change({ vector: String(vector), token: "", ask: "" });
const world = () => camera.world;
const pointOf = (id) => [world().x[id], world().y[id], ...(world().z ? [world().z[id]] : [])];
const runOf = (side) => data.runs[Number(side === "run" || state.pair === "start" ? state.run : state.pair)];
const sides = () => (state.pair === "" ? ["run"] : ["run", "pair"]);
const nearOf = (run) => run.near[state.metric] ?? Object.values(run.near)[0];
// runs may have different saved steps: the slider follows the first run's, the other by its share
const stepOf = (side) => {
  const share = state.step === "last" ? 1 : Number(state.step) / (last(state.run) || 1);
  return side === "pair" && state.pair === "start" ? 0 : Math.round(share * last(side === "pair" ? state.pair : state.run));
};

const maps = {};
for (const side of ["run", "pair"]) {
  const element = by(`map-${side}`);
  const view = new MapView(element, camera, () => sceneOf(side), {
    moved,
    clicked: (id) => (id === null ? change({ token: "", vector: "", ask: "" }) : change({ token: String(id), vector: "", ask: "" })),
    hovered: (id) => { if (hovered !== id) { hovered = id; drawMaps(); } view.showTip(id === null ? null : tipOf(id)); },
    selected: (ids) => { selected = ids; showSelected(); },
  });
  maps[side] = { element, view };
}

function tipOf(id) {
  const cluster = data.clusterNames?.[data.cluster?.[id]];
  return [made("b", { class: "token" }, data.tokens[id]), made("span", {}, ` ${data.kinds[data.kind[id]]}`), ...(cluster ? [made("br"), made("span", {}, cluster)] : [])];
}

/** What one map shows; see `MapView`. */
function sceneOf(side) {
  const run = runOf(side), step = stepOf(side);
  const shift = data.shifts[state.shift];
  const chosen = hovered ?? (state.token === "" ? null : Number(state.token));
  const near = (nearOfSelection(side) ?? []).map(({ id }) => id);
  return {
    style: { index: colors.index, palette: colors.palette, background: backgroundOf(maps[side].element), emphasized },
    marks: {
      ways: run ? waysOf(side, run, step) : [],
      found: (found?.ids ?? []).slice(0, MARKED).map(pointOf),
      near: near.map(pointOf),
      query: state.ask && nearest.found?.length ? center(nearest.found) : null,
      raised: shift ? shift.raised.map(([id]) => pointOf(id)) : [],
      lowered: shift ? shift.lowered.map(([id]) => pointOf(id)) : [],
      chosen: chosen === null ? null : pointOf(chosen),
    },
    labels: (points) => labelsOf(chosen, near, points),
  };
}

function waysOf(side, run, step) {
  const place = (point) => point && (camera.dimensions === 3 ? point.slice(2) : point.slice(0, 2));
  return run.positions.map((position, vector) => ({
    // directions of different layers are not states of one vector
    points: run.xyz.map((one, n) => (run.kinds && n !== step ? null : place(one[vector]))),
    step,
    label: run.names?.[step][vector] ?? [`${run.name}, vector ${position}`, run.verdicts?.[step]?.[vector]].filter(Boolean).join(": "),
    number: run.kinds ? "" : String(position),
    shape: run.kinds?.[vector] ?? "now",
    active: state.vector === String(vector),
    pick: () => pickVector(side)(vector),
  }));
}

/** Labels by priority: selected and nearest tokens, hits, clusters, and all tokens if there are few. */
function labelsOf(chosen, near, points) {
  const token = (kind) => (id) => ({ point: pointOf(id), text: data.tokens[id], kind });
  const few = points.visible(CLOSE);
  return [
    ...(chosen === null ? [] : [token("picked")(chosen)]),
    ...near.map(token("nearest")),
    ...(found?.ids ?? []).slice(0, MARKED).map(token("hit")),
    ...names.map(({ cluster, id, text }) => ({ point: pointOf(id), text, kind: "cluster", centered: true, pick: () => change({ group: state.group === `cluster:${cluster}` ? "" : `cluster:${cluster}` }) })),
    ...(few ?? []).map(token("any")),
  ];
}

/** Nearest tokens of the selection on a side's map: [{ id, similarity }], or null. */
function nearOfSelection(side) {
  if (state.token !== "" || state.ask !== "") return nearest.found ?? null;
  const run = runOf(side), vector = Number(state.vector), step = stepOf(side);
  if (state.vector === "" || !run?.xyz[step]?.[vector]) return null;
  const near = nearOf(run);
  return near.ids[step][vector].map((id, n) => ({ id, similarity: near.similarity[step][vector][n] }));
}

/** Place of a queried vector: the mean of its nearest tokens' points, as trained vectors are placed. */
function center(list) {
  const weights = list.map(({ similarity }) => Math.max(1e-6, 1 - similarity) ** -4);
  const total = weights.reduce((sum, one) => sum + one, 0);
  return pointOf(list[0].id).map((_, axis) => list.reduce((sum, { id }, n) => sum + (weights[n] / total) * pointOf(id)[axis], 0));
}

/** Find the nearest tokens of the selected token or question; the server answers if there is one. */
async function lookUp() {
  const asking = state.token !== "" ? `#${state.token}` : state.ask;
  nearest = {};
  if (asking === "") return;
  if (data.live) {
    const run = runOf("run");
    const wanted = nearest;
    const answer = await asked({ q: asking, metric: state.metric, count: state.token === "" ? 20 : 21, layer: state.layer, run: run?.kinds ? "" : (data.ids[state.run] ?? ""), step: run && !run.kinds ? run.steps[stepOf("run")] : "" });
    if (nearest !== wanted) return; // another one was selected meanwhile
    nearest = answer.error ? answer : { found: answer.neighbors.filter(({ id }) => String(id) !== state.token).slice(0, 20) };
    showChosen();
    drawMaps();
  } else if (neighbors.metrics.includes(state.metric)) nearest = { found: neighbors.of(Number(state.token), state.metric) };
  else nearest = { note: `Of so many tokens this page keeps the neighbors by ${neighbors.metrics.map(measureName).join(", ") || "no metric"}; peftlens explore --serve finds those by every metric.` };
}

function showFound() {
  found = find(data.tokens, state.query);
  hit = -1;
  emphasized = maskOf();
  const ids = found?.ids ?? [];
  by("count").textContent = !found ? "" : !found.readable ? "This expression is invalid." : `${ids.length.toLocaleString("en")} tokens${ids.length > MARKED ? `, the first ${MARKED} of them labeled` : ""}`;
  by("found").replaceChildren(...ids.slice(0, 60).map((id) => tokenButton(data, id, (one) => { pickToken(one); maps.run.view.fly(pointOf(one)); })));
}

/** Mask of the tokens that stand out: hits of the search, or a kind or cluster; null if all do. */
function maskOf() {
  if (found?.ids.length) {
    const mask = new Uint8Array(data.tokens.length);
    for (const id of found.ids) mask[id] = 1;
    return mask;
  }
  const [kind, value] = state.group.split(":");
  const values = { kind: data.kind, cluster: data.cluster }[kind];
  return values ? Uint8Array.from(values, (one) => Number(one === Number(value))) : null;
}

/** Fly to the next hit, or to the previous one. */
function flyToHit(by_) {
  const ids = found?.ids ?? [];
  if (!ids.length) return;
  hit = (hit + by_ + ids.length) % ids.length;
  change({ token: String(ids[hit]), vector: "", ask: "" });
  maps.run.view.fly(pointOf(ids[hit]));
}

function showChosen() {
  const parts = [];
  const title = `Nearest by ${measureName(state.metric)}`;
  if (state.token !== "") {
    const id = Number(state.token);
    const share = shorter.filter((one) => one < data.norm.levels[id]).length / Math.max(1, shorter.length - 1);
    parts.push(made("h2", {}, "Token ", made("span", { class: "token" }, data.tokens[id])),
      tokenFacts(data, id, share, (cluster) => change({ group: `cluster:${cluster}` })), nearestPart(data, nearest, title, pickToken));
  } else if (state.ask !== "") parts.push(made("h2", {}, "Answer to ", made("span", { class: "token" }, state.ask)), nearestPart(data, nearest, title, pickToken));
  else if (state.vector !== "") parts.push(...sides().flatMap((side) => vectorParts(side, title)));
  by("chosen").replaceChildren(...parts);
  by("hint").hidden = parts.length > 0;
}

function vectorParts(side, title) {
  const run = runOf(side), vector = Number(state.vector), step = stepOf(side);
  if (!run?.xyz[step]?.[vector]) return [];
  const list = nearestPart(data, { found: nearOfSelection(side) }, run.kinds ? (run.kinds[vector] === "reads" ? "Nearest, by cosine" : "Raised most, by") : title, pickToken);
  if (run.kinds) return [made("h2", {}, `${run.name}, layer ${run.steps[step]}: ${run.names[step][vector]}`), directionFacts(run, step, vector), list];
  return [made("h2", {}, `${run.name}, vector ${run.positions[vector]}, step ${run.steps[step]}`), vectorFacts(run, step, vector), list];
}

function showVectors() {
  const parts = sides().map((side) => {
    const run = runOf(side), step = stepOf(side);
    if (!run) return "";
    const title = run.kinds ? `${run.name}, layer ${run.steps[step]}` : `${run.name}, step ${run.steps[step]}${run.verdict ? `: ${run.verdict}` : ""}`;
    return made("div", {}, made("h2", {}, title), summary(run, step), vectorList(data, run, step, nearOf(run), state.vector, pickVector(side)));
  });
  by("vectors").replaceChildren(...parts);
  if (by("inside")) by("inside").hidden = !sides().some((side) => runOf(side)?.kinds);
}

function showShift() {
  const shift = data.shifts[state.shift];
  by("shifted").replaceChildren(...(shift ? [shiftLists(data, shift, pickToken)] : []));
}

function showSelected() {
  by("selection").textContent = selected.length ? `${selected.length.toLocaleString("en")} tokens selected: ${selected.slice(0, 12).map((id) => data.tokens[id]).join(" ")}${selected.length > 12 ? " …" : ""}` : "";
  by("export").hidden = !selected.length;
}

function exportSelected() {
  const link = made("a", { download: "tokens.csv", href: URL.createObjectURL(new Blob([tokensCsv(data, selected)], { type: "text/csv" })) });
  link.click();
  URL.revokeObjectURL(link.href);
}

/** Change the state and update its views. */
function change(changes) {
  const before = { ...state };
  Object.assign(state, changes);
  keep();
  const differs = (...keys) => keys.some((key) => before[key] !== state[key]);
  if (differs("query")) showFound();
  if (differs("group")) emphasized = maskOf();
  if (differs("color", "group")) recolor();
  if (differs("space")) setSpace();
  if (differs("pair")) arrange();
  if (differs("run")) setSlider();
  // a trained vector in a question is that of the run and step
  if (differs("token", "ask", "metric", "layer") || (state.ask !== "" && differs("run", "step"))) lookUp();
  if (differs("run", "pair", "step", "metric", "vector")) showVectors();
  if (differs("run", "pair", "step", "metric", "vector", "token", "ask", "layer")) showChosen();
  if (differs("step")) showStep();
  if (differs("shift")) showShift();
  drawMaps();
}

let keeping = null;
/** Keep the state in the address, after a pause: browsers limit how often it may change. */
function keep(pause = 0) {
  clearTimeout(keeping);
  const store = () => history.replaceState(null, "", `#${writeHash(state, defaults)}`);
  // a notebook's frame has no address to store the state in
  if (location.protocol === "about:") return;
  if (pause) keeping = setTimeout(store, pause);
  else store();
}

function moved() {
  state.view = camera.toText();
  keep(200);
  drawMaps();
}

function setSpace() {
  camera.choose(Number(state.space));
  state.view = "";
  names = clusterLabels(data, world());
  for (const one of ["2", "3"]) by(`space-${one}`)?.setAttribute("aria-pressed", String(String(camera.dimensions) === one));
}

function setSlider() {
  const slider = by("step");
  slider.max = String(last(state.run));
  by("steps").hidden = last(state.run) === 0;
  showStep();
}

function showStep() {
  const run = runOf("run");
  by("step").value = String(stepOf("run"));
  by("step-name").textContent = run?.kinds ? "Layer" : "Step";
  by("step-shown").textContent = run ? String(run.steps[stepOf("run")]) : "";
}

/** Start or stop going through the steps. */
function play() {
  const stop = () => { clearInterval(playing); playing = null; by("play").textContent = "▶"; by("play").setAttribute("aria-label", "Play"); };
  if (playing) { stop(); return; }
  if (!last(state.run)) return;
  if (stepOf("run") === last(state.run)) change({ step: "0" });
  by("play").textContent = "⏸";
  by("play").setAttribute("aria-label", "Pause");
  playing = setInterval(() => { goStep(1); if (stepOf("run") === last(state.run)) stop(); }, PLAY);
}

const goStep = (by_) => change({ step: String(Math.max(0, Math.min(last(state.run), stepOf("run") + by_))) });

function recolor() {
  colors = coloring(data, state.color, dark.matches ? "dark" : "light");
  showLegend(by("legend"), colors.legend, state.group, (group) => change({ group: state.group === group ? "" : group }));
  by("group").hidden = state.group === "";
  const [kind, value] = state.group.split(":");
  by("group").textContent = `Only ${kind === "cluster" ? `the cluster ${data.clusterNames[value]}` : data.kinds[value]} ×`;
}

function arrange() {
  const two = sides().length === 2;
  maps.pair.element.hidden = !two;
  by("maps").classList.toggle("two", two);
  for (const side of sides()) maps[side].element.setAttribute("data-title", two ? `${runOf(side)?.name ?? ""}${state.pair === "start" && side === "pair" ? ", at the start" : ""}` : "");
}

function drawMaps() {
  for (const side of sides()) {
    maps[side].element.classList.toggle("dimmed", emphasized !== null);
    maps[side].view.draw();
  }
}

function lasso(on) {
  by("lasso").setAttribute("aria-pressed", String(on));
  for (const { view, element } of Object.values(maps)) { view.lassoing = on; element.classList.toggle("lassoing", on); }
}

/** Undo the latest of: a lasso, a selection, a search, a shown group. */
function escape() {
  if (maps.run.view.lassoing || selected.length) { lasso(false); selected = []; showSelected(); } else if (state.token !== "" || state.vector !== "" || state.ask !== "") change({ token: "", vector: "", ask: "" });
  else if (state.query !== "") { by("query").value = ""; change({ query: "" }); } else change({ group: "" });
}

const SHORTCUTS = { "/": () => by("query").focus(), "[": () => goStep(-1), "]": () => goStep(1), p: play, 2: () => change({ space: "2" }), 3: () => worlds[3] && change({ space: "3" }), l: () => lasso(!maps.run.view.lassoing), v: () => nextVector(1), V: () => nextVector(-1) };

function nextVector(by_) {
  const count = runOf("run")?.positions.length ?? 0;
  if (count) pickVector("run")(state.vector === "" ? (by_ > 0 ? 0 : count - 1) : (Number(state.vector) + by_ + count) % count);
}

function wire() {
  for (const name of ["query", "color", "metric", "run", "pair", "shift", "layer"]) {
    const control = by(name);
    if (!control) continue;
    control.value = state[name];
    control.addEventListener(name === "query" ? "input" : "change", () => change({ [name]: control.value }));
  }
  by("query").addEventListener("keydown", (event) => { if (event.key === "Enter") { event.preventDefault(); flyToHit(event.shiftKey ? -1 : 1); } });
  if (by("ask")) {
    by("ask").value = state.ask;
    by("ask").addEventListener("change", () => change({ ask: by("ask").value.trim(), token: "", vector: "" }));
  }
  by("step").addEventListener("input", (event) => change({ step: event.target.value }));
  by("play").addEventListener("click", play);
  by("export").addEventListener("click", exportSelected);
  by("lasso").addEventListener("click", () => lasso(!maps.run.view.lassoing));
  by("reset").addEventListener("click", () => { camera.reset(); moved(); });
  by("group").addEventListener("click", () => change({ group: "" }));
  for (const one of ["2", "3"]) by(`space-${one}`)?.addEventListener("click", () => change({ space: one }));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { escape(); return; }
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
    if (SHORTCUTS[event.key]) { event.preventDefault(); SHORTCUTS[event.key](); }
  });
  dark.addEventListener("change", () => { recolor(); drawMaps(); });
  new ResizeObserver(drawMaps).observe(by("maps"));
}

by("screen").hidden = false;
setSpaceFromState();
recolor();
arrange();
setSlider();
showFound();
lookUp();
showVectors();
showChosen();
showShift();
wire();
for (const side of sides()) maps[side].view.drawNow();
document.body.dataset.drawn = sides().join(" ");

function setSpaceFromState() {
  const view = state.view;
  setSpace();
  if (view) camera.fromText(view);
  state.view = view;
}
