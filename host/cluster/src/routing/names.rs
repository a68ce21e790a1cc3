//! Which node of the zone resolves a name for all of them, and the question to it.

use std::sync::{Arc, Weak};

use aop_core::{BoxFuture, NodeId};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};

use super::Router;
use super::peers::Peers;
use super::placement::score;
use crate::FullName;
use crate::federation::resolver::Owners;
use crate::http2::SendError;
use crate::membership::View;

/// Where the question goes.
pub(super) const PATH: &str = "/name";
/// The longest full name, and more.
pub(super) const QUESTION_MAX_BYTES: usize = 1024;
/// The largest answer: a proof of as many links as a name has labels.
const ANSWER_MAX_BYTES: usize = 1 << 20;

/// Resolves names for other nodes of the zone.
pub trait AnswerNames: Send + Sync {
    /// The answer in bytes; none when there is none.
    fn answer<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Option<Vec<u8>>>;
}

/// The owners of names among the nodes of a zone: by rendezvous hashing over those that take calls.
pub struct NameOwners(pub Weak<Router>);

impl Owners for NameOwners {
    fn ask(&self, name: &FullName) -> Option<BoxFuture<'static, Result<Bytes, String>>> {
        let router = self.0.upgrade()?;
        let zone = router.zone.get()?;
        let owner = {
            let view = zone.members.view();
            let view = view.borrow();
            owner(&view, name.as_str())?
        };
        if owner == zone.node {
            return None;
        }
        let (peers, name) = (Arc::clone(&zone.peers), name.to_string());
        Some(Box::pin(async move { question(&peers, &owner, name).await }))
    }
}

/// The node that owns a name.
fn owner(view: &View, name: &str) -> Option<NodeId> {
    let takes_calls = view.members.values().filter(|member| !member.draining);
    takes_calls
        .max_by_key(|member| (score(&member.id, name.as_bytes(), 1), &member.id))
        .map(|member| member.id.clone())
}

async fn question(peers: &Peers, owner: &NodeId, name: String) -> Result<Bytes, String> {
    let request = Request::builder().method(Method::POST).uri(format!("https://node{PATH}"));
    let request = request.body(Bytes::from(name)).map_err(|error| error.to_string())?;
    let exchange = peers.send(owner, request).await.map_err(|error| match error {
        SendError::NotSent(reason) | SendError::Lost(reason) => reason,
        SendError::Full => "too much is under way".to_owned(),
    })?;
    let (response, _stream) = (exchange.response, exchange.stream);
    if response.status() != StatusCode::OK {
        return Err(format!("it answers with {}", response.status()));
    }
    let body = Limited::new(response.into_body(), ANSWER_MAX_BYTES).collect().await;
    Ok(body.map_err(|error| error.to_string())?.to_bytes())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use aop_core::Generation;

    use super::*;
    use crate::membership::{Load, Member};

    fn member(number: u8, draining: bool) -> Member {
        Member {
            id: NodeId::of_public_key(&[number]),
            generation: Generation(1),
            endpoint: ([127, 0, 0, number], 1).into(),
            load: Load::default(),
            capacity: 1,
            labels: BTreeMap::new(),
            draining,
            holds_authority: false,
            documents: BTreeMap::new(),
            version: 1,
        }
    }

    fn view(members: impl Iterator<Item = Member>) -> View {
        let members: BTreeMap<_, _> = members.map(|member| (member.id.clone(), member)).collect();
        View { node: NodeId::of_public_key(&[1]), members }
    }

    #[test]
    fn names_are_spread_and_only_those_of_a_node_that_goes_move() {
        let all = view((1..=5).map(|number| member(number, false)));
        let gone = NodeId::of_public_key(&[3]);
        let without = view((1..=5).map(|number| member(number, number == 3)));
        let mut counts: BTreeMap<NodeId, u32> = BTreeMap::new();
        for number in 0..1000 {
            let name = format!("agent{number}.acme.example");
            let before = owner(&all, &name).unwrap();
            let after = owner(&without, &name).unwrap();
            assert_ne!(after, gone);
            assert!(before == gone || before == after, "{name}");
            *counts.entry(before).or_default() += 1;
        }
        assert_eq!(counts.len(), 5);
        assert!(counts.values().all(|count| (130..270).contains(count)), "{counts:?}");
    }
}
