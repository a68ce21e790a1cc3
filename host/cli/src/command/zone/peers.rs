//! Other zones: pinned, delegated, forgotten.

use std::path::Path;

use anyhow::Context as _;
use aop_cluster::durable;
use aop_cluster::federation::ZoneName;
use aop_cluster::federation::book::{Book, Peer, Relation, Token};
use aop_cluster::federation::key::Thumbprint;
use aop_cluster::federation::record::Endpoint;
use aop_cluster::federation::well_known::{self, DOCUMENT_MAX_BYTES, Introduction};
use serde_json::json;

use super::{configured, now_ms};
use crate::args::{DelegateArgs, ForgetArgs, PeerArgs, PinArgs};
use crate::client::fetch;
use crate::exit::{CommandError, CommandResult, failure, misuse, usage};
use crate::{arguments, output};

pub(super) async fn delegate(args: &DelegateArgs) -> CommandResult {
    let (config, _) = configured(&args.pin.files)?;
    let own = config.zone.name.ok_or_else(|| {
        misuse("the host's configuration names no zone: set `[zone]` with `name = \"…\"`")
    })?;
    if !args.child.is_below(&own) {
        return Err(misuse(format!(
            "{} is not below {own}: a zone delegates only what is",
            args.child
        )));
    }
    if args.attached {
        return pin(&args.child, None, Relation::Child, None, &args.pin);
    }
    let url = args.at.clone().unwrap_or_else(|| format!("https://{}", args.child));
    let known = match &args.pin.key {
        // Whoever brings the key need not reach the zone, which may not run yet.
        Some(key) => known_by_key(&url, &args.child, key, &args.pin).await,
        None => Some(introduced(&url, &args.pin).await?),
    };
    if let Some(known) = known.as_ref().filter(|known| known.apex.zone != args.child) {
        return Err(failure(format!("{url} is the zone {}, not {}", known.apex.zone, args.child)));
    }
    pin(&args.child, Some(&url), Relation::Child, known, &args.pin)
}

pub(super) async fn peer(args: &PeerArgs) -> CommandResult {
    let (url, relation) = args.at();
    let (config, _) = configured(&args.pin.files)?;
    let known = introduced(url, &args.pin).await?;
    let zone = known.apex.zone.clone();
    if let (Some(own), Relation::Parent) = (&config.zone.name, relation)
        && !own.is_below(&zone)
    {
        return Err(misuse(format!("{zone} is not above {own}: pin it with --anchor instead")));
    }
    if config.zone.name.as_ref() == Some(&zone) {
        return Err(misuse(format!("{url} is this zone itself")));
    }
    pin(&zone, Some(url), relation, Some(known), &args.pin)
}

async fn known_by_key(
    url: &str,
    child: &ZoneName,
    key: &Thumbprint,
    args: &PinArgs,
) -> Option<Introduction> {
    match introduced(url, args).await {
        Ok(known) => Some(known),
        Err(error) => {
            let reason = error.conclusion().0.unwrap_or_default();
            output::note(format_args!("{child} is known by its key {key} only: {reason}"));
            None
        }
    }
}

/// What a zone says of itself, signed by the key that its operator named, if one is.
async fn introduced(url: &str, args: &PinArgs) -> Result<Introduction, CommandError> {
    let at = format!("{}/.well-known/aop-zone.json", url.trim_end_matches('/'));
    let token = args.token.as_deref().map(read_token).transpose()?;
    let token = token.as_ref().map(Token::secret);
    let document = fetch(&at, token, DOCUMENT_MAX_BYTES).await?;
    let trusted = args.key.clone().map(|key| vec![key]);
    let read = well_known::read(document.as_bytes(), trusted.as_deref(), now_ms() / 1000);
    read.map_err(|error| failure(format!("{at} is not believed: {error}")))
}

