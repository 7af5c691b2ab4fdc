// The theme: that of the system until the user presses the button, then the stored choice. Runs before the page is shown.
"use strict";

(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  let chosen = load();

  const dark = () => (chosen ? chosen === "dark" : system.matches);

  function show() {
    if (chosen) root.dataset.theme = chosen;
    const button = document.getElementById("theme");
    if (button) button.textContent = dark() ? "Light colours" : "Dark colours";
  }

  function load() {
    try {
      const theme = localStorage.getItem("theme");
      return theme === "dark" || theme === "light" ? theme : null;
    } catch {
      return null; // storage is blocked: use the theme of the system
    }
  }

  function store() {
    try {
      localStorage.setItem("theme", chosen);
    } catch {
      // storage is blocked: the choice lasts for this visit
    }
  }

  show();
  system.addEventListener("change", show);
  addEventListener("DOMContentLoaded", () => {
    show();
    document.getElementById("theme").addEventListener("click", () => {
      chosen = dark() ? "light" : "dark";
      store();
      show();
    });
  });
})();
