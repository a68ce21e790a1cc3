use super::*;

#[test]
fn agent_names_are_dns_labels_that_start_with_a_letter() {
    for good in ["a", "text-kit", "a1", &"a".repeat(63)] {
        assert!(AgentName::new(good).is_ok(), "{good}");
    }
    for bad in ["", "A", "1a", "-a", "a-", "a_b", "ä", &"a".repeat(64)] {
        assert!(AgentName::new(bad).is_err(), "{bad}");
    }
    assert_eq!(AgentName::new("aop"), Err(NameError::Reserved("aop".to_owned())));
}

#[test]
fn a_file_stem_becomes_a_label() {
    for (stem, name) in
        [("Text_Kit", "text-kit"), ("7zip", "a7zip"), ("__a..b__", "a-b"), ("x", "x")]
    {
        assert_eq!(AgentName::from_file_stem(stem).map(|n| n.to_string()), Ok(name.to_owned()));
    }
    assert!(AgentName::from_file_stem("___").is_err());
    assert!(AgentName::from_file_stem(&"a".repeat(80)).is_err());
}

#[test]
fn tool_names_fit_model_apis() {
    assert!(ToolName::new("textkit_summarize").is_ok());
    for bad in ["", "_a", "1a", "a__b", "a.b", &"a".repeat(65)] {
        assert!(ToolName::new(bad).is_err(), "{bad}");
    }
}
