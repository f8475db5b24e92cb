// Tables and lists below the map: everything on the map is also available as text.

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

/** Make a table with a row for each list of cells; a cell is text or an element. */
export function table(header, rows) {
  const head = made("tr", {}, ...header.map((text) => made("th", { scope: "col" }, text)));
  const body = rows.map((cells) => made("tr", {}, ...cells.map((cell) => made("td", {}, cell))));
  return made("table", {}, made("thead", {}, head), made("tbody", {}, ...body));
}

/** Format a number; zero has no sign, whether it was rounded or not. */
export const number = (value, digits = 3) =>
  value === null || value === undefined ? "–" : (Number(value.toFixed(digits)) || 0).toFixed(digits);

/** Make a table of one vector's neighbors at one step by each metric, as measured by the probe. */
export function neighborTable(data, run, step, vector) {
  const rows = Object.entries(run.near).map(([metric, found]) => {
    const ids = found.ids[step][vector];
    const words = ids.map((id, n) => made("span", { class: "token", title: `id ${id}, ${number(found.similarity[step][vector][n], 4)}` }, data.tokens[id]));
    return [metric, made("span", {}, ...words.flatMap((one) => [one, " "])), number(found.similarity[step][vector][0], 4)];
  });
  return table(["metric", "nearest tokens", "similarity"], rows);
}

/** Make a table of tokens as buttons, each with a value. */
export function tokenTable(data, header, pairs, pick) {
  return table(header, pairs.map(([id, value]) => [made("button", { type: "button", class: "token", onclick: () => pick(id) }, data.tokens[id]), number(value, 2)]));
}

/** Make the rows of a layer's directions; `button` makes the first cell. */
export function directionTable(data, run, step, button) {
  const rows = run.positions.map((_, vector) => vector).filter((vector) => run.xy[step][vector]).map((vector) => [
    button(vector),
    run.names[step][vector],
    made("span", {}, ...run.near.tokens.ids[step][vector].flatMap((id) => [made("span", { class: "token" }, data.tokens[id]), " "])),
    number(run.near.tokens.similarity[step][vector][0], 2),
    String(run.sizes[step][vector]),
    run.q[step][vector] !== null && run.q[step][vector] < 0.001 ? "< 0.001" : number(run.q[step][vector]),
  ]);
  return table(["point", "of", "tokens raised most, or nearest", "by, or cosine", "size", "q"], rows);
}

/** Write tokens as CSV; text that a spreadsheet would evaluate as a formula gets an apostrophe. */
export function tokensCsv(data, ids) {
  const quoted = (text) => `"${(/^[=+\-@\t']/.test(text) ? "'" + text : text).replaceAll('"', '""')}"`;
  const clusters = data.clusterNames || [];
  const lines = ids.map((id) => [id, quoted(data.tokens[id]), quoted(clusters[data.cluster?.[id]] ?? ""), data.x[id], data.y[id]].join(","));
  return ["id,token,cluster,x,y", ...lines, ""].join("\n");
}
