// Previews of glossary terms, equations and citations when a link to one is hovered or focused.
//
// The site works from a file, where a page cannot read another one, so book/finish.py writes all previews into a script,
// which is loaded when the first one is wanted. A preview can be hovered itself, and Escape closes it.
(() => {
  "use strict";
  const WAIT = 250; // milliseconds, so that nothing flickers where the pointer only passes
  let loading = null;
  let box = null;
  let link = null;
  let timer = 0;

  const root = () => new URL(document.documentElement.dataset.content_root, location.href).href;

  function load() {
    loading ??= new Promise((done) => {
      const script = document.createElement("script");
      script.src = `${root()}_static/previews-of-targets.js`;
      script.onload = () => done(window.previews);
      script.onerror = () => done({});
      document.head.append(script);
    });
    return loading;
  }

  function close() {
    clearTimeout(timer);
    link?.removeAttribute("aria-describedby");
    box?.remove();
    box = link = null;
  }

  function later(action) {
    clearTimeout(timer);
    timer = setTimeout(action, WAIT);
  }

  async function open(of) {
    const content = (await load())[of.href.slice(root().length)];
    // Formulas are shown only where they can be typeset.
    if (!content || !of.matches(":hover, :focus-visible") || (/\\[([]/.test(content) && !window.MathJax?.typesetPromise)) return;
    close();
    link = of;
    box = document.createElement("div");
    box.className = "preview";
    box.id = "preview";
    box.setAttribute("role", "tooltip");
    box.innerHTML = content;
    box.addEventListener("mouseenter", () => clearTimeout(timer));
    box.addEventListener("mouseleave", () => later(close));
    document.body.append(box);
    link.setAttribute("aria-describedby", box.id);
    if (window.MathJax?.typesetPromise) await MathJax.typesetPromise([box]);
    if (link !== of) return;
    const at = of.getBoundingClientRect();
    const width = document.documentElement.clientWidth;
    const below = at.bottom + box.offsetHeight + 8 < innerHeight || at.top < box.offsetHeight + 8;
    box.style.left = `${scrollX + Math.max(8, Math.min(at.left, width - box.offsetWidth - 8))}px`;
    box.style.top = `${scrollY + (below ? at.bottom + 4 : at.top - box.offsetHeight - 4)}px`;
    box.style.visibility = "visible";
  }

  addEventListener("DOMContentLoaded", () => {
    for (const of of document.querySelectorAll('.bd-article a.reference.internal[href*="#"], .bd-article a[href*="#"]:has(> .std-term)')) {
      of.addEventListener("mouseenter", () => later(() => open(of)));
      of.addEventListener("mouseleave", () => later(close));
      of.addEventListener("focus", () => open(of));
      of.addEventListener("blur", close);
    }
  });
  addEventListener("keydown", (event) => event.key === "Escape" && close());
})();
