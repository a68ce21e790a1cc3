use std::sync::Arc;

use aop_core::{AgentName, Hints, Query, Search, TenantName, Tool, ToolName};
use proptest::prelude::*;
use serde_json::json;

use super::ToolIndex;
use super::query::{Meaning, expression, parse};

fn tool(name: &str, description: &str, parameters: &[(&str, &str)]) -> Arc<Tool> {
    let properties: serde_json::Map<_, _> = parameters
        .iter()
        .map(|(name, description)| {
            ((*name).to_owned(), json!({"type": "string", "description": description}))
        })
        .collect();
    let schema = json!({"type": "object", "properties": properties});
    Arc::new(Tool {
        name: ToolName::new(name).unwrap(),
        title: None,
        description: description.to_owned(),
        input_schema: serde_json::value::to_raw_value(&schema).unwrap(),
        output_schema: None,
        signature: String::new(),
        hints: Hints::default(),
        task: aop_core::TaskUse::Never,
        headers: Vec::new(),
        converses: false,
        takes_handles: false,
        function: 0,
    })
}

fn agent(name: &str) -> AgentName {
    AgentName::new(name).unwrap()
}

fn tenant() -> TenantName {
    TenantName::default_tenant()
}

fn sample() -> ToolIndex {
    let index = ToolIndex::new();
    let textkit = [
        tool(
            "textkit_summarize",
            "Shortens a text to its key sentences.",
            &[("max_sentences", "How many to keep")],
        ),
        tool(
            "textkit_keywords",
            "Finds the words that matter.",
            &[("text", "What to summarize first, if long")],
        ),
        tool("textkit_readingTime", "Estimates minutes.", &[]),
    ];
    index.publish(&tenant(), &agent("textkit"), &textkit).unwrap();
    index
        .publish(
            &tenant(),
            &agent("weather"),
            &[tool("forecast", "Will it rain in Zürich?", &[("city", "")])],
        )
        .unwrap();
    index
}

fn find(index: &ToolIndex, text: &str) -> Vec<String> {
    find_of(index, text, None, 20)
}

fn find_of(index: &ToolIndex, text: &str, of: Option<&str>, limit: u32) -> Vec<String> {
    let query = Query { text: text.to_owned(), agent: of.map(agent), limit };
    let hits = index.search(&tenant(), &query).unwrap();
    assert!(hits.windows(2).all(|pair| pair[0].score >= pair[1].score), "best first");
    hits.iter().map(|hit| hit.tool.to_string()).collect()
}

#[test]
fn a_name_outweighs_a_description_and_that_a_parameter() {
    let index = ToolIndex::new();
    let tools = [
        tool("a_one", "Nothing.", &[("translate", "")]),
        tool("a_two", "Can translate.", &[]),
        tool("a_translate", "Nothing.", &[]),
    ];
    index.publish(&tenant(), &agent("a"), &tools).unwrap();
    assert_eq!(find(&index, "translate"), ["a_translate", "a_two", "a_one"]);
}

#[test]
fn words_of_names_are_found_however_they_are_written() {
    let index = sample();
    assert_eq!(find(&index, "summarize")[0], "textkit_summarize");
    assert_eq!(find(&index, "textkit_summarize")[0], "textkit_summarize");
    assert_eq!(find(&index, "textkit-summarize")[0], "textkit_summarize");
    assert_eq!(find(&index, "reading time"), ["textkit_readingTime"]);
    assert_eq!(find(&index, "readingTime"), ["textkit_readingTime"]);
    assert_eq!(find(&index, "sentences"), ["textkit_summarize"]);
    assert_eq!(find(&index, "weather"), ["forecast"], "a renamed tool is found by its agent");
    assert_eq!(find(&index, "zurich"), ["forecast"], "without its accents");
}

#[test]
fn the_last_word_may_be_unfinished() {
    let index = sample();
    assert_eq!(find(&index, "summ")[0], "textkit_summarize");
    assert_eq!(find(&index, "rai"), ["forecast"]);
    assert_eq!(find(&index, "rai zzz"), Vec::<String>::new(), "only the last one");
    assert_eq!(find(&index, "r"), Vec::<String>::new(), "and not a single letter");
}

#[test]
fn any_of_the_words_finds_and_common_ones_do_not_count() {
    let index = sample();
    assert_eq!(find(&index, "will it rain tomorrow"), ["forecast"]);
    assert_eq!(find(&index, "how can I summarize this")[0], "textkit_summarize");
    assert_eq!(meant("what is THE rain"), "\"rain\"*");
    assert_eq!(meant("to be"), "\"to\" OR \"be\"", "unless there is nothing else");
    let many = (0..100).map(|index| format!("word{index} ")).collect::<String>();
    assert_eq!(meant(&many).matches("word").count(), 8);
    assert_eq!(meant(&"é".repeat(4000)), format!("\"{}\"*", "é".repeat(512)));
}

