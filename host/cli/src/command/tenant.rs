//! `aop tenant create|list|show|delete`

use aop_core::Tenant;

use crate::args::access::{ListArgs, TenantArgs, TenantCommand, TenantDeleteArgs};
use crate::client::Client;
use crate::exit::{CommandResult, misuse};
use crate::output;

pub(crate) async fn run(command: &TenantCommand) -> CommandResult {
    match command {
        TenantCommand::Create(args) => create(args).await,
        TenantCommand::List(args) => list(args).await,
        TenantCommand::Show(args) => show(args).await,
        TenantCommand::Delete(args) => delete(args).await,
    }
}

async fn create(args: &TenantArgs) -> CommandResult {
    let tenant = Client::of(&args.host)?.create_tenant(&args.name).await?;
    if args.json {
        return output::json(&tenant);
    }
    output::line(format_args!("created {}", tenant.name))?;
    Ok(())
}

async fn list(args: &ListArgs) -> CommandResult {
    let tenants = Client::of(&args.host)?.tenants().await?;
    if args.json {
        return output::json(&tenants);
    }
    output::line(table(&tenants.tenants))?;
    Ok(())
}

fn table(tenants: &[Tenant]) -> String {
    output::table(
        ["TENANT", "CREATED"],
        tenants.iter().map(|tenant| {
            // The one that every host has was never created.
            let created = match tenant.created_unix_ms {
                0 => "-".to_owned(),
                created => output::time(created),
            };
            [tenant.name.to_string(), created]
        }),
    )
}

async fn show(args: &TenantArgs) -> CommandResult {
    let details = Client::of(&args.host)?.tenant(&args.name).await?;
    if args.json {
        return output::json(&details);
    }
    output::line(table(std::slice::from_ref(&details.tenant)))?;
    output::line("")?;
    output::line(output::table(
        ["WHAT", "COUNT"],
        [
            ("agents", details.agents),
            ("tools", details.tools),
            ("keys", details.keys),
            ("secrets", details.secrets),
        ]
        .map(|(what, count)| [what.to_owned(), count.to_string()]),
    ))?;
    Ok(())
}

async fn delete(args: &TenantDeleteArgs) -> CommandResult {
    let TenantArgs { name, host, json } = &args.tenant;
    if !args.yes {
        return Err(misuse(format!(
            "this removes every agent, state, key and secret of `{name}`, and there is no way back: add --yes"
        )));
    }
    Client::of(host)?.delete_tenant(name).await?;
    if *json {
        return output::json(&serde_json::json!({ "deleted": name }));
    }
    output::line(format_args!("deleted {name}"))?;
    Ok(())
}
