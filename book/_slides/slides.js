// Moves from slide to slide: arrows, Page Up and Down, space, Home, End, and the two buttons. The address names the slide.
(() => {
  "use strict";
  const slides = [...document.querySelectorAll("article")];
  const FORWARD = ["ArrowRight", "ArrowDown", "PageDown", " "];
  const BACK = ["ArrowLeft", "ArrowUp", "PageUp"];

  /** The slide whose middle is nearest to that of the window. */
  function current() {
    const off = slides.map((slide) => {
      const { top, bottom } = slide.getBoundingClientRect();
      return Math.abs(top + bottom - innerHeight);
    });
    return off.indexOf(Math.min(...off));
  }

  function go(to) {
    const slide = slides[Math.min(Math.max(to, 0), slides.length - 1)];
    slide.scrollIntoView();
    slide.focus({ preventScroll: true }); // so that a screen reader reads it
    history.replaceState(null, "", `#${slide.id}`);
  }

  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target.closest("nav, mjx-container[tabindex]")) return;
    const to = FORWARD.includes(event.key) ? current() + 1
      : BACK.includes(event.key) ? current() - 1
      : event.key === "Home" ? 0
      : event.key === "End" ? slides.length - 1
      : undefined;
    if (to === undefined) return;
    event.preventDefault();
    go(to);
  });
  document.getElementById("on").addEventListener("click", () => go(current() + 1));
  document.getElementById("back").addEventListener("click", () => go(current() - 1));
})();
