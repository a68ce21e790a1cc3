use super::connection::check;
use super::report::percentile;
use super::*;
use crate::testing::host;

#[test]
fn percentiles_are_by_nearest_rank() {
    let sorted: Vec<_> = (1..=100).map(Duration::from_millis).collect();
    assert_eq!(
        [50, 95, 99, 100].map(|percent| percentile(&sorted, percent)),
        [50.0, 95.0, 99.0, 100.0]
    );
    assert_eq!(percentile(&sorted[..1], 50), 1.0);
    assert_eq!(percentile(&[], 99), 0.0);
}

#[test]
fn only_a_result_without_an_error_counts() {
    let good = br#"{"jsonrpc":"2.0","id":1,"result":{"isError":false,"content":[{"type":"text","text":"\"isError\":true"}]}}"#;
    assert!(check(good, false).is_ok());
    for bad in [
        r#"{"jsonrpc":"2.0","id":1,"result":{"isError":true,"content":[]}}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"no"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
        "oops",
    ] {
        assert!(check(bad.as_bytes(), false).is_err(), "{bad}");
    }
    let mut stream = b"event: message\ndata: ".to_vec();
    stream.extend_from_slice(good);
    stream.extend_from_slice(b"\n\n");
    assert!(check(&stream, true).is_ok());
}

fn args(url: String) -> BenchArgs {
    BenchArgs {
        key: None,
        url,
        tool: "echo".to_owned(),
        arguments: r#"{"text":"hi"}"#.to_owned(),
        concurrency: 4,
        calls: 50,
        warm_up: 1,
        protocol: BenchProtocol::Stateless,
        plain: false,
        json: true,
    }
}

#[tokio::test]
async fn every_call_is_made_once_and_warm_up_is_not_counted() {
    let (url, count) =
        host(200, r#"{"jsonrpc":"2.0","id":1,"result":{"content":[],"isError":false}}"#).await;
    let args = args(url);
    let report = measure(&args, &Arc::new(target(&args).unwrap())).await.unwrap();
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!((json["calls"].as_u64(), json["errors"].as_u64()), (Some(50), Some(0)));
    assert_eq!(count.load(Ordering::Relaxed), 50 + 4);
}

#[tokio::test]
async fn a_failing_tool_ends_the_measurement_with_its_answer() {
    let (url, _) =
        host(200, r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"no tool"}}"#).await;
    let args = args(url);
    let error = measure(&args, &Arc::new(target(&args).unwrap())).await.unwrap_err();
    assert!(format!("{error:#}").contains("no tool"), "{error:#}");
}

#[tokio::test]
async fn the_baseline_posts_the_arguments_alone() {
    let (url, count) = host(200, "whatever").await;
    let args = BenchArgs { plain: true, warm_up: 0, ..args(format!("{url}/echo")) };
    let report = measure(&args, &Arc::new(target(&args).unwrap())).await.unwrap();
    assert_eq!((report.errors, count.load(Ordering::Relaxed)), (0, 50));
}

#[test]
fn https_is_refused() {
    let error = target(&args("https://127.0.0.1:1".to_owned())).err().unwrap();
    assert!(error.conclusion().0.unwrap().contains("plain http only"));
}
