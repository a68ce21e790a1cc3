// The dashboard: what the admin API says, for people. It knows nothing that the API does not give to whoever asks, keeps
// the credential in memory only, and writes what hosts and agents say as text, never as markup.
"use strict";

const REFRESH_MS = 3000;
// All tools with their schemas can be megabytes, and they change only when somebody loads an agent.
const TOOLS_REFRESH_MS = 30000;
// A page of rows that a browser draws without a pause; the filter finds the rest.
const ROWS_MAX = 200;
const REVISION = "2026-07-28";
const STATES = { ACTIVE: "good", BUSY: "busy", INIT: "busy", DRAINING: "busy", ERROR: "bad", alive: "good" };

const $ = (selector) => document.querySelector(selector);
let credential = "";
let view = "agents";
const filters = { agents: "", tools: "" };
// What a view showed last, and since when: filters look into it, so that no key pressed asks the host.
const answers = {};

/** A request in the caller's name. Answers the body, or throws what the host said. */
async function ask(path, options = {}) {
  const headers = { accept: "application/json", ...options.headers };
  if (credential) headers.authorization = `Bearer ${credential}`;
  const response = await fetch(path, { ...options, headers, credentials: "omit", cache: "no-store" });
  const body = await response.json().catch(() => ({}));
  if (!response.ok && !body.jsonrpc) {
    throw Object.assign(new Error(body.message ?? response.statusText), { status: response.status });
  }
  return body;
}

/** An element with text or children. */
function make(name, content = [], attributes = {}) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...[content].flat().map((part) => (part instanceof Node ? part : String(part ?? ""))));
  return element;
}

const cell = (content) => make("td", content);
const number = (content) => make("td", content ?? "–", { class: "number" });
const code = (text) => make("code", text);
const badge = (text) => make("span", text, { class: `badge ${STATES[text] ?? ""}` });
const pretty = (value) => make("pre", JSON.stringify(value, null, 2));

function link(text, action) {
  const button = make("button", text, { type: "button", class: "link" });
  button.addEventListener("click", action);
  return button;
}

/** Takes everything away that a view shows. */
function clear(section) {
  $(`#${section} tbody`).replaceChildren();
  const more = $(`#${section} .more`);
  if (more) more.hidden = true;
}

function fill(section, rows, total = rows.length) {
  $(`#${section} tbody`).replaceChildren(...rows);
  const more = $(`#${section} .more`);
  if (more) {
    more.hidden = total <= rows.length && total > 0;
    more.textContent = total === 0 ? "Nothing here." : `${rows.length} of ${total} shown: filter for the others.`;
  }
}

function matching(kind, items, texts) {
  const wanted = filters[kind].toLowerCase();
  return items.filter((item) => texts(item).some((text) => (text ?? "").toLowerCase().includes(wanted)));
}

function origin(of) {
  if (of.kind === "elsewhere") return [of.source, of.name].filter(Boolean).join(" ");
  return of.kind;
}

// Where each view has its answer from, and how old that may get.
const sources = {
  agents: { path: "/api/v1/agents", keepMs: 0 },
  tools: { path: "/api/v1/tools", keepMs: TOOLS_REFRESH_MS },
  usage: { path: "/api/v1/usage", keepMs: 0 },
  zone: { path: "/api/v1/cluster", keepMs: 0 },
};

const views = {
  agents({ agents }) {
    const found = matching("agents", agents, (agent) => [agent.name, agent.state, agent.description, agent.error]);
    fill("agents", found.slice(0, ROWS_MAX).map((agent) => make("tr", [
      cell(link(agent.name, () => showAgent(agent.name))),
      cell(badge(agent.state)),
      number(agent.revision),
      number(agent.tools.length),
      number(`${agent.in_flight} / ${agent.concurrency}`),
      cell(origin(agent.origin)),
      cell(agent.error ? make("span", agent.error, { class: "bad" }) : agent.description),
    ])), found.length);
  },
  tools({ tools }) {
    const found = matching("tools", tools, (tool) => [tool.name, tool.title, tool.description]);
    fill("tools", found.slice(0, ROWS_MAX).map((tool) => make("tr", [
      cell(link(tool.name, () => showTool(tool))),
      cell(code(tool.signature)),
      cell(tool.description),
    ])), found.length);
  },
  usage({ quotas }) {
    fill("usage", quotas.map(quotaRow));
  },
  zone(status) {
    fill("zone", status.members.map((member) => make("tr", [
      cell(code(member.node)),
      cell(badge(member.state)),
      number(`${member.load_percent} %`),
      number(`${member.lag_ms} ms`),
      number(member.catalogue?.agents),
      cell(code(member.endpoint)),
    ])));
  },
};

const quotaRow = (quota) => make("tr", [
  cell(code(quota.quota)),
  number(quota.used),
  number(quota.limit ?? "none"),
  number(quota.refused),
]);

function open(title, ...parts) {
  $("#details h2").textContent = title;
  $("#details .body").replaceChildren(...parts);
  $("#details").showModal();
}

function table(head, rows) {
  return make("table", [make("thead", make("tr", head.map((text) => make("th", text)))), make("tbody", rows)]);
}

