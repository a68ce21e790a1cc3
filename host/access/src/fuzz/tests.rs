#[path = "../../../../tests/fuzz/replay.rs"]
mod replay;

#[test]
fn logs_that_were_fuzzed_can_be_continued() {
    replay::replay("audit", super::audit);
}

#[test]
fn credentials_that_were_fuzzed_open_nothing() {
    replay::replay_text("token", super::token);
}
