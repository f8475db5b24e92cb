// Sort tables by a click on a head, or Enter on it, and filter rows by the reader's text.
// Without this script all rows are shown in the order of the page.
(() => {
// A missing number is after all others, whatever the order.
function compare(a, b, isNumber, sign) {
  if (!isNumber) return sign * a.localeCompare(b, undefined, { numeric: true });
  const [x, y] = [parseFloat(a), parseFloat(b)];
  if (isNaN(x) || isNaN(y)) return isNaN(x) - isNaN(y);
  return sign * (x - y);
}

const valueOf = (row, place) => row.cells[place].dataset.value ?? row.cells[place].textContent;

function sort(table, place, order) {
  const body = table.tBodies[0];
  const isNumber = table.tHead.rows[0].cells[place].dataset.kind === "number";
  const sign = order === "ascending" ? 1 : -1;
  const rows = [...body.rows].sort((a, b) => compare(valueOf(a, place), valueOf(b, place), isNumber, sign));
  body.append(...rows);
  [...table.tHead.rows[0].cells].forEach((head, n) =>
    n === place ? head.setAttribute("aria-sort", order) : head.removeAttribute("aria-sort"));
}

// The first click puts the best value first, the second the worst.
function nextOrder(head) {
  const first = head.dataset.better === "higher" ? "descending" : "ascending";
  if (!head.hasAttribute("aria-sort")) return first;
  return head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((head, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sort(table, place, nextOrder(head)));
  });
}

const findings = [...document.querySelectorAll(".results .finding")].map((line) => ({ line, all: line.textContent }));

function best(rows, { column, descending }) {
  const scored = rows.filter((row) => !isNaN(parseFloat(row.cells[column].dataset.value)));
  const order = descending === "yes" ? -1 : 1;
  return scored.sort((a, b) => order * (a.cells[column].dataset.value - b.cells[column].dataset.value))[0];
}

// What the finding says is true of the rows that are shown.
function say({ line, all }, text) {
  const rows = [...line.parentElement.querySelectorAll("tbody tr")];
  const shown = rows.filter((row) => !row.hidden);
  if (!text) line.textContent = all;
  else if (!shown.length) line.textContent = `No configuration matches “${text}”.`;
  else {
    const first = best(shown, line.dataset);
    const count = `${shown.length} of ${rows.length} rows match “${text}”`;
    line.textContent = first
      ? `${count}; ${first.cells[0].textContent} has the ${line.dataset.descending === "yes" ? "highest" : "lowest"} ` +
        `${line.dataset.metric} of them: ${first.cells[line.dataset.column].textContent}${line.dataset.unit}.`
      : `${count}; none of them has a value of ${line.dataset.metric}.`;
  }
}

const reader = document.querySelector(".filter input");
reader.parentElement.hidden = false;
reader.addEventListener("input", () => {
  const text = reader.value.trim(), lower = text.toLowerCase();
  for (const row of document.querySelectorAll("main .scroll tbody tr")) {
    row.hidden = !`${row.textContent} ${row.title}`.toLowerCase().includes(lower);
  }
  findings.forEach((one) => say(one, text));
});
})();