async function showAgent(name) {
  const { agent, revisions, stats, quotas } = await ask(`/api/v1/agents/${encodeURIComponent(name)}`).catch(complain) ?? {};
  if (!agent) return;
  const ms = (value) => (value === null ? "–" : `${value.toFixed(2)} ms`);
  const facts = [
    ["calls", stats.calls], ["errors", stats.errors], ["p50", ms(stats.p50_ms)], ["p95", ms(stats.p95_ms)],
    ["p99", ms(stats.p99_ms)], ["CPU", `${stats.cpu_seconds.toFixed(3)} s`], ["retries", stats.retries],
    ["most memory", `${(stats.memory_peak_bytes / 2 ** 20).toFixed(1)} MiB`],
  ];
  open(
    agent.name,
    make("p", agent.description),
    ...[agent.error, ...agent.warnings].filter(Boolean).map((text) => make("p", text, { class: "bad" })),
    table(facts.map(([label]) => label), [make("tr", facts.map(([, value]) => number(value)))]),
    make("h3", "Revisions"),
    table(["Revision", "Component", "Since", ""], revisions.map((revision) => make("tr", [
      number(revision.number),
      cell(code(revision.digest)),
      cell(new Date(revision.created_unix_ms).toLocaleString()),
      cell(revision.serving ? badge("serving") : ""),
    ]))),
    make("h3", "Quotas"),
    table(["Quota", "Used", "Limit", "Refused"], quotas.map(quotaRow)),
    make("h3", "Tools"),
    make("p", agent.tools.flatMap((tool, index) => [index ? ", " : "", code(tool)])),
  );
}

function showTool(tool) {
  const text = make("textarea", "{}", { spellcheck: "false", "aria-label": "arguments, as JSON" });
  const result = make("div", [], { role: "status" });
  const button = make("button", "Call", { type: "submit" });
  const form = make("form", [make("h3", "Try it"), text, button]);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    const started = performance.now();
    try {
      const answer = await call(tool.name, JSON.parse(text.value));
      const took = make("p", `${(performance.now() - started).toFixed(1)} ms`, { class: "quiet" });
      result.replaceChildren(took, pretty(answer));
    } catch (error) {
      result.replaceChildren(make("p", error.message, { class: "bad" }));
    }
    button.disabled = false;
  });
  open(
    tool.name,
    make("p", tool.description),
    make("pre", tool.signature),
    form, result,
    make("h3", "Input"), pretty(tool.inputSchema),
    make("h3", "Output"), pretty(tool.outputSchema),
  );
}

/** One stateless tools/call. Answers the envelope. */
async function call(name, argumentsOfCall) {
  const meta = {
    "io.modelcontextprotocol/protocolVersion": REVISION,
    "io.modelcontextprotocol/clientInfo": { name: "aop-dashboard", version: "1" },
    "io.modelcontextprotocol/clientCapabilities": {},
  };
  const body = await ask("/mcp", {
    method: "POST",
    headers: {
      accept: "application/json, text/event-stream", "content-type": "application/json",
      "mcp-protocol-version": REVISION, "mcp-method": "tools/call", "mcp-name": name,
    },
    body: JSON.stringify({
      jsonrpc: "2.0", id: 1, method: "tools/call",
      params: { name, arguments: argumentsOfCall, _meta: meta },
    }),
  });
  if (body.error) throw new Error(body.error.message);
  if (body.result.resultType === "input_required") throw new Error("This tool asks questions: call it from an MCP client.");
  return body.result.structuredContent ?? body.result.content;
}

/** Shows what went wrong; a host that asks who calls gets its form. */
function complain(error) {
  const isClosed = error.status === 401;
  $("#door").hidden = !isClosed;
  $("#notice").hidden = isClosed && !credential;
  $("#notice").textContent = error.message;
}

async function refresh() {
  // Another may be chosen while this one is on its way.
  const shown = view;
  try {
    const host = await ask("/");
    $("#name").textContent = document.title = host.name;
    $("#version").textContent = `AOP ${host.version}`;
    $("#phase").textContent = host.ready ? "ready" : "not ready";
    $("#phase").className = `badge ${host.ready ? "good" : "busy"}`;
    const { path, keepMs } = sources[shown];
    if (!answers[shown] || Date.now() - answers[shown].since >= keepMs) {
      answers[shown] = { content: await ask(path), since: Date.now() };
    }
    views[shown](answers[shown].content);
    $("#door").hidden = $("#notice").hidden = true;
  } catch (error) {
    delete answers[shown];
    clear(shown);
    complain(error);
  }
}

// One at a time, one more waiting at the most, and by itself only while somebody looks.
let running = false;
let wanted = false;
async function refreshSoon() {
  wanted = true;
  if (running) return;
  running = true;
  while (wanted) {
    wanted = false;
    await refresh();
  }
  running = false;
}
setInterval(() => document.hidden || refreshSoon(), REFRESH_MS);

for (const button of document.querySelectorAll("[data-view]")) {
  button.addEventListener("click", () => {
    view = button.dataset.view;
    delete answers[view];
    for (const other of document.querySelectorAll("[data-view]")) {
      $(`#${other.dataset.view}`).hidden = other !== button;
      if (other === button) other.setAttribute("aria-current", "page");
      else other.removeAttribute("aria-current");
    }
    refreshSoon();
  });
}
for (const input of document.querySelectorAll("[data-filter]")) {
  input.addEventListener("input", () => {
    const kind = input.dataset.filter;
    filters[kind] = input.value;
    if (answers[kind]) views[kind](answers[kind].content);
  });
}
$("#door").addEventListener("submit", (event) => {
  event.preventDefault();
  credential = $("#credential").value.trim();
  $("#credential").value = "";
  refreshSoon();
});

refreshSoon();
