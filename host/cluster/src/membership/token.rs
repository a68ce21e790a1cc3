//! Join tokens: how a stranger proves that a member invited it, and knows whose zone it joins.
//!
//! A token holds the fingerprint of the zone's authority, so that the joining node knows the zone
//! before it sends anything; the member that made it, which alone can redeem it, so that its uses
//! are counted in one place; where that member is; and a secret. The member keeps only the hash of
//! the secret.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use aop_core::cluster::JoinTokenRequest;
use aop_core::{Digest, NodeId};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::MembershipError;
use super::identity::{files, random};

/// What every token begins with; the number is the version of what follows.
const PREFIX: &str = "aop1_";
/// Longest token that is read.
const TOKEN_CHARS_MAX: usize = 1024;
/// Tokens that a member keeps at one time: beyond, somebody makes them in a loop.
const TOKENS_MAX: usize = 256;
/// Bytes of a secret: beyond guessing.
const SECRET_BYTES: usize = 16;

/// A token, read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JoinToken {
    /// Of the zone's authority.
    #[serde(rename = "z")]
    pub(crate) zone: Digest,
    /// The member that made it.
    #[serde(rename = "n")]
    pub(crate) node: NodeId,
    /// Where that member was.
    #[serde(rename = "e")]
    pub(crate) endpoint: SocketAddr,
    /// When it ends, in seconds since the Unix epoch.
    #[serde(rename = "x")]
    pub(crate) ends: u64,
    #[serde(rename = "s")]
    secret: String,
}

impl JoinToken {
    /// Reads a token as `aop cluster join-token` prints it.
    ///
    /// # Errors
    /// [`MembershipError::MalformedToken`].
    pub(crate) fn read(text: &str) -> Result<Self, MembershipError> {
        let text = text.trim();
        if text.len() > TOKEN_CHARS_MAX {
            return Err(MembershipError::MalformedToken);
        }
        text.strip_prefix(PREFIX)
            .and_then(|body| URL_SAFE_NO_PAD.decode(body).ok())
            .and_then(|json| serde_json::from_slice(&json).ok())
            .ok_or(MembershipError::MalformedToken)
    }

    /// As it is printed.
    pub(crate) fn write(&self) -> String {
        // Maps of strings and numbers always have a JSON.
        let json = serde_json::to_vec(self).unwrap_or_default();
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(json))
    }

    fn hash(&self) -> Digest {
        Digest::of(self.secret.as_bytes())
    }
}

/// What a member remembers of a token that it made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Issued {
    hash: Digest,
    ends: u64,
    uses_left: u32,
    /// Who joined with it. One that asks again, because it did not hear the answer, is let in again.
    joined: BTreeSet<NodeId>,
}

/// The tokens that this member made. Kept in a file, so that a use is never counted twice over a
/// restart; a changed list is written before anybody is let in.
#[derive(Debug)]
pub(crate) struct Tokens {
    path: PathBuf,
    issued: Mutex<Vec<Issued>>,
}

impl Tokens {
    pub(crate) fn open(path: PathBuf) -> Result<Self, MembershipError> {
        let issued = match files::read(&path)? {
            None => Vec::new(),
            Some(text) => serde_json::from_str(&text)
                .map_err(|error| MembershipError::damaged(&path, error))?,
        };
        Ok(Self { path, issued: Mutex::new(issued) })
    }

    /// Makes a token.
    ///
    /// # Errors
    /// [`MembershipError::Refused`] when too many are open or the request is out of bounds.
    pub(crate) fn issue(
        &self,
        zone: Digest,
        node: NodeId,
        endpoint: SocketAddr,
        request: JoinTokenRequest,
        now: u64,
    ) -> Result<JoinToken, MembershipError> {
        check(request)?;
        let mut secret = [0; SECRET_BYTES];
        random(&mut secret)?;
        let secret = URL_SAFE_NO_PAD.encode(secret);
        let token = JoinToken {
            zone,
            node,
            endpoint,
            ends: now.saturating_add(request.lifetime_s),
            secret,
        };
        let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next: Vec<_> = issued.iter().filter(|old| old.ends > now).cloned().collect();
        if next.len() >= TOKENS_MAX {
            return Err(MembershipError::Refused(format!(
                "{TOKENS_MAX} join tokens are open: wait until some have ended, or give them shorter lives"
            )));
        }
        next.push(Issued {
            hash: token.hash(),
            ends: token.ends,
            uses_left: request.uses,
            joined: BTreeSet::new(),
        });
        self.store(&next)?;
        *issued = next;
        Ok(token)
    }

