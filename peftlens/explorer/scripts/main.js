// The page: read the data, keep the state, and draw the view of the state.

import { readData } from "./data.js";
import { readHash, writeHash } from "./state.js";
import { find } from "./search.js";
import { Cloud } from "./cloud.js";
import { drawOverlay } from "./overlay.js";
import { coloring } from "./colors.js";
import { directionTable, made, neighborTable, number, table, tokenTable, tokensCsv } from "./lists.js";

const data = await readData(document.getElementById("data"));
const by = (id) => document.getElementById(id);
const points = { x: data.x, y: data.y };
const last = (run) => (data.runs[run] ? data.runs[run].steps.length - 1 : 0);
// the last layer's activation difference says most of an adapter
const defaults = { run: "0", pair: "", step: "last", vector: data.runs[0]?.kinds ? "0" : "", metric: "cosine", query: "", color: by("color").value, token: "", shift: "" };
const state = readHash(location.hash, defaults);
const pickToken = (id) => change({ token: String(id) });
let selected = [];
let hovered = null;

const runOf = (side) => data.runs[Number(side === "pair" ? state.pair : state.run)];
const sides = () => (state.pair === "" ? ["run"] : ["run", "pair"]);
const nearOf = (run) => run.near[state.metric] ?? Object.values(run.near)[0];
// runs may have different saved steps: the slider follows the first run's, the other by its share
const stepOf = (side) => {
  const share = state.step === "last" ? 1 : Number(state.step) / (last(state.run) || 1);
  return Math.round(share * last(side === "pair" ? state.pair : state.run));
};

const maps = {};
for (const side of ["run", "pair"]) {
  const element = by(`map-${side}`);
  maps[side] = { element, layer: element.querySelector("svg"), cloud: null };
}

function cloudOf(side) {
  const map = maps[side];
  const other = side === "run" ? "pair" : "run";
  map.cloud ??= new Cloud(map.element.querySelector(".points"), points, {
    moved: () => {
      overlay(side);
      const twin = maps[other].cloud;
      if (!twin || sides().length < 2 || same(twin.view, map.cloud.view)) return;
      twin.look(map.cloud.view);
    },
    clicked: (id) => change({ token: String(id) }),
    hovered: (id) => { hovered = id; sides().forEach(overlay); by("hover").textContent = id === null ? "" : data.tokens[id]; },
    selected: (ids) => { selected = ids; showSelected(); },
  });
  return map.cloud;
}

const same = (one, two) => ["x", "y"].every((axis) => one[axis].every((end, n) => Math.abs(end - two[axis][n]) < 1e-6));

function overlay(side) {
  const map = maps[side];
  if (!map.cloud) return;
  const run = runOf(side);
  const place = (id) => [data.x[id], data.y[id]];
  const step = stepOf(side);
  const ways = run ? run.positions.map((position, vector) => ({
    // directions of different layers are not states of one vector
    xy: run.xy.map((one, n) => (run.kinds && n !== step ? null : one[vector])),
    step,
    label: run.names?.[step][vector] ?? `${run.name}, vector ${position}`,
    shape: run.kinds?.[vector] ?? "now",
    active: state.vector === String(vector),
    pick: () => change({ vector: String(vector) }),
  })) : [];
  const near = (run && state.vector !== "" && nearOf(run).ids[step][Number(state.vector)]) || [];
  const shift = data.shifts[state.shift];
  const chosen = hovered ?? (state.token === "" ? null : Number(state.token));
  drawOverlay(map.layer, map.cloud, {
    ways,
    found: found.ids.map(place),
    near: near.map((id) => ({ point: place(id), text: data.tokens[id] })),
    raised: shift ? shift.raised.map(([id]) => place(id)) : [],
    lowered: shift ? shift.lowered.map(([id]) => place(id)) : [],
    chosen: chosen === null ? null : place(chosen),
  });
}

let found = find(data.tokens, state.query);

function showFound() {
  found = find(data.tokens, state.query);
  const summary = !state.query ? "" : !found.readable ? "This expression is invalid." : `${found.count.toLocaleString("en")} tokens`;
  by("count").textContent = summary + (found.count > found.ids.length ? `, the first ${found.ids.length} of them shown` : "");
  by("found").replaceChildren(...found.ids.slice(0, 60).map((id) =>
    made("button", { type: "button", class: "token", onclick: () => change({ token: String(id) }) }, data.tokens[id])));
}

function showVectors() {
  const parts = sides().map((side) => {
    const run = runOf(side);
    if (!run) return "";
    const step = stepOf(side);
    const button = (vector) => made("button", { type: "button", "aria-pressed": String(state.vector === String(vector)), onclick: () => change({ vector: String(vector) }) }, String(run.positions[vector]));
    if (run.kinds) return made("div", {}, made("h3", {}, `${run.name}, layer ${run.steps[step]}`), directionTable(data, run, step, button));
    const near = nearOf(run);
    const rows = run.positions.map((_, vector) => [
      button(vector),
      run.starts[vector] ?? "–",
      made("span", {}, ...near.ids[step][vector].flatMap((id) => [made("span", { class: "token" }, data.tokens[id]), " "])),
      number(near.similarity[step][vector][0]),
      number(run.displacement[step][vector], 2),
      run.offVocabulary[step][vector] === null ? "–" : `${Math.round(100 * run.offVocabulary[step][vector])} %`,
      run.verdicts[step]?.[vector] ?? "–",
      number(run.q[step]?.[vector]),
    ]);
    return made("div", {}, made("h3", {}, `${run.name}, step ${run.steps[step]}${run.verdict ? `: ${run.verdict}` : ""}`),
      table(["vector", "initial token", `nearest by ${state.metric}`, "similarity", "displacement", "off vocabulary", "verdict", "q"], rows));
  });
  by("vectors").replaceChildren(...parts);
}

