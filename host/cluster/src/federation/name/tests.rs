use proptest::prelude::*;

use super::*;

fn zone(text: &str) -> ZoneName {
    text.parse().unwrap()
}

#[test]
fn a_full_name_is_a_label_in_front_of_a_zone() {
    let name: FullName = "writer.eu.acme.example".parse().unwrap();
    assert_eq!(name.label(), "writer");
    assert_eq!(name.zone().labels().collect::<Vec<_>>(), ["eu", "acme", "example"]);
    assert_eq!(name.to_string(), "writer.eu.acme.example");
    "Text_kit-x.eu".parse::<FullName>().unwrap();
    for bad in ["writer", "writer.", "writer..x", ".x", "writer.UP", "writer.-x", "a b.x", ""] {
        assert!(bad.parse::<FullName>().is_err(), "{bad}");
    }
}

#[test]
fn names_are_read_as_people_write_them() {
    assert_eq!(
        FullName::typed("Get_URL.EU.Acme.example.").unwrap().as_str(),
        "Get_URL.eu.acme.example"
    );
    assert_eq!(ZoneName::typed("EU.acme.Example.").unwrap().as_str(), "eu.acme.example");
    for bad in ["writer.x..", ".", "", "writer.", "writer"] {
        assert!(FullName::typed(bad).is_err(), "{bad}");
    }
}

#[test]
fn containment_respects_label_boundaries() {
    assert!(zone("eu.acme.example").is_below(&zone("acme.example")));
    assert!(zone("acme.example").is_within(&zone("acme.example")));
    assert!(!zone("acme.example").is_below(&zone("acme.example")));
    assert!(!zone("evilacme.example").is_within(&zone("acme.example")));
    let name: FullName = "eu.acme.example".parse().unwrap();
    assert!(name.is_zone(&zone("eu.acme.example")) && name.is_within(&zone("eu.acme.example")));
}

#[test]
fn an_imported_tool_carries_its_zone_or_is_not_imported() {
    let tool = ToolName::new("textkit_summarize").unwrap();
    let imported = zone("eu.acme.example").imported_tool_name(&tool).unwrap();
    assert_eq!(imported.as_str(), "textkit_summarize__eu_acme_example");
    let long = zone(&format!("{}.example", "a".repeat(50)));
    assert_eq!(long.imported_tool_name(&tool), None);
}

proptest! {
    #[test]
    fn any_text_is_refused_or_comes_back(text in ".{0,300}") {
        if let Ok(name) = text.parse::<ZoneName>() {
            prop_assert_eq!(name.to_string(), text.clone());
        }
        if let Ok(name) = text.parse::<FullName>() {
            prop_assert_eq!(format!("{}.{}", name.label(), name.zone()), text);
        }
    }

    #[test]
    fn below_is_a_strict_order(labels in prop::collection::vec("[a-z]{1,3}", 1..6)) {
        let whole = zone(&labels.join("."));
        for skip in 1..labels.len() {
            let above = zone(&labels[skip..].join("."));
            prop_assert!(whole.is_below(&above) && !above.is_below(&whole));
            prop_assert!(above.depth() < whole.depth());
        }
    }
}
