const table = document.querySelector("table");
const rows = Array.from(table.tBodies[0].rows);
const value = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
const collator = new Intl.Collator("en", { numeric: true });
const compare = (a, b) => (isNaN(a) || isNaN(b) ? collator.compare(a, b) : a - b);
const last = (a, b) => (a === "") - (b === "");
table.querySelectorAll("th[data-sort]").forEach((header) => {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...header.childNodes);
  header.append(button);
  header.setAttribute("aria-sort", "none");
  button.addEventListener("click", () => {
    const down = header.getAttribute("aria-sort") === "ascending";
    const sign = down ? -1 : 1;
    const keyed = rows.map((row) => [value(row, header.cellIndex), row]);
    keyed.sort(([a], [b]) => last(a, b) || sign * compare(a, b));
    table.tBodies[0].append(...keyed.map(([, row]) => row));
    table.querySelectorAll("th[data-sort]").forEach((other) => other.setAttribute("aria-sort", "none"));
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
  });
});
