// What style sheets cannot do: regions that scroll, the page on paper, and the search in a site opened from a file.
//
// What is too wide for the screen scrolls by itself: equations, tables, code, output. A region that scrolls must be
// reachable by keyboard, and one that does not must be no stop on the way. Which is which depends on the screen, on
// MathJax, which typesets late, and on boxes that are opened, so it is decided anew whenever a size changes.
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
    const scrolls = region.scrollWidth > region.clientWidth || region.scrollHeight > region.clientHeight;
    const can = /auto|scroll/.test(getComputedStyle(region).overflow);
    if (scrolls && can) {
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

  function watch() {
    for (const [selector, label] of REGIONS) {
      for (const region of document.querySelectorAll(`.bd-article ${selector}`)) {
        if (!labels.has(region)) {
          labels.set(region, label);
          sizes.observe(region);
        }
      }
    }
  }

  // On paper boxes are open and the ground is white, and afterwards all is as it was; solutions stay as the reader has
  // them.
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

  // From a file, a page may not read the pages that it has found; asking for their text would only make errors.
  if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

  addEventListener("DOMContentLoaded", () => {
    watch();
    const article = document.querySelector(".bd-article");
    if (article) new MutationObserver(watch).observe(article, { childList: true, subtree: true });
  });
})();