function showChosen() {
  const parts = [];
  if (state.token !== "") {
    const id = Number(state.token);
    const cluster = data.clusterNames?.[data.cluster?.[id]];
    parts.push(made("h3", {}, "Token ", made("span", { class: "token" }, data.tokens[id])),
      made("p", {}, `id ${id}, ${data.kinds[data.kind[id]]}, longer than ${Math.round((100 * data.norm[id]) / 255)} % of the tokens${cluster ? `, in the cluster ${cluster}` : ""}`));
  }
  if (state.vector !== "") {
    for (const side of sides()) {
      const run = runOf(side), vector = Number(state.vector);
      if (!run || run.positions[vector] === undefined) continue;
      const step = stepOf(side);
      if (run.kinds && !run.xy[step][vector]) continue;
      if (run.kinds) {
        const { ids, similarity } = run.near.tokens;
        const pairs = ids[step][vector].map((id, n) => [id, similarity[step][vector][n]]);
        parts.push(made("h3", {}, `${run.name}, layer ${run.steps[step]}: ${run.names[step][vector]}`),
          tokenTable(data, run.kinds[vector] === "reads" ? ["nearest", "cosine"] : ["raised", "by"], pairs, pickToken));
        continue;
      }
      parts.push(made("h3", {}, `${run.name}, vector ${run.positions[vector]}, step ${run.steps[step]}`), neighborTable(data, run, step, vector));
    }
  }
  by("chosen").replaceChildren(...parts);
}

function showShift() {
  const shift = data.shifts[state.shift];
  by("shifted").replaceChildren(...(shift ? [made("h3", {}, `${shift.name}: logits on ${shift.text}`),
    made("div", { class: "beside" }, tokenTable(data, ["▲ raised", "by"], shift.raised, pickToken), tokenTable(data, ["▼ lowered", "by"], shift.lowered, pickToken))] : []));
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
  // a notebook's frame has no address to store the state in
  if (location.protocol !== "about:") history.replaceState(null, "", `#${writeHash(state, defaults)}`);
  const differs = (...names) => names.some((name) => before[name] !== state[name]);
  if (differs("query")) showFound();
  if (differs("run", "pair", "color")) drawMaps();
  if (differs("run")) setSlider();
  if (differs("run", "pair", "step", "metric", "vector")) showVectors();
  if (differs("run", "pair", "step", "metric", "vector", "token")) showChosen();
  if (differs("step")) showStep();
  if (differs("shift")) showShift();
  sides().forEach(overlay);
}

function setSlider() {
  const slider = by("step");
  slider.max = String(last(state.run));
  slider.value = state.step === "last" ? slider.max : state.step;
  slider.disabled = last(state.run) === 0;
  showStep();
}

function showStep() {
  const run = runOf("run");
  by("step-name").textContent = run?.kinds ? "Layer" : "Step";
  by("step-shown").textContent = run ? String(run.steps[stepOf("run")]) : "";
}

/** Show the scale of the colors, if they have one. */
function showScale({ limit }) {
  by("scale").hidden = limit === undefined;
  if (limit !== undefined) by("scale").replaceChildren(`lowered by ${number(limit, 1)} `, made("span", { class: "ramp" }), ` raised by ${number(limit, 1)} in the logits of the last layer's difference`);
}

async function drawMaps() {
  const two = sides().length === 2;
  maps.pair.element.hidden = !two;
  by("maps").classList.toggle("two", two);
  const colors = coloring(data, state.color);
  showScale(colors);
  for (const side of sides()) await cloudOf(side).draw(colors);
  document.body.dataset.drawn = sides().join(" ");
}

function wire() {
  for (const [id, name] of [["query", "query"], ["color", "color"], ["metric", "metric"], ["run", "run"], ["pair", "pair"], ["shift", "shift"]]) {
    const control = by(id);
    if (!control) continue;
    control.value = state[name];
    control.addEventListener(id === "query" ? "input" : "change", () => change({ [name]: control.value }));
  }
  by("step").addEventListener("input", (event) => change({ step: event.target.value }));
  by("export").addEventListener("click", exportSelected);
  by("redraw").addEventListener("click", () => location.reload());
  document.addEventListener("webglcontextlost", () => { by("lost").hidden = false; }, true);
  addEventListener("resize", () => drawMaps());
  by("maps").hidden = false;
}

setSlider();
showFound();
showVectors();
showChosen();
showShift();
wire();
drawMaps().then(() => { by("no-webgl").hidden = maps.run.cloud.webgl; });
