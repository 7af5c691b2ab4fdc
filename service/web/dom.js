// Elements, made without any HTML in strings: what a label or a file is called can never become markup.

/** The element of that id. */
export const at = (id) => document.getElementById(id);

/** A new element; properties are set as they are, `style` and `dataset` entry by entry. */
export function element(tag, { style = {}, dataset = {}, ...properties } = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  for (const [name, value] of Object.entries(style)) node.style.setProperty(name, value);
  Object.assign(node.dataset, dataset);
  node.append(...children);
  return node;
}

/** Offer a blob as a file. */
export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000); // the browser has begun to read it by then
}

/** Put a node's text on the clipboard; where the browser refuses, select it. Returns what there is to say. */
export async function copy(node) {
  try {
    await navigator.clipboard.writeText(node.textContent);
    return "Copied.";
  } catch {
    getSelection().selectAllChildren(node); // no clipboard outside of HTTPS and localhost
    return "Selected: press Ctrl+C, or ⌘C, to copy it.";
  }
}
