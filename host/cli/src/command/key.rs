//! `aop key create|list|revoke|rotate`

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use aop_core::{Admin as _, ApiKey, Caller, KeyId, NewKey, Scope, Scopes, TenantName};
use aop_store::{SqliteStore, StoreConfig};

use crate::access::Gatekeeper;
use crate::args::access::{KeyCommand, KeyCreateArgs, KeyRevokeArgs, KeyRotateArgs, ListArgs};
use crate::audit::KeptLog;
use crate::client::{Client, NewlyCreated};
use crate::config::Config;
use crate::exit::{CommandError, CommandResult, failure, misuse, usage};
use crate::output;

pub(crate) async fn run(command: &KeyCommand) -> CommandResult {
    match command {
        KeyCommand::Create(args) => create(args).await,
        KeyCommand::List(args) => list(args).await,
        KeyCommand::Revoke(args) => revoke(args).await,
        KeyCommand::Rotate(args) => rotate(args).await,
    }
}

async fn create(args: &KeyCreateArgs) -> CommandResult {
    let scopes = match (args.admin, args.scopes.is_empty()) {
        (true, _) => Scopes::ALL,
        (false, true) => [Scope::ToolsCall, Scope::ToolsList].into_iter().collect(),
        (false, false) => args.scopes.iter().copied().collect(),
    };
    let new = NewKey {
        name: args.name.clone(),
        scopes,
        expires_in_seconds: args.expires.map(|expires| expires.as_secs()),
    };
    let created = match args.offline {
        true => create_offline(args, new).await?,
        false => Client::of(&args.host)?.create_key(&new).await?,
    };
    print(&created, args.json)
}

/// The directory's lock says that no host runs there, so whoever may write into it decides.
async fn create_offline(args: &KeyCreateArgs, new: NewKey) -> Result<NewlyCreated, CommandError> {
    let config = Config { data: args.data.clone(), ..Config::default() };
    let directory = config.data_directory()?;
    if args.data.is_some() {
        check_is_of_a_host(&directory)?;
    }
    let store = Arc::new(SqliteStore::open(&StoreConfig::new(&directory))?);
    let kept_log = KeptLog::open(&store, &directory, config.audit).await?;
    let tenant = match &args.host.tenant {
        Some(tenant) => tenant.clone(),
        None => TenantName::default_tenant(),
    };
    let gatekeeper =
        Gatekeeper::open(&config, store.clone(), kept_log.log.clone(), Vec::new()).await?;
    let access = &gatekeeper.access;
    let tenants = access.tenants().await.map_err(|error| failure(error.to_string()))?;
    if tenants.iter().all(|known| known.name != tenant) {
        return Err(misuse(format!(
            "no tenant `{tenant}`: create it first with `aop tenant create`"
        )));
    }
    let created = access.create_key(&Caller::local(tenant), new).await.map_err(usage)?;
    kept_log.close().await;
    store.close().await;
    Ok(NewlyCreated { key: created.key, text: created.text.expose().to_owned() })
}

/// A directory that somebody named: making one would hide a mistyped name, and nobody would look for the key there.
fn check_is_of_a_host(directory: &Path) -> Result<(), CommandError> {
    let shown = directory.display();
    let Ok(mut entries) = directory.read_dir() else {
        return Err(misuse(format!(
            "there is no directory {shown}: name the data directory of a host, or make it first for a new one"
        )));
    };
    if SqliteStore::is_in(directory) || entries.next().is_none() {
        return Ok(());
    }
    Err(misuse(format!(
        "{shown} holds other things than a host's data: name the data directory of a host, or an empty one for a new host"
    )))
}

/// The key alone on stdout, so that a script can take it; what there is to say of it beside.
fn print(created: &NewlyCreated, as_json: bool) -> CommandResult {
    if as_json {
        return output::json(created);
    }
    output::line(&created.text)?;
    output::note(format_args!(
        "This is the only time that the key is shown. Its id is {}, its scopes: {}.",
        created.key.id, created.key.scopes
    ));
    Ok(())
}

async fn list(args: &ListArgs) -> CommandResult {
    let keys = Client::of(&args.host)?.keys().await?;
    if args.json {
        return output::json(&keys);
    }
    output::line(table(&keys.keys))?;
    Ok(())
}

