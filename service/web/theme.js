// Light or dark: what the system says, until the button is pressed; then that, remembered. Runs before anything is shown.
"use strict";

(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  let chosen = remembered();

  const dark = () => (chosen ? chosen === "dark" : system.matches);

  function show() {
    if (chosen) root.dataset.theme = chosen;
    const button = document.getElementById("theme");
    if (button) button.setAttribute("aria-pressed", String(dark()));
  }

  function remembered() {
    try {
      const theme = localStorage.getItem("theme");
      return theme === "dark" || theme === "light" ? theme : null;
    } catch {
      return null; // storage is forbidden here: the system decides each time
    }
  }

  function remember() {
    try {
      localStorage.setItem("theme", chosen);
    } catch {
      // storage is forbidden here: it holds for this visit
    }
  }

  show();
  system.addEventListener("change", show);
  addEventListener("DOMContentLoaded", () => {
    show();
    document.getElementById("theme").addEventListener("click", () => {
      chosen = dark() ? "light" : "dark";
      remember();
      show();
    });
  });
})();
