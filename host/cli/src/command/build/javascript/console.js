// Made by `aop build`: `console`, which the engine does not have. What is for reading goes to standard output, what
// warns to standard error; a host puts both into its log, a line for a line.

import { getStdout } from "wasi:cli/stdout@{{version}}";
import { getStderr } from "wasi:cli/stderr@{{version}}";

// What a stream takes at once.
const WRITE_MAX_BYTES = 4096;

// Modules are loaded when the component is built, where nobody would read what they say.
let isLoaded = false;
export function begin() {
  isLoaded = true;
}

const opened = new Map();
let indent = "";

function write(open, text) {
  if (!isLoaded) return;
  const lines = text.split("\n").map((line) => indent + line).join("\n") + "\n";
  // The engine has no TextEncoder.
  const bytes = Uint8Array.from(unescape(encodeURIComponent(lines.toWellFormed())), (byte) => byte.charCodeAt(0));
  try {
    if (!opened.has(open)) opened.set(open, open());
    for (let start = 0; start < bytes.length; start += WRITE_MAX_BYTES) {
      opened.get(open).blockingWriteAndFlush(bytes.slice(start, start + WRITE_MAX_BYTES));
    }
  } catch {
    // A log that nobody takes is no reason to fail.
  }
}

function plain(value) {
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "function") return `[function ${value.name || "without a name"}]`;
  if (typeof value === "symbol" || typeof value === "undefined") return String(value);
  if (value instanceof Error) return String(value);
  if (value instanceof Map) return Object.fromEntries([...value].map(([key, held]) => [show(key), held]));
  if (value instanceof Set) return [...value];
  if (ArrayBuffer.isView(value) && !(value instanceof DataView)) return [...value];
  return value;
}

function show(value) {
  if (typeof value === "string") return value;
  if (value instanceof Error) return value.stack ? `${value}\n${value.stack.trimEnd()}` : String(value);
  if (typeof value !== "object" || value === null) return String(plain(value));
  const above = [];
  try {
    return JSON.stringify(value, function (_key, held) {
      const shown = plain(held);
      if (typeof shown !== "object" || shown === null) return shown;
      while (above.length > 0 && above.at(-1) !== this) above.pop();
      if (above.includes(shown)) return "[circular]";
      above.push(shown);
      return shown;
    });
  } catch {
    return Object.prototype.toString.call(value);
  }
}

function join(values) {
  const rest = [...values];
  if (typeof rest[0] !== "string" || rest.length < 2) return rest.map(show).join(" ");
  const first = rest.shift().replace(/%[sdifjoOc%]/g, (mark) => {
    if (mark === "%%") return "%";
    if (rest.length === 0) return mark;
    const value = rest.shift();
    if (mark === "%c") return "";
    if (mark === "%d" || mark === "%f") return typeof value === "bigint" ? show(value) : String(Number(value));
    if (mark === "%i") return typeof value === "bigint" ? show(value) : String(Math.trunc(Number(value)));
    return show(value);
  });
  return [first, ...rest.map(show)].join(" ");
}

const counts = new Map();
const times = new Map();
const say = (...values) => write(getStdout, join(values));
const warn = (...values) => write(getStderr, join(values));
const since = (label) => (times.has(label) ? `${(performance.now() - times.get(label)).toFixed(3)} ms` : "no such timer");

globalThis.console ??= {
  log: say,
  info: say,
  debug: say,
  dir: (value) => say(value),
  dirxml: say,
  table: say,
  warn,
  error: warn,
  trace: (...values) => warn(`Trace: ${join(values)}\n${new Error().stack.trimEnd()}`),
  assert: (holds, ...values) => holds || warn("Assertion failed:", join(values)),
  group(...values) {
    if (values.length > 0) say(...values);
    indent += "  ";
  },
  groupCollapsed: (...values) => globalThis.console.group(...values),
  groupEnd() {
    indent = indent.slice(2);
  },
  count(label = "default") {
    counts.set(label, (counts.get(label) ?? 0) + 1);
    say(`${label}: ${counts.get(label)}`);
  },
  countReset: (label = "default") => counts.delete(label),
  time: (label = "default") => times.set(label, performance.now()),
  timeLog: (label = "default", ...values) => say(`${label}: ${since(label)}`, ...values),
  timeEnd(label = "default") {
    say(`${label}: ${since(label)}`);
    times.delete(label);
  },
  clear() {},
};
