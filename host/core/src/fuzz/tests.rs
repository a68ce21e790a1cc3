#[path = "../../../../tests/fuzz/replay.rs"]
mod replay;

use replay::replay_text;

#[test]
fn settings_that_were_fuzzed_hold() {
    replay_text("settings", super::settings);
}

#[test]
fn rules_that_were_fuzzed_hold() {
    replay_text("rule", super::rule);
}

#[test]
fn tokens_that_were_fuzzed_are_read_alike() {
    replay_text("token", super::token);
}
