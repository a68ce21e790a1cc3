#[path = "../../../../tests/fuzz/replay.rs"]
mod replay;

#[test]
fn requests_that_were_fuzzed_are_answered_alike_on_both_paths() {
    replay::replay_text("mcp", super::mcp);
}
