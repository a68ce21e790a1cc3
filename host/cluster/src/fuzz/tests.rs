#[path = "../../../../tests/fuzz/replay.rs"]
mod replay;

#[test]
fn what_was_fuzzed_of_zones_holds() {
    replay::replay_text("zone", super::zone);
}

#[test]
fn invitations_that_were_fuzzed_are_read_alike() {
    replay::replay_text("token", super::token);
}
