// The side panel: what is selected, with its nearest tokens, and the vectors of a run.

import { barList, facts, made, number, qValue, tokenButton } from "./lists.js";

/** Describe a token. */
export function tokenFacts(data, id, share, showCluster) {
  const cluster = data.cluster?.[id];
  const name = data.clusterNames?.[cluster];
  const link = name && made("button", { type: "button", class: "plain", onclick: () => showCluster(cluster) }, name);
  return facts([["id", String(id)], ["kind", data.kinds[data.kind[id]]], ["cluster", link],
    ["embedding", `longer than ${Math.round(100 * share)} % of the tokens'`],
    ["task", data.task && `cosine ${number(data.task[id] / 255, 2)} to the nearest label`]]);
}

/** Describe a trained vector at a step. */
export function vectorFacts(run, step, vector) {
  const verdict = run.verdicts[step]?.[vector];
  const off = run.offVocabulary[step][vector];
  return facts([["verdict", verdict && made("span", { class: "verdict" }, `${verdict}, q ${qValue(run.q[step]?.[vector])}`)],
    ["starts at", run.starts[vector]],
    ["displacement", run.displacement[step][vector] === null ? null : `${number(run.displacement[step][vector], 2)} of the start's length`],
    ["off vocabulary", off === null ? null : `${Math.round(100 * off)} % of the tokens have a nearer token`]]);
}

/** Describe a direction of an adapter in a layer. */
export function directionFacts(run, step, vector) {
  return facts([["of", run.names[step][vector]], ["size", String(run.sizes[step][vector])], ["q", run.q[step][vector] === null ? null : qValue(run.q[step][vector])]]);
}

/** Name the values of a list of neighbors. */
export const measureName = (metric) => ({ cosine: "cosine", centered: "cosine after centering", dot: "dot product", euclidean: "Euclidean distance", csls: "CSLS" })[metric] ?? metric;

/** Make the list of a selection: its neighbors, an explanation if there are none, or a mistake. */
export function nearestPart(data, nearest, title, pick) {
  if (nearest.error) return made("p", { class: "mistake", role: "alert" }, nearest.error);
  if (!nearest.found) return made("p", { class: "note" }, nearest.note ?? "…");
  return made("div", {}, made("h3", {}, title), barList(data, nearest.found, pick));
}

/** Say what the rows of a run's vectors show: how many verdicts of each kind, and what the numbers are. */
export function summary(run, step) {
  if (run.kinds) return "";
  const counts = new Map();
  for (const verdict of run.verdicts[step] ?? []) if (verdict) counts.set(verdict, (counts.get(verdict) ?? 0) + 1);
  const found = [...counts].sort((a, b) => b[1] - a[1]).map(([verdict, n]) => `${n} ${verdict}`).join(", ");
  const tested = found && ` Of ${run.positions.length} vectors: ${found}. “Start kept”: the nearest token is still that of the start, however far the vector moved. q: p-value of the test against chance, adjusted for the number of vectors.`;
  return made("p", { class: "note" }, `The nearest tokens of each vector; at the right, the closeness of the first.${tested}`);
}

/** Make rows of a run's vectors or a layer's directions: number, nearest tokens, verdict or q. */
export function vectorList(data, run, step, near, active, pick) {
  const rows = run.positions.map((position, vector) => {
    if (!run.xyz[step][vector]) return null;
    const verdict = run.kinds ? run.names[step][vector] : run.verdicts[step]?.[vector];
    const q = run.q[step]?.[vector] ?? null;
    const notes = [verdict, q === null ? null : `q ${qValue(q)}`].filter(Boolean).join(", ");
    const words = near.ids[step][vector].slice(0, 5).flatMap((id) => [made("span", { class: "token" }, data.tokens[id]), " "]);
    return made("li", {},
      made("button", { type: "button", "aria-pressed": String(active === String(vector)), onclick: () => pick(vector) }, String(position)),
      made("span", { class: "words" }, ...words),
      made("span", { class: "value" }, number(near.similarity[step][vector][0], 2)),
      ...(notes ? [made("span", { class: "note" }, notes)] : []));
  });
  return made("ol", { class: "vectors" }, ...rows.filter(Boolean));
}

/** Make the two lists of tokens that a run raises and lowers. */
export function shiftLists(data, shift, pick) {
  const list = (pairs) => made("ol", { class: "bars" }, ...pairs.map(([id, value]) =>
    made("li", {}, tokenButton(data, id, pick), made("span", { class: "value" }, number(value, 2)))));
  return made("div", {}, made("h2", {}, `${shift.name}: logits on ${shift.text}`),
    made("div", { class: "beside" }, made("div", {}, made("h3", {}, "▲ raised"), list(shift.raised)), made("div", {}, made("h3", {}, "▼ lowered"), list(shift.lowered))));
}
