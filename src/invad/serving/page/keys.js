// Single letters as commands, for hands that stay on the keyboard. They can be switched off (WCAG 2.1.4): people who
// dictate would set them off by speaking.

import { local } from "./storage.js";

const OFF = "invad-keys-off";

export const keysOn = () => local.get(OFF) === null;
export const setKeys = (on) => (on ? local.remove(OFF) : local.set(OFF, "1"));

// Run `commands[key]` for a key pressed outside of dialogs and of controls that take it themselves.
export function wireKeys(commands) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (!(key in commands) || taken(event.target, key) || (key.length === 1 && key !== "?" && !keysOn())) return;
    event.preventDefault();
    commands[key]();
  });
}

// Sliders, lists and the zoomed picture move by the arrow keys; text fields and lists take letters.
function taken(target, key) {
  if (target.matches("input[type=text], input[type=password], select")) return true;
  return key.length > 1 && target.matches("input[type=range], .zoomed");
}
