// Scrolling regions, printing, and search in a site opened from a file.
//
// Equations, tables, code and output scroll if they are wider than the screen. A region that scrolls must be reachable
// by keyboard, and one that does not must not be a tab stop. This depends on the screen, on MathJax, which typesets
// late, and on boxes that are opened, so it is updated whenever a size changes. While there is more to the right, the
// region has a class (book.css).
(() => {
  "use strict";
  const REGIONS = [
    ['mjx-container[display="true"]', "equation, scrolls sideways"],
    ["span.math", "formula, scrolls sideways"],
    [".pst-scrollable-table-container", "table, scrolls sideways"],
    ["pre", "code, scrolls sideways"],
    [".cell_output > .output", "output, scrolls"],
  ];

  function mark(region, label) {
    const { overflowX, overflowY } = getComputedStyle(region);
    const sideways = /auto|scroll/.test(overflowX) ? region.scrollWidth - region.clientWidth : 0;
    region.classList.toggle("has-more", sideways - region.scrollLeft > 1);
    if (sideways || (/auto|scroll/.test(overflowY) && region.scrollHeight > region.clientHeight)) {
      region.tabIndex = 0;
      region.setAttribute("role", "group");
      region.setAttribute("aria-label", label);
    } else if (region.getAttribute("aria-label") === label) {
      region.removeAttribute("tabindex");
      region.removeAttribute("role");
      region.removeAttribute("aria-label");
    }
  }

  const labels = new WeakMap();
  const sizes = new ResizeObserver((changed) => {
    for (const { target } of changed) mark(target, labels.get(target));
  });
  document.addEventListener("scroll", ({ target }) => labels.has(target) && mark(target, labels.get(target)), true);

  function watch() {
    for (const [selector, label] of REGIONS) {
      for (const region of document.querySelectorAll(`.bd-article ${selector}`)) {
        labels.set(region, label);
        sizes.unobserve(region); // to be told of its size again: a formula is typeset within a box of the same size
        sizes.observe(region);
      }
    }
  }

  // Print with open boxes on white, then restore the page; solutions stay as the reader left them.
  const root = document.documentElement;
  let before = null;
  addEventListener("beforeprint", () => {
    before = { theme: root.dataset.theme, opened: [...document.querySelectorAll("details:not([open], .solution *)")] };
    root.dataset.theme = "light";
    for (const box of before.opened) box.open = true;
  });
  addEventListener("afterprint", () => {
    if (!before) return;
    root.dataset.theme = before.theme;
    for (const box of before.opened) box.open = false;
    before = null;
  });

  // A page opened from a file cannot read other pages; requesting their text would only cause errors.
  const fromFile = location.protocol === "file:";
  if (fromFile) DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

  function explainTheSearch() {
    const results = document.getElementById("search-results");
    if (!fromFile || !results) return;
    const note = document.createElement("p");
    note.className = "search-note";
    note.innerHTML = "The results are without excerpts because this page was opened from a file. Run <code>make serve</code> to see excerpts.";
    results.before(note);
  }

  addEventListener("DOMContentLoaded", () => {
    watch();
    explainTheSearch();
    document.fonts.addEventListener("loadingdone", watch); // also those of MathJax
    const article = document.querySelector(".bd-article");
    if (article) new MutationObserver(watch).observe(article, { childList: true, subtree: true });
  });
})();
