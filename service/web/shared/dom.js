// DOM helpers. Elements are created without HTML strings, so the name of a label or a file cannot become markup.

/** Return the element with this id. */
export const at = (id) => document.getElementById(id);

/** Create an element. Properties are assigned as they are, `style` and `dataset` entry by entry. */
export function element(tag, { style = {}, dataset = {}, ...properties } = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  for (const [name, value] of Object.entries(style)) node.style.setProperty(name, value);
  Object.assign(node.dataset, dataset);
  node.append(...children);
  return node;
}

/** Download a blob as a file. */
export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000); // by then the browser has started the download
}

/** Copy the text of a node to the clipboard, or select it if the browser refuses. Returns a message. */
export async function copy(node) {
  try {
    await navigator.clipboard.writeText(node.textContent);
    return "Copied.";
  } catch {
    getSelection().selectAllChildren(node); // the clipboard needs HTTPS or localhost
    return "Selected. Press Ctrl+C or ⌘C to copy.";
  }
}
