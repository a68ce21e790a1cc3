#[path = "../../../../tests/fuzz/replay.rs"]
mod replay;

#[test]
fn requests_that_were_fuzzed_are_answered_alike_on_both_paths() {
    replay::replay_text("mcp", super::mcp);
}

#[test]
fn content_that_was_fuzzed_is_refused_or_read_alike() {
    replay::replay_text("content", super::content);
}

#[test]
fn skills_that_were_fuzzed_are_refused_or_found_where_they_say() {
    replay::replay_text("skill", super::skill);
}
