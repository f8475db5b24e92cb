// Legend of the colors: a scale with numbers, or a list of kinds that can be shown alone.

import { made, number } from "./lists.js";

/** Fill the element; `pick` is called with the group of a clicked entry. */
export function showLegend(element, { title, stops, ticks, entries, note }, group, pick) {
  const parts = [];
  if (ticks) {
    const ramp = made("span", { class: "ramp" });
    ramp.style.background = `linear-gradient(90deg, ${stops.join(", ")})`;
    const digits = Math.max(...ticks.map(Math.abs)) < 10 ? 2 : 1;
    parts.push(made("span", { class: "title" }, title), ramp,
      made("span", { class: "ticks" }, ...ticks.map((one) => made("span", {}, number(one, digits)))));
  }
  for (const entry of entries ?? []) {
    const swatch = made("span", { class: "swatch" });
    swatch.style.background = entry.color;
    parts.push(made("button", { type: "button", "aria-pressed": String(group === entry.group), onclick: () => pick(entry.group) },
      swatch, `${entry.name} `, made("span", { class: "count" }, entry.count.toLocaleString("en"))));
  }
  if (note) parts.push(made("span", { class: "note" }, note));
  element.replaceChildren(...parts);
}
