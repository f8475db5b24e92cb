// Parts of the side panel: lists of tokens with bars, descriptions, and the CSV of a selection.

/** Make an element with text, attributes and children. */
export function made(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== null) element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

/** Format a number; zero has no sign, whether it was rounded or not. */
export const number = (value, digits = 3) =>
  value === null || value === undefined ? "–" : (Number(value.toFixed(digits)) || 0).toFixed(digits);

/** Format a q-value. */
export const qValue = (value) => (value !== null && value !== undefined && value < 0.001 ? "< 0.001" : number(value));

/** Make a button with a token's text. */
export const tokenButton = (data, id, pick) =>
  made("button", { type: "button", class: "token", title: `token ${id}`, onclick: () => pick(id) }, data.tokens[id]);

/** Make a list of tokens as buttons, each with a number and a bar of its share.
 *  @param found [{ id, similarity }]; @param pick called with the id of a clicked token. */
export function barList(data, found, pick) {
  const values = found.map((one) => one.similarity);
  const distances = values.every((one) => one < 0); // Euclidean: the shorter bar is nearer
  const largest = Math.max(...values.map(Math.abs), 1e-12);
  const digits = largest < 10 ? 3 : 1; // the page's cosines are rounded
  const rows = found.map(({ id, similarity, flags }) => {
    const bar = made("span", { class: "bar" });
    bar.style.width = `${Math.max(1, (100 * Math.abs(similarity)) / largest)}%`;
    return made("li", {},
      tokenButton(data, id, pick),
      made("span", { class: distances ? "track far" : "track", "aria-hidden": "true" }, bar),
      made("span", { class: "value" }, number(distances ? -similarity : similarity, digits)),
      ...(flags ? [made("span", { class: "flags" }, flags)] : []));
  });
  return made("ol", { class: "bars" }, ...rows);
}

/** Make a list of names and values; values are text or elements, rows without one are left out. */
export function facts(pairs) {
  const shown = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return made("dl", {}, ...shown.flatMap(([name, value]) => [made("dt", {}, name), made("dd", {}, value)]));
}

/** Write tokens as CSV; text that a spreadsheet would evaluate as a formula gets an apostrophe. */
export function tokensCsv(data, ids) {
  const quoted = (text) => `"${(/^[=+\-@\t']/.test(text) ? "'" + text : text).replaceAll('"', '""')}"`;
  const clusters = data.clusterNames || [];
  const lines = ids.map((id) => [id, quoted(data.tokens[id]), quoted(clusters[data.cluster?.[id]] ?? ""), data.x[id], data.y[id]].join(","));
  return ["id,token,cluster,x,y", ...lines, ""].join("\n");
}
