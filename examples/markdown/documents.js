// Markdown, rendered and taken apart. The parser is `marked`; this file decides what is safe and what is text.

import { Marked } from "marked";

/** Schemes that a link may keep. Anything else, `javascript:` above all, could run code. */
const SAFE_SCHEMES = new Set(["http", "https", "mailto", "tel"]);

const ENTITIES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

function escapeHtml(text) {
  return text.replace(/[&<>"']/g, (character) => ENTITIES[character]);
}

/** Whether a target is relative or has a safe scheme. Browsers ignore control characters and spaces inside a scheme. */
function isSafe(url) {
  const visible = unescapeEntities(url).replace(/[\u0000-\u0020\u007f-\u00a0]/g, "");
  const scheme = /^([^/?#]*?):/.exec(visible);
  return scheme === null || SAFE_SCHEMES.has(scheme[1].toLowerCase());
}

const marked = new Marked({
  gfm: true,
  renderer: {
    html: ({ text }) => escapeHtml(text),
    link({ href, title, tokens }) {
      const text = this.parser.parseInline(tokens);
      return isSafe(href) ? `<a href="${escapeHtml(href)}"${titleAttribute(title)}>${text}</a>` : text;
    },
    image: ({ href, title, text }) =>
      isSafe(href)
        ? `<img src="${escapeHtml(href)}" alt="${escapeHtml(text)}"${titleAttribute(title)}>`
        : escapeHtml(text),
  },
});

function titleAttribute(title) {
  return title ? ` title="${escapeHtml(title)}"` : "";
}

export function toHtml(markdown) {
  return marked.parse(markdown);
}

export function toText(markdown) {
  const blocks = marked.lexer(markdown).map(blockText);
  return blocks.filter((text) => text !== "").join("\n\n");
}

/** An argument that was left out is null in a component, and undefined in JavaScript. */
export function outline(markdown, maxLevel) {
  const deepest = maxLevel ?? 6;
  const taken = new Map();
  const headings = [];
  for (const token of tokensOf(markdown, "heading")) {
    const text = inlineText(token.tokens);
    const anchor = anchorOf(text, taken);
    if (token.depth <= deepest) headings.push({ level: token.depth, text, anchor });
  }
  return headings;
}

export function links(markdown) {
  return tokensOf(markdown, "link", "image").map((token) => ({
    kind: token.type,
    text: token.type === "link" ? inlineText(token.tokens) : token.text,
    url: token.href,
    title: token.title ?? undefined,
  }));
}

export function codeBlocks(markdown, language) {
  const blocks = tokensOf(markdown, "code").map((token) => ({
    language: token.lang?.trim().split(/\s/)[0].toLowerCase() || undefined,
    code: token.text,
  }));
  const wanted = language?.toLowerCase();
  return wanted == null ? blocks : blocks.filter((block) => block.language === wanted);
}

export function tables(markdown) {
  const cells = (row) => row.map((cell) => inlineText(cell.tokens));
  return tokensOf(markdown, "table").map(({ header, rows }) => ({ header: cells(header), rows: rows.map(cells) }));
}

/** All tokens of some types, nested ones included, in the order of the document. */
function tokensOf(markdown, ...types) {
  const found = [];
  marked.walkTokens(marked.lexer(markdown), (token) => {
    if (types.includes(token.type)) found.push(token);
  });
  return found;
}

/** The anchor by GitHub's rule. Repetitions count on even when the headings themselves are not listed. */
function anchorOf(text, taken) {
  const base = text.toLowerCase().replace(/[^\p{L}\p{N}\p{M}_\- ]/gu, "").replace(/ /g, "-");
  let anchor = base;
  for (let count = taken.get(base) ?? 0; taken.has(anchor); ) {
    count += 1;
    taken.set(base, count);
    anchor = `${base}-${count}`;
  }
  taken.set(anchor, 0);
  return anchor;
}

function blockText(token) {
  switch (token.type) {
    case "space":
    case "hr":
    case "def":
      return "";
    case "code":
      return token.text;
    case "html":
      return token.text.replace(/<[^>]*>/g, "").trim();
    case "list":
      return token.items.map((item) => item.tokens.map(blockText).filter((text) => text !== "").join("\n")).join("\n");
    case "blockquote":
      return token.tokens.map(blockText).filter((text) => text !== "").join("\n\n");
    case "table":
      return [token.header, ...token.rows]
        .map((row) => row.map((cell) => inlineText(cell.tokens)).join("\t"))
        .join("\n");
    default:
      return token.tokens ? inlineText(token.tokens) : unescapeEntities(token.text ?? "");
  }
}

function inlineText(tokens) {
  return tokens.map(inlineTokenText).join("");
}

function inlineTokenText(token) {
  switch (token.type) {
    case "br":
      return "\n";
    case "html":
    case "checkbox":
      return "";
    case "codespan":
      return token.text;
    default:
      return token.tokens ? inlineText(token.tokens) : unescapeEntities(token.text ?? "");
  }
}

const NAMED_ENTITIES = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0", colon: ":", Tab: "\t", NewLine: "\n" };

function unescapeEntities(text) {
  return text.replace(/&(?:#(\d{1,7})|#[xX]([0-9a-fA-F]{1,6})|(\w+));/g, (whole, decimal, hexadecimal, name) => {
    if (name !== undefined) return NAMED_ENTITIES[name] ?? whole;
    const code = decimal === undefined ? parseInt(hexadecimal, 16) : parseInt(decimal, 10);
    return code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : whole;
  });
}
