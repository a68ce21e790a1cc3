#[path = "../../../../tests/fuzz/replay.rs"]
mod replay;

#[test]
fn components_that_were_fuzzed_are_described_within_bounds_or_refused() {
    replay::replay("component", super::component);
}

#[test]
fn values_that_were_fuzzed_round_trip_or_are_refused_with_a_pointer() {
    replay::replay_text("value", super::value);
}

/// A seed that is none would be taken for what custom sections say, and nobody would notice.
#[test]
fn what_is_written_as_a_component_is_one_with_functions() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/corpus/component");
    for entry in std::fs::read_dir(corpus).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "wat") {
            let interface = crate::derive::interface(&wat::parse_file(&path).unwrap()).unwrap();
            assert!(!interface.functions.is_empty(), "{}: {interface:?}", path.display());
        }
    }
}
