use std::sync::Arc;

use aop_core::{TenantName, ToolList};
use serde_json::Value;

use super::{BadCursor, Pages, TENANTS_CACHED_MAX};
use crate::config::Expose;
use crate::tests::tool;

fn list(names: &[&str]) -> Arc<ToolList> {
    Arc::new(ToolList { generation: 1, tools: names.iter().map(|name| tool(name)).collect() })
}

fn pages(size: usize) -> Pages {
    Pages::new(size.try_into().unwrap(), Expose::All)
}

fn names(page: &super::Page) -> Vec<String> {
    let tools: Vec<Value> = serde_json::from_slice(&page.tools).unwrap();
    tools
        .iter()
        .map(|tool| tool["name"].as_str().unwrap().to_owned())
        .filter(|name| !name.starts_with("aop_"))
        .collect()
}

#[test]
fn a_page_is_rendered_once_per_list() {
    let (pages, tenant) = (pages(2), TenantName::default_tenant());
    let one = list(&["a", "b", "c"]);
    let first = pages.page(&tenant, &one, None).unwrap();
    assert!(Arc::ptr_eq(&first, &pages.page(&tenant, &one, None).unwrap()));
    assert!(!Arc::ptr_eq(&first, &pages.page(&tenant, &list(&["a", "b", "c"]), None).unwrap()));
}

#[test]
fn paging_survives_a_change_of_the_set() {
    let (pages, tenant) = (pages(2), TenantName::default_tenant());
    let first = pages.page(&tenant, &list(&["a", "b", "d", "e", "f"]), None).unwrap();
    assert_eq!(names(&first), ["a", "b"]);
    // `a` left and `c` came: nothing that stayed is missed or repeated.
    let changed = list(&["b", "c", "d", "e", "f"]);
    let second = pages.page(&tenant, &changed, first.next.as_deref()).unwrap();
    assert_eq!(names(&second), ["c", "d"]);
    let third = pages.page(&tenant, &changed, second.next.as_deref()).unwrap();
    assert_eq!((names(&third), &third.next), (vec!["e".to_owned(), "f".to_owned()], &None));
}

#[test]
fn a_cursor_past_the_end_is_an_empty_page() {
    let (pages, tenant) = (pages(2), TenantName::default_tenant());
    let first = pages.page(&tenant, &list(&["a", "b", "c"]), None).unwrap();
    let rest = pages.page(&tenant, &list(&["a", "b"]), first.next.as_deref()).unwrap();
    assert_eq!((&*rest.tools, &rest.next), (&b"[]"[..], &None));
    assert_eq!(pages.page(&tenant, &list(&[]), Some("nonsense!")).unwrap_err(), BadCursor);
}

#[test]
fn pages_of_many_tenants_do_not_pile_up() {
    let pages = pages(2);
    let tools = list(&["a"]);
    for index in 0..3 * TENANTS_CACHED_MAX {
        let tenant = TenantName::new(&format!("t{index}")).unwrap();
        pages.page(&tenant, &tools, None).unwrap();
        assert!(pages.tenants.lock().unwrap().len() <= TENANTS_CACHED_MAX);
    }
}

#[test]
fn a_definition_has_everything_a_client_shows() {
    let page = pages(2).page(&TenantName::default_tenant(), &list(&["a"]), None).unwrap();
    let tools: Vec<Value> = serde_json::from_slice(&page.tools).unwrap();
    let shown = &tools[4];
    assert_eq!(shown["title"], "Title of a");
    assert_eq!(shown["description"], "What a \"does\"");
    assert_eq!(shown["inputSchema"]["type"], "object");
    assert_eq!(shown["outputSchema"]["type"], "object");
    let hints =
        serde_json::json!({ "readOnlyHint": true, "idempotentHint": true, "openWorldHint": false });
    assert_eq!(shown["annotations"], hints);
    assert!(shown.get("signature").is_none());
}