fn table(keys: &[ApiKey]) -> String {
    let now = now_unix_ms();
    let at = |time: Option<u64>| time.map_or_else(|| "-".to_owned(), output::time);
    output::table(
        ["ID", "NAME", "SCOPES", "STATE", "EXPIRES", "LAST USED"],
        keys.iter().map(|key| {
            let state = match (key.revoked_unix_ms, key.is_valid(now)) {
                (Some(_), _) => "revoked",
                (None, true) => "valid",
                (None, false) => "expired",
            };
            [
                key.id.to_string(),
                key.name.clone(),
                key.scopes.to_string(),
                state.to_owned(),
                at(key.expires_unix_ms),
                at(key.last_used_unix_ms),
            ]
        }),
    )
}

async fn revoke(args: &KeyRevokeArgs) -> CommandResult {
    let KeyRevokeArgs { key: args, yes } = args;
    let client = Client::of(&args.host)?;
    if !yes && is_last_admin(&client.keys().await?.keys, &args.id) {
        return Err(misuse(format!(
            "`{}` is the last key of its tenant that may manage the host (cluster:admin): without one, only `aop key create --admin --offline` on a host that is stopped makes another. Create it first, or add --yes",
            args.id
        )));
    }
    let key = client.revoke_key(&args.id).await?;
    if args.json {
        return output::json(&key);
    }
    output::line(format_args!("revoked {}", key.id))?;
    Ok(())
}

/// Whether no other of these keys may manage the host, now and for ever.
fn is_last_admin(keys: &[ApiKey], id: &KeyId) -> bool {
    let now = now_unix_ms();
    let is_admin = |key: &&ApiKey| key.scopes.has(Scope::ClusterAdmin) && key.is_valid(now);
    let mut admins = keys.iter().filter(is_admin);
    let (first, second) = (admins.next(), admins.next());
    second.is_none() && first.is_some_and(|only| only.id == *id)
}

fn now_unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

async fn rotate(args: &KeyRotateArgs) -> CommandResult {
    let client = Client::of(&args.key.host)?;
    let created = client.rotate_key(&args.key.id, args.overlap).await?;
    print(&created, args.key.json)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str, scopes: Scopes) -> ApiKey {
        let id = KeyId::new(id).unwrap();
        ApiKey {
            id: id.clone(),
            tenant: TenantName::default_tenant(),
            subject: id,
            name: "k".to_owned(),
            scopes,
            created_unix_ms: 0,
            expires_unix_ms: None,
            revoked_unix_ms: None,
            last_used_unix_ms: None,
        }
    }

    #[test]
    fn the_last_key_that_manages_the_host_is_told_from_others() {
        let (first, second) = (key("aaaaaaaaaaaa", Scopes::ALL), key("bbbbbbbbbbbb", Scopes::ALL));
        let weak = key("cccccccccccc", Scopes::NONE.with(Scope::TenantAdmin));
        let revoked = ApiKey { revoked_unix_ms: Some(1), ..second.clone() };
        assert!(!is_last_admin(&[first.clone(), second.clone()], &first.id));
        assert!(is_last_admin(&[first.clone(), revoked.clone(), weak.clone()], &first.id));
        assert!(!is_last_admin(&[first.clone(), revoked, weak.clone()], &weak.id));
        assert!(
            !is_last_admin(std::slice::from_ref(&weak), &weak.id),
            "there was none before either"
        );
    }

    #[test]
    fn a_key_is_made_in_the_data_of_a_host_or_in_an_empty_directory() {
        let directory = tempfile::tempdir().unwrap();
        check_is_of_a_host(directory.path()).unwrap();
        let message = |path: &Path| check_is_of_a_host(path).unwrap_err().conclusion().0.unwrap();
        assert!(message(&directory.path().join("typo")).contains("there is no directory"));
        std::fs::write(directory.path().join("letters.txt"), "").unwrap();
        assert!(message(directory.path()).contains("holds other things"));
        std::fs::write(directory.path().join("aop.sqlite"), "").unwrap();
        check_is_of_a_host(directory.path()).unwrap();
    }
}
