//! `aop zone keygen|keys|retire|delegate|peer|forget|status|resolve`
//!
//! The first six change files in the host's data directory, whether it runs or not; a running host notices. The last
//! two ask a running host.

mod peers;
mod show;

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use aop_cluster::federation::authority::ZoneFiles;
use aop_cluster::federation::key;
use serde_json::json;

use crate::args::{FilesArgs, KeygenArgs, RetireArgs, ServeArgs, ZoneCommand, ZoneKeysArgs};
use crate::config::{Config, File, Flags};
use crate::exit::{CommandError, CommandResult, misuse};
use crate::output;

pub(crate) async fn run(command: &ZoneCommand) -> CommandResult {
    match command {
        ZoneCommand::Keygen(args) => keygen(args),
        ZoneCommand::Keys(args) => keys(args),
        ZoneCommand::Retire(args) => retire(args),
        ZoneCommand::Delegate(args) => peers::delegate(args).await,
        ZoneCommand::Peer(args) => peers::peer(args).await,
        ZoneCommand::Forget(args) => peers::forget(args),
        ZoneCommand::Status(args) => show::status(args).await,
        ZoneCommand::Resolve(args) => show::resolve(args).await,
    }
}

/// The host's configuration, as the files that its zone is kept in depend on it.
fn configured(args: &FilesArgs) -> Result<(Config, ZoneFiles), CommandError> {
    let file = File::find(args.config.as_deref())?;
    let serve = ServeArgs { data: args.data.clone(), ..ServeArgs::default() };
    let config = Config::load(file.as_ref(), &Flags::new(&serve))?;
    let files = ZoneFiles::new(&config.data_directory()?);
    Ok((config, files))
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

fn keygen(args: &KeygenArgs) -> CommandResult {
    let (config, files) = configured(&args.files)?;
    let made = key::generate(&files.keys(), now_ms())?;
    let thumbprint = made.key.public().thumbprint();
    if args.json {
        return output::json(&json!({ "thumbprint": thumbprint, "path": made.path }));
    }
    output::line(thumbprint)?;
    output::note(format_args!("the key is in {}", made.path.display()));
    if config.zone.name.is_none() {
        output::note("name the zone in the host's configuration: `[zone]` with `name = \"…\"`");
    }
    Ok(())
}

fn keys(args: &ZoneKeysArgs) -> CommandResult {
    let (_, files) = configured(&args.files)?;
    let keys = key::read(&files.keys())?;
    let last = keys.len().saturating_sub(1);
    let row = |(number, file): (usize, &key::KeyFile)| {
        let signs = if number == last { "everything" } else { "the apex" };
        (file.key.public().thumbprint().to_string(), signs, file.path.display().to_string())
    };
    let rows: Vec<_> = keys.iter().enumerate().map(row).collect();
    if args.json {
        let keys: Vec<_> = rows
            .iter()
            .map(|(thumbprint, signs, path)| {
                json!({ "thumbprint": thumbprint, "signs": signs, "path": path })
            })
            .collect();
        return output::json(&json!({ "keys": keys }));
    }
    let rows =
        rows.into_iter().map(|(thumbprint, signs, path)| [thumbprint, signs.to_owned(), path]);
    output::line(output::table(["THUMBPRINT", "SIGNS", "FILE"], rows))?;
    Ok(())
}

fn retire(args: &RetireArgs) -> CommandResult {
    let (_, files) = configured(&args.files)?;
    let keys = key::read(&files.keys())?;
    let found = keys.iter().find(|file| *file.key.public().thumbprint() == args.thumbprint);
    let file = found.ok_or_else(|| {
        misuse(format!("the zone has no key {}: see `aop zone keys`", args.thumbprint))
    })?;
    if keys.len() == 1 {
        return Err(misuse("it is the only key: make another one with `aop zone keygen` first"));
    }
    if keys.last().is_some_and(|newest| newest.path == file.path) {
        return Err(misuse(
            "it is the newest key, which signs everything: make a newer one with `aop zone keygen` first",
        ));
    }
    remove(&file.path)?;
    if args.json {
        return output::json(&json!({ "retired": args.thumbprint }));
    }
    output::line(format_args!("retired {}", args.thumbprint))?;
    Ok(())
}

fn remove(path: &Path) -> anyhow::Result<()> {
    std::fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))
}