    /// Uses a token for a node.
    ///
    /// # Errors
    /// [`MembershipError::Refused`] with the reason: unknown, ended or used up.
    pub(crate) fn redeem(
        &self,
        token: &JoinToken,
        node: &NodeId,
        now: u64,
    ) -> Result<(), MembershipError> {
        let refused = |reason: &str| {
            Err(MembershipError::Refused(format!(
                "{reason}: make another with `aop cluster join-token`"
            )))
        };
        let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = issued.clone();
        let hash = token.hash();
        // The hashes are compared, not the secrets: how long that takes tells nothing of use.
        let Some(known) = next.iter_mut().find(|known| known.hash == hash) else {
            return refused("the join token is unknown here, or it ended long ago");
        };
        if known.ends <= now {
            return refused("the join token has ended");
        }
        if known.joined.contains(node) {
            return Ok(());
        }
        if known.uses_left == 0 {
            return refused("the join token is used up");
        }
        known.uses_left -= 1;
        known.joined.insert(node.clone());
        self.store(&next)?;
        *issued = next;
        Ok(())
    }

    fn store(&self, issued: &[Issued]) -> Result<(), MembershipError> {
        let json = serde_json::to_vec(issued)
            .map_err(|error| MembershipError::Malformed(error.to_string()))?;
        files::write_private(&self.path, &json)
    }
}

fn check(request: JoinTokenRequest) -> Result<(), MembershipError> {
    let lifetime_max = JoinTokenRequest::LIFETIME_MAX.as_secs();
    if request.lifetime_s == 0 || request.lifetime_s > lifetime_max {
        return Err(MembershipError::Refused(format!(
            "a join token lives for 1 s to {} days",
            lifetime_max / (24 * 60 * 60)
        )));
    }
    if request.uses == 0 || request.uses > JoinTokenRequest::USES_MAX {
        return Err(MembershipError::Refused(format!(
            "a join token lets in 1 to {} nodes",
            JoinTokenRequest::USES_MAX
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: JoinTokenRequest = JoinTokenRequest { lifetime_s: 60, uses: 1 };

    fn node(key: &str) -> NodeId {
        NodeId::of_public_key(key.as_bytes())
    }

    fn tokens() -> (tempfile::TempDir, Tokens) {
        let directory = tempfile::tempdir().unwrap();
        let tokens = Tokens::open(directory.path().join("tokens.json")).unwrap();
        (directory, tokens)
    }

    fn issue(tokens: &Tokens, request: JoinTokenRequest) -> Result<JoinToken, MembershipError> {
        let endpoint = "127.0.0.1:8100".parse().unwrap();
        tokens.issue(Digest::of(b"zone"), node("member"), endpoint, request, 1000)
    }

    #[test]
    fn a_token_survives_text_and_nothing_else_is_one() {
        let (_directory, tokens) = tokens();
        let token = issue(&tokens, ONE).unwrap();
        let text = token.write();
        assert_eq!(JoinToken::read(&format!(" {text}\n")).unwrap(), token);
        for bad in ["", "aop1_", "nonsense", &text[1..], &text[..text.len() - 3], &"x".repeat(5000)]
        {
            assert!(JoinToken::read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_lets_in_as_many_as_it_says_and_who_asks_again() {
        let (directory, tokens) = tokens();
        let token = issue(&tokens, JoinTokenRequest { uses: 2, ..ONE }).unwrap();
        tokens.redeem(&token, &node("a"), 1001).unwrap();
        tokens.redeem(&token, &node("a"), 1002).unwrap();
        // The count survives a restart.
        let tokens = Tokens::open(directory.path().join("tokens.json")).unwrap();
        tokens.redeem(&token, &node("b"), 1003).unwrap();
        let error = tokens.redeem(&token, &node("c"), 1004).unwrap_err().to_string();
        assert!(error.contains("used up"), "{error}");
        tokens.redeem(&token, &node("b"), 1005).unwrap();
    }

    #[test]
    fn a_token_ends() {
        let (_directory, tokens) = tokens();
        let token = issue(&tokens, ONE).unwrap();
        tokens.redeem(&token, &node("a"), 1059).unwrap();
        let error = tokens.redeem(&token, &node("a"), 1060).unwrap_err().to_string();
        assert!(error.contains("has ended"), "{error}");
    }

    #[test]
    fn a_secret_that_was_not_made_here_is_refused() {
        let (_directory, tokens) = tokens();
        let mut token = issue(&tokens, ONE).unwrap();
        token.secret.push('x');
        let error = tokens.redeem(&token, &node("a"), 1001).unwrap_err().to_string();
        assert!(error.contains("unknown"), "{error}");
    }

    #[test]
    fn lives_uses_and_numbers_are_bounded() {
        let (_directory, tokens) = tokens();
        for bad in [
            JoinTokenRequest { lifetime_s: 0, ..ONE },
            JoinTokenRequest { lifetime_s: 7 * 24 * 3600 + 1, ..ONE },
            JoinTokenRequest { uses: 0, ..ONE },
            JoinTokenRequest { uses: 201, ..ONE },
        ] {
            assert!(issue(&tokens, bad).is_err(), "{bad:?}");
        }
        for _ in 0..TOKENS_MAX {
            issue(&tokens, ONE).unwrap();
        }
        let error = issue(&tokens, ONE).unwrap_err().to_string();
        assert!(error.contains("256 join tokens are open"), "{error}");
    }
}
