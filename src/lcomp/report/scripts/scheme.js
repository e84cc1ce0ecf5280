"use strict";
// Light or dark: as the reader's system is, until the reader says otherwise; on paper always light.

const KEPT = "lcomp.scheme"; // in localStorage, which a browser may refuse to a page from a file
const SYSTEM = window.matchMedia("(prefers-color-scheme: dark)");
const PAPER = window.matchMedia("print");
const scheme = { asked: "", printing: false };

function keptScheme() {
  try {
    return window.localStorage.getItem(KEPT) ?? "";
  } catch {
    return "";
  }
}

function keepScheme() {
  try {
    window.localStorage.setItem(KEPT, scheme.asked);
  } catch {
    // it lasts as long as the page is open
  }
}

const isDark = () => (scheme.asked ? scheme.asked === "dark" : SYSTEM.matches);
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim(); // of page.css

function applyScheme() {
  document.documentElement.dataset.scheme = isDark() && !scheme.printing ? "dark" : "light";
  document.documentElement.toggleAttribute("data-printing", scheme.printing);
}

scheme.asked = keptScheme();
applyScheme();