fn meant(text: &str) -> String {
    let Meaning::Words(words) = parse(text) else { panic!("{text} has no words") };
    expression(&words)
}

#[test]
fn empty_lists_in_name_order_and_filters_apply() {
    let index = sample();
    let all = ["forecast", "textkit_keywords", "textkit_readingTime", "textkit_summarize"];
    assert_eq!(find(&index, ""), all);
    assert_eq!(find(&index, " \n"), all);
    assert_eq!(find_of(&index, "", None, 2), all[..2]);
    assert_eq!(find_of(&index, "", Some("weather"), 20), ["forecast"]);
    assert_eq!(find_of(&index, "summarize", Some("weather"), 20), Vec::<String>::new());
    assert_eq!(find_of(&index, "summarize", Some("textkit"), 1), ["textkit_summarize"]);
    assert_eq!(find_of(&index, "summarize", None, 0), Vec::<String>::new());
}

#[test]
fn ties_come_in_name_order() {
    let index = ToolIndex::new();
    for name in ["delta", "alpha", "charlie", "bravo"] {
        index
            .publish(&tenant(), &agent(name), &[tool(&format!("{name}_go"), "Same words.", &[])])
            .unwrap();
    }
    assert_eq!(find(&index, "same"), ["alpha_go", "bravo_go", "charlie_go", "delta_go"]);
}

#[test]
fn publishing_replaces_and_nothing_removes() {
    let index = sample();
    index.publish(&tenant(), &agent("textkit"), &[tool("textkit_count", "Counts.", &[])]).unwrap();
    assert_eq!(find(&index, "summarize"), Vec::<String>::new());
    assert_eq!(find(&index, "count"), ["textkit_count"]);
    index.publish(&tenant(), &agent("textkit"), &[]).unwrap();
    assert_eq!(find(&index, ""), ["forecast"]);
}

#[test]
fn tenants_do_not_see_each_other() {
    let index = sample();
    let other = TenantName::new("other").unwrap();
    let everything = Query { text: String::new(), agent: None, limit: 10 };
    assert_eq!(index.search(&other, &everything).unwrap(), []);
    index.publish(&other, &agent("textkit"), &[]).unwrap();
    assert_eq!(find(&index, "").len(), 4);
}

#[test]
fn text_that_looks_like_query_syntax_is_only_text() {
    let index = sample();
    for text in [
        "\"",
        "'",
        "summarize\" OR \"rain",
        "name:summarize",
        "NEAR(a b)",
        "summarize*",
        "^summarize",
        "-rain",
        "(",
        "a AND",
        "NOT rain",
        "{name description}: rain",
        "rain\0",
        "'); DROP TABLE tools; --",
        "%",
        "\u{feff}rain",
        "🦀",
        "हिन्दी",
    ] {
        find(&index, text);
    }
    assert_eq!(find(&index, "NOT rain"), ["forecast"]);
    assert_eq!(find(&index, "!?"), Vec::<String>::new());
    assert_eq!(find(&index, "").len(), 4, "nothing was dropped");
}

#[test]
fn in_a_large_catalogue_rare_words_decide() {
    let index = ToolIndex::new();
    for number in 0..1000 {
        let named = |part| format!("agent{number}_part{part}");
        let tools: Vec<_> = (0..10)
            .map(|part| tool(&named(part), "Does the usual thing.", &[("text", "the text")]))
            .collect();
        index.publish(&tenant(), &agent(&format!("agent{number}")), &tools).unwrap();
    }
    index.publish(&tenant(), &agent("odd"), &[tool("odd_one", "Rare.", &[])]).unwrap();
    assert_eq!(find(&index, "agent777 part3")[0], "agent777_part3");
    assert_eq!(find(&index, "usual text rare"), ["odd_one"], "what every tool has does not count");
    assert_eq!(find_of(&index, "usual thing", None, 50).len(), 50, "unless there is nothing else");
    assert_eq!(find_of(&index, "usual", None, 50).len(), 50);
    assert_eq!(find_of(&index, "", None, 20_000).len(), 10_001);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn any_text_is_legal(text in any::<String>()) {
        find(sample_once(), &text);
    }
}

fn sample_once() -> &'static ToolIndex {
    static INDEX: std::sync::OnceLock<ToolIndex> = std::sync::OnceLock::new();
    INDEX.get_or_init(sample)
}
