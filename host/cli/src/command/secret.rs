//! `aop secret set|list|delete`

use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use aop_core::Secret;

use crate::args::access::{ListArgs, SecretArgs, SecretCommand, SecretSetArgs};
use crate::client::Client;
use crate::exit::{CommandError, CommandResult, misuse, usage};
use crate::output;

pub(crate) async fn run(command: &SecretCommand) -> CommandResult {
    match command {
        SecretCommand::Set(args) => set(args).await,
        SecretCommand::List(args) => list(args).await,
        SecretCommand::Delete(args) => delete(args).await,
    }
}

async fn set(args: &SecretSetArgs) -> CommandResult {
    let value = read(args.from.as_deref())?;
    let entry = Client::of(&args.secret.host)?.set_secret(&args.secret.name, &value).await?;
    if args.secret.json {
        return output::json(&entry);
    }
    output::line(format_args!("set {}", entry.name))?;
    Ok(())
}

/// The value, without the line end that editors and `echo` add. It is never an argument, which every process of the machine
/// could read.
fn read(file: Option<&Path>) -> Result<Secret, CommandError> {
    let limit = Secret::LENGTH_MAX_BYTES as u64 + 3;
    let mut text = String::new();
    let read = match file {
        Some(path) => std::fs::File::open(path)
            .and_then(|file| file.take(limit).read_to_string(&mut text))
            .with_context(|| format!("cannot read {}", path.display())),
        None => std::io::stdin()
            .lock()
            .take(limit)
            .read_to_string(&mut text)
            .context("cannot read the secret from stdin"),
    };
    read.map_err(usage)?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    let secret = Secret::new(text);
    match secret.expose().len() {
        0 => Err(misuse("the secret is empty: pipe its value in, or name a file with --from")),
        length if length > Secret::LENGTH_MAX_BYTES => {
            Err(misuse(format!("a secret has at most {} bytes", Secret::LENGTH_MAX_BYTES)))
        }
        _ => Ok(secret),
    }
}

async fn list(args: &ListArgs) -> CommandResult {
    let secrets = Client::of(&args.host)?.secrets().await?;
    if args.json {
        return output::json(&secrets);
    }
    output::line(output::table(
        ["SECRET", "SET"],
        secrets
            .secrets
            .iter()
            .map(|secret| [secret.name.to_string(), output::time(secret.updated_unix_ms)]),
    ))?;
    Ok(())
}

async fn delete(args: &SecretArgs) -> CommandResult {
    Client::of(&args.host)?.delete_secret(&args.name).await?;
    if args.json {
        return output::json(&serde_json::json!({ "deleted": args.name }));
    }
    output::line(format_args!("deleted {}", args.name))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_end_is_none_of_the_secret() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        for (text, value) in [("a", "a"), ("a\n", "a"), ("a\r\n", "a"), ("a\nb\n\n", "a\nb\n")] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(read(Some(&path)).unwrap().expose(), value, "{text:?}");
        }
        for text in [String::new(), "\n".to_owned(), "x".repeat(Secret::LENGTH_MAX_BYTES + 1)] {
            std::fs::write(&path, text).unwrap();
            assert!(matches!(read(Some(&path)), Err(CommandError::Usage(_))));
        }
    }
}
