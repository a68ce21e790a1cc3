use super::*;

fn token(issuer: &str, subject: &str) -> Subject {
    Subject::Token { issuer: issuer.into(), subject: subject.into() }
}

#[test]
fn scopes_are_a_set_that_is_written_as_oauth_writes_it() {
    let scopes: Scopes =
        [Scope::ToolsList, Scope::ToolsCall, Scope::ToolsList].into_iter().collect();
    assert_eq!(scopes.to_string(), "tools:call tools:list");
    assert!(scopes.has(Scope::ToolsCall) && !scopes.has(Scope::AgentsWrite));
    assert!(scopes.within(Scopes::ALL) && !Scopes::ALL.within(scopes));
    assert!(Scopes::NONE.is_empty() && Scopes::NONE.within(scopes));
    assert_eq!(scopes.and(Scopes::NONE.with(Scope::ToolsCall)).to_string(), "tools:call");
    assert_eq!(Scopes::ALL.iter().count(), Scope::ALL.len());
}

#[test]
fn every_scope_is_read_as_it_is_written() {
    for scope in Scope::ALL {
        assert_eq!(scope.as_str().parse(), Ok(scope));
        assert_eq!(serde_json::to_value(scope).unwrap(), scope.as_str());
    }
    assert!("tools".parse::<Scope>().unwrap_err().to_string().contains("cluster:admin"));
}

#[test]
fn a_caller_survives_the_way_to_another_node() {
    let zone = |name: Option<&str>| Subject::Zone { name: name.map(Into::into) };
    for subject in [
        Subject::Local,
        Subject::Key { id: "k1".into() },
        token("https://i", "s#x"),
        zone(Some("eu.acme.example")),
        zone(None),
    ] {
        let caller = Caller { subject, ..Caller::local(TenantName::new("acme").unwrap()) };
        let sent = serde_json::to_string(&caller).unwrap();
        assert_eq!(serde_json::from_str::<Caller>(&sent).unwrap(), caller, "{sent}");
    }
    let unknown = r#"{"tenant":"acme","subject":{"kind":"local"},"scopes":["root"]}"#;
    assert!(serde_json::from_str::<Caller>(unknown).is_err());
}

#[test]
fn callers_are_the_same_by_tenant_and_subject() {
    let local = Caller::local(TenantName::new("acme").unwrap());
    let fewer = Caller { scopes: Scopes::NONE, ..local.clone() };
    let elsewhere = Caller::local(TenantName::new("other").unwrap());
    let other = Caller { subject: token("https://i", "s"), ..local.clone() };
    assert!(local.is(&fewer) && !local.is(&elsewhere) && !local.is(&other));
}
