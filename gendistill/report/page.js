// Tables sort by a column when its heading is clicked, and say that they scroll where they are wider than the window.
// Without this script the page is the same page.
"use strict";
for (const box of document.querySelectorAll(".scroll")) {
  const look = () => box.classList.toggle("wider", box.scrollWidth > box.clientWidth + 1);
  new ResizeObserver(look).observe(box);
  look();
}
for (const table of document.querySelectorAll("table.sorted")) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const worth = (row, place) => {
    const cell = row.cells[place];
    if (!cell) return null;
    const value = cell.dataset.value;
    if (value !== undefined) return value === "" ? null : Number(value);
    return place ? null : cell.textContent.trim();
  };
  const order = (first, second) => typeof first === "number" && typeof second === "number"
    ? first - second : String(first).localeCompare(String(second), undefined, { numeric: true });
  for (const heading of table.querySelectorAll("th[data-place]")) {
    const place = Number(heading.dataset.place);
    const button = heading.querySelector("button");
    button.disabled = false;
    button.addEventListener("click", () => {
      const before = heading.getAttribute("aria-sort");
      // Highest first: that is what one looks for in most columns. Names from A, then as they stood.
      const turns = place ? ["descending", "ascending", null] : ["ascending", "descending", null];
      const now = turns[(turns.indexOf(before) + 1) % 3];
      for (const other of table.querySelectorAll("th[data-place]")) other.removeAttribute("aria-sort");
      let sorted = rows;
      if (now) {
        heading.setAttribute("aria-sort", now);
        const sign = now === "ascending" ? 1 : -1;
        sorted = [...rows].sort((a, b) => {
          const [one, other] = [worth(a, place), worth(b, place)];
          if (one === null || other === null) return (one === null) - (other === null);
          return sign * order(one, other);
        });
      }
      body.append(...sorted);
    });
  }
}
