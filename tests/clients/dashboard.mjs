// The dashboard in a browser's document (jsdom), against a running host: what it shows and what it calls.
//
//   node tests/clients/dashboard.mjs URL JSDOM
//
// JSDOM is the path of the library's entry. Exits with 1 when something is not as a user would expect it.
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const [url, library] = process.argv.slice(2);
const { JSDOM, VirtualConsole } = createRequire(import.meta.url)(library);

const headers = { accept: "text/html" };
const page = await (await fetch(`${url}/`, { headers })).text();
const script = await (await fetch(`${url}/dashboard.js`)).text();

const trouble = [];
const log = new VirtualConsole();
log.on("jsdomError", (error) => trouble.push(error));
const { window } = new JSDOM(page, { url, runScripts: "outside-only", pretendToBeVisual: true, virtualConsole: log });
// What jsdom does not have of a browser.
const asked = [];
// As a host that asks for a key, at first.
let refuses = true;
window.fetch = (path, options) => {
  asked.push(path);
  if (refuses) return Promise.resolve(Response.json({ code: "unauthenticated", message: "give a key" }, { status: 401 }));
  return fetch(new URL(path, url), options);
};
window.HTMLDialogElement.prototype.showModal ??= function () { this.setAttribute("open", ""); };
window.eval(script);

const { document } = window;
const $ = (selector) => document.querySelector(selector);

/** Waits until the document is as it should be; fails with what it is after ten seconds. */
function until(what, holds) {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`${what}: ${document.body.textContent.replace(/\s+/g, " ")}`)), 10_000);
    const look = () => {
      if (!holds()) return false;
      clearTimeout(late);
      observer.disconnect();
      resolve();
      return true;
    };
    const observer = new window.MutationObserver(look);
    observer.observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
    look();
  });
}
const rows = (section) => [...document.querySelectorAll(`#${section} tbody tr`)];
const linked = (section, name) => rows(section).flatMap((row) => [...row.querySelectorAll("button.link")])
  .find((button) => button.textContent === name);

const times = (path) => asked.filter((one) => one === path).length;

// The first visit to a host that asks for a key: a form, and nothing that looks like rows which a filter hides.
await until("a host that asks for a key", () => !$("#door").hidden);
assert.ok($("#notice").hidden, "nothing was wrong yet");
assert.equal(rows("agents").length, 0);
assert.ok($("#agents .more").hidden, $("#agents .more").textContent);
refuses = false;
$("#door").dispatchEvent(new window.Event("submit", { cancelable: true }));

await until("agents", () => linked("agents", "echo"));
assert.equal($("#phase").textContent, "ready");
assert.ok($("#door").hidden && $("#notice").hidden, "an open host asks for no key");

linked("agents", "echo").click();
await until("details of an agent", () => $("#details h2").textContent === "echo");
assert.match($("#details").textContent, /sha256:[0-9a-f]{64}/);

$('[data-view="tools"]').click();
await until("all tools", () => rows("tools").length > 1);
const filter = $('[data-filter="tools"]');
const before = asked.length;
for (const text of ["e", "ec", "echo_echo"]) {
  filter.value = text;
  filter.dispatchEvent(new window.Event("input"));
}
assert.ok(rows("tools").length === 1 && linked("tools", "echo_echo"), "the filter needs no answer");
assert.equal(asked.length, before, "and asks for none");
const { length: seen } = asked;
await until("two more looks at the host", () => asked.slice(seen).filter((path) => path === "/").length > 1);
assert.equal(times("/api/v1/tools"), 1, "tools and their schemas are not fetched with every look");

linked("tools", "echo_echo").click();
await until("details of a tool", () => $("#details textarea"));
const submit = (text) => {
  $("#details textarea").value = text;
  $("#details .body form").dispatchEvent(new window.Event("submit", { cancelable: true }));
};
const said = () => $("#details [role=status]").textContent;
submit('{"text": "<b>hello</b>"}');
await until("an answer", () => said().includes('"success": true'));
assert.ok(said().includes("<b>hello</b>") && !$("#details b"), "what an agent says is text");
submit("{");
await until("a mistake in the arguments", () => /JSON|property/.test(said()));
submit("{}");
await until("a refused call", () => said().includes("invalid_arguments"));

$('[data-view="zone"]').click();
await until("a host in no zone says so", () => !$("#notice").hidden && /no zone/.test($("#notice").textContent));
$('[data-view="usage"]').click();
await until("usage", () => rows("usage").length > 0 && $("#notice").hidden);

assert.deepEqual(trouble, []);
console.log("agents, tools, a call, usage and zone are shown as they should be");
process.exit(0);