fn pin(
    zone: &ZoneName,
    url: Option<&str>,
    relation: Relation,
    known: Option<Introduction>,
    args: &PinArgs,
) -> CommandResult {
    let (_, files) = configured(&args.files)?;
    let token = args.token.as_deref().map(read_token).transpose()?;
    let keys = match (&known, &args.key) {
        (Some(known), _) => known.keys.clone(),
        (None, Some(key)) => vec![key.clone()],
        (None, None) => Vec::new(),
    };
    Book::edit(&files.book(), |book| -> Result<(), CommandError> {
        let old = book.peers.remove(zone);
        if relation == Relation::Parent
            && let Some((parent, _)) = book.parent()
        {
            let message =
                format!("{parent} is the parent already: `aop zone forget {parent}` first");
            return Err(misuse(message));
        }
        // Once nothing refuses the peer, so that no token lies about that nobody takes.
        let issued = args.issue_token.as_deref().map(issue_token).transpose()?;
        let peer = Peer {
            relation,
            endpoints: url.map(endpoint).into_iter().collect(),
            keys: keys.clone(),
            exports: known
                .map(|known| known.exports)
                // Without endpoints it cannot be asked, and says it when it comes.
                .or_else(|| old.as_ref().filter(|_| url.is_none()).map(|old| old.exports.clone()))
                .unwrap_or_default(),
            token: token.or_else(|| old.as_ref().and_then(|old| old.token.clone())),
            accepts: issued
                .map(|token| token.digest())
                .or_else(|| old.as_ref().and_then(|old| old.accepts)),
        };
        book.peers.insert(zone.clone(), peer);
        Ok(())
    })?;
    if args.json {
        return output::json(&json!({
            "zone": zone,
            "relation": relation,
            "url": url,
            "keys": keys,
            "token_issued": args.issue_token,
        }));
    }
    say_pinned(zone, url, &keys, args)
}

fn say_pinned(
    zone: &ZoneName,
    url: Option<&str>,
    keys: &[Thumbprint],
    args: &PinArgs,
) -> CommandResult {
    output::line(zone)?;
    for key in keys {
        output::line(format_args!("  pinned {key}"))?;
    }
    if args.key.is_none() {
        output::note(
            "compare the key with what the zone's operator says (`aop zone keys`), or name it with --key",
        );
    }
    if url.is_none() {
        output::note(format_args!(
            "{zone} is reached once it has `reach = \"parent\"` in its [zone] and knows this zone as its parent: `aop zone peer --parent URL`"
        ));
    }
    if let Some(path) = &args.issue_token {
        output::note(format_args!(
            "give {} to the operator of {zone}, by a way that is private",
            path.display()
        ));
    }
    Ok(())
}

fn endpoint(url: &str) -> Endpoint {
    Endpoint { url: url.trim_end_matches('/').to_owned(), weight: 1 }
}

fn read_token(path: &Path) -> Result<Token, CommandError> {
    let text = arguments::read_file(path)?;
    Token::parse(text.trim()).map_err(|error| misuse(format!("{}: {error}", path.display())))
}

/// A new token in a file of its own, for its owner's eyes.
fn issue_token(path: &Path) -> Result<Token, CommandError> {
    let token = Token::generate()?;
    durable::write_new(path, format!("{}\n", token.secret()).as_bytes())
        .with_context(|| format!("cannot write the token to {}", path.display()))
        .map_err(usage)?;
    Ok(token)
}

pub(super) fn forget(args: &ForgetArgs) -> CommandResult {
    let (_, files) = configured(&args.files)?;
    Book::edit(&files.book(), |book| match book.peers.remove(&args.zone) {
        Some(_) => Ok(()),
        None => Err(misuse(format!("{} is not known: see `aop zone status`", args.zone))),
    })?;
    if args.json {
        return output::json(&json!({ "forgotten": args.zone }));
    }
    output::line(format_args!("forgot {}", args.zone))?;
    Ok(())
}
