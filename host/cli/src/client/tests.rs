use std::sync::atomic::Ordering;

use super::*;
use crate::testing::host;

fn message(error: &CommandError) -> String {
    error.conclusion().0.unwrap()
}

#[tokio::test]
async fn a_host_that_lists_one_page_for_ever_is_left() {
    let page = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[],"nextCursor":"same"}}"#;
    let (url, count) = host(200, page).await;
    let error = Client::new(&url).unwrap().tools().await.unwrap_err();
    assert!(message(&error).contains("again and again"));
    assert_eq!(count.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn an_unknown_tool_is_misuse_and_any_other_refusal_a_failure() {
    let refusals = [
        (r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"Unknown tool: x"}}"#, true),
        (r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"broken"}}"#, false),
        ("<html>", false),
    ];
    for (answer, is_misuse) in refusals {
        let (url, _) = host(400, answer).await;
        let error = Client::new(&url).unwrap().call("x", "{}").await.unwrap_err();
        assert_eq!(matches!(error, CommandError::Usage(_)), is_misuse, "{answer}");
    }
}

#[tokio::test]
async fn a_name_that_fits_no_header_or_path_is_not_sent() {
    let (url, count) = host(200, "").await;
    let client = Client::new(&url).unwrap();
    for name in ["", "a b", "a\nb", "é", "../x"] {
        assert!(matches!(client.agent(name).await, Err(CommandError::Usage(_))), "{name:?}");
    }
    for name in ["", "a b", "a\nb", "é"] {
        assert!(matches!(client.call(name, "{}").await, Err(CommandError::Usage(_))), "{name:?}");
    }
    assert_eq!(count.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_problem_of_the_admin_api_is_told_in_its_words() {
    let (url, _) = host(409, r#"{"code":"conflict","message":"owned by a file"}"#).await;
    let error = Client::new(&url).unwrap().unload_agent("x").await.unwrap_err();
    assert!(matches!(error, CommandError::Failure(_)));
    assert_eq!(message(&error), "owned by a file");
    let (url, _) = host(404, r#"{"code":"not_found","message":"no agent"}"#).await;
    let error = Client::new(&url).unwrap().unload_agent("x").await.unwrap_err();
    assert!(matches!(error, CommandError::Usage(_)));
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off() {
    let (url, _) = host(200, "0123456789").await;
    let client = Client::new(&url).unwrap();
    let get = || client.send(client.http.get(url.as_str()));
    assert_eq!(bounded_body(get().await.unwrap(), 10).await.unwrap(), "0123456789");
    assert!(
        bounded_body(get().await.unwrap(), 9)
            .await
            .unwrap_err()
            .to_string()
            .contains("larger than")
    );
}

#[tokio::test]
async fn a_host_that_is_not_there_is_told_with_the_fix() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = Client::new(&url).unwrap().agents().await.unwrap_err();
    assert!(message(&error).contains("aop serve"), "{}", message(&error));
}
