//! `aop key create|list|revoke|rotate`

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use aop_access::audit::{AuditLog, audit_directory};
use aop_core::{Admin as _, ApiKey, Caller, NewKey, Scope, Scopes, TenantName};
use aop_store::{SqliteStore, StoreConfig};

use crate::access::Gatekeeper;
use crate::args::access::{KeyArgs, KeyCommand, KeyCreateArgs, KeyRotateArgs, ListArgs};
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
    let audit_directory = audit_directory(&directory);
    let store = Arc::new(SqliteStore::open(&StoreConfig::new(directory))?);
    let audit = Arc::new(AuditLog::open(&audit_directory, config.audit)?);
    let tenant = match &args.host.tenant {
        Some(tenant) => tenant.clone(),
        None => TenantName::default_tenant(),
    };
    let gatekeeper = Gatekeeper::open(&config, store.clone(), audit.clone(), Vec::new()).await?;
    let access = &gatekeeper.access;
    let tenants = access.tenants().await.map_err(|error| failure(error.to_string()))?;
    if tenants.iter().all(|known| known.name != tenant) {
        return Err(misuse(format!(
            "no tenant `{tenant}`: create it first with `aop tenant create`"
        )));
    }
    let created = access.create_key(&Caller::local(tenant), new).await.map_err(usage)?;
    store.close().await;
    audit.close();
    Ok(NewlyCreated { key: created.key, text: created.text.expose().to_owned() })
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
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
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

async fn revoke(args: &KeyArgs) -> CommandResult {
    let key = Client::of(&args.host)?.revoke_key(&args.id).await?;
    if args.json {
        return output::json(&key);
    }
    output::line(format_args!("revoked {}", key.id))?;
    Ok(())
}

async fn rotate(args: &KeyRotateArgs) -> CommandResult {
    let client = Client::of(&args.key.host)?;
    let created = client.rotate_key(&args.key.id, args.overlap).await?;
    print(&created, args.key.json)
}
