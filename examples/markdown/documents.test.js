import assert from "node:assert/strict";
import { test } from "node:test";

import { codeBlocks, links, outline, tables, toHtml, toText } from "./documents.js";

test("renders Markdown", () => {
  assert.equal(toHtml("# Hi *you*"), "<h1>Hi <em>you</em></h1>\n");
  assert.equal(toHtml("[a](/b 'c')"), '<p><a href="/b" title="c">a</a></p>\n');
});

test("cannot run scripts", () => {
  const hostile = [
    "<script>alert(1)</script>",
    "text <img src=x onerror=alert(1)>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java&#10;script:alert(1))",
    "[x](javascript&colon;alert(1))",
    "[x](&#106;avascript:alert(1))",
    "![x](data:text/html,<script>)",
    '[x](/a"onclick="alert(1))',
    "<javascript:alert(1)>",
  ];
  for (const markdown of hostile) {
    const html = toHtml(markdown);
    assert.doesNotMatch(html, /<(script|img)|href="[^"]*javascript|" ?onclick/i, `${markdown} became ${html}`);
  }
});

test("keeps safe targets", () => {
  for (const url of ["https://a.org/?b=c", "mailto:a@b.org", "../c#d", "#e", "/f:g", "?h=i:j"]) {
    assert.match(toHtml(`[x](${url})`), /<a href=/);
  }
});

test("turns into plain text", () => {
  const markdown = "# A *b*\n\nSee [the docs](https://x.org) &amp; `code`.\n\n- one\n- two **2**\n\n| h | i |\n|---|---|\n| 1 | 2 |\n";
  assert.equal(toText(markdown), "A b\n\nSee the docs & code.\n\none\ntwo 2\n\nh\ti\n1\t2");
});

test("lists headings with anchors", () => {
  assert.deepEqual(outline("# Hello, World!\n## Hello World\n### Deep\n## Grüße", 2), [
    { level: 1, text: "Hello, World!", anchor: "hello-world" },
    { level: 2, text: "Hello World", anchor: "hello-world-1" },
    { level: 2, text: "Grüße", anchor: "grüße" },
  ]);
  assert.equal(outline("# A\n### B").length, 2);
  assert.equal(outline("# A\n### B", null).length, 2);
});

test("lists links and images", () => {
  assert.deepEqual(links('[**a**](b "c") ![d](e)\n\n<https://f.org>'), [
    { kind: "link", text: "a", url: "b", title: "c" },
    { kind: "image", text: "d", url: "e", title: undefined },
    { kind: "link", text: "https://f.org", url: "https://f.org", title: undefined },
  ]);
});

test("takes out code", () => {
  const markdown = "```Python title=x\nprint(1)\n```\n\n```\nplain\n```\n";
  assert.deepEqual(codeBlocks(markdown), [
    { language: "python", code: "print(1)" },
    { language: undefined, code: "plain" },
  ]);
  assert.equal(codeBlocks(markdown, null).length, 2);
  assert.equal(codeBlocks(markdown, "PYTHON").length, 1);
});

test("takes out tables", () => {
  assert.deepEqual(tables("| a | *b* |\n|---|---|\n| 1 |\n"), [{ header: ["a", "b"], rows: [["1", ""]] }]);
});
