#[path = "../../../../tests/fuzz/replay.rs"]
mod replay;

#[test]
fn what_was_fuzzed_of_supply_holds() {
    replay::replay_text("supply", super::supply);
}
