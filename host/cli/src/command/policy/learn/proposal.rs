//! The least policy that grants what was seen, as an operator would write it.
//!
//! Every grant says which calls needed it. A request becomes a rule for its path alone; many paths of one server become
//! a rule for what they begin with. What belongs to the rule that permitted a request (headers, limits) stays with
//! it. What a host cannot see is kept as it was, and said.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use aop_core::policy::{
    Clock, DirectoryGrant, DirectoryLimits, HttpGrant, HttpRule, Randomness, ToolPattern,
};
use aop_core::settings::{show_size, show_time};
use aop_core::{Policy, Settings};
use http::{Method, Uri};
use serde::Serialize;

use super::recorder::{Finding, Request, Seen, Want};

/// Paths of one server that get rules of their own; more are one rule for what they begin with.
const PATHS_MAX: usize = 4;
/// Rules that one kind of grant may have in settings.
const GRANTS_MAX: usize = 256;
/// Longest address of a rule, which leaves room for every method before it.
const RULE_MAX_BYTES: usize = 2000;
/// Methods that a rule can name.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// What is proposed.
#[derive(Debug, Default, Serialize)]
pub(super) struct Proposal {
    /// In the order of a policy.
    pub(super) grants: Vec<Grant>,
    /// What no grant can say.
    pub(super) notes: Vec<String>,
    /// Whether everything that was asked for was granted, so that nothing more can show up behind a refusal.
    pub(super) is_complete: bool,
}

/// One grant, and why.
#[derive(Debug, Serialize)]
pub(super) struct Grant {
    /// The key under `[policy]`.
    pub(super) key: &'static str,
    /// Its value as TOML: an entry, where the key has a list.
    pub(super) value: String,
    /// The calls that needed it, by their place, from 1; empty for what is kept because nothing can be seen of it.
    pub(super) calls: BTreeSet<usize>,
    /// Whether it was refused while the agent was watched.
    pub(super) refused: bool,
    /// What it is for, in words.
    pub(super) why: String,
}

impl Proposal {
    /// What an agent that was watched under some settings needs of them.
    pub(super) fn of(seen: &Seen, settings: &Settings) -> Self {
        let policy = &settings.policy;
        let mut proposal = Self {
            is_complete: seen.more == 0
                && !seen.findings.values().any(|finding| finding.is_refused),
            ..Self::default()
        };
        proposal.requests(seen, policy);
        proposal.directories(seen, policy);
        proposal.environment(seen, policy);
        proposal.tools(seen, policy);
        proposal.others(seen, settings);
        if seen.more > 0 {
            proposal.notes.push(format!(
                "it asked for {} more things than are kept: watch fewer calls at once",
                seen.more
            ));
        }
        proposal
    }

    fn grant(&mut self, key: &'static str, value: String, finding: &Finding, why: String) {
        let (calls, refused) = (finding.calls.clone(), finding.is_refused);
        self.grants.push(Grant { key, value, calls, refused, why });
    }

    fn requests(&mut self, seen: &Seen, policy: &Policy) {
        let mut servers: BTreeMap<_, Vec<(&Request, &Finding)>> = BTreeMap::new();
        for (want, finding) in &seen.findings {
            let Want::Request(request) = want else { continue };
            // What the rule that permits it adds stays together.
            let permitted = request.parse().and_then(|(method, uri)| {
                policy.permits_request(&method, &uri).ok().map(|(index, _)| index)
            });
            let of =
                (permitted.unwrap_or(usize::MAX), &request.scheme, &request.host, request.port);
            servers.entry(of).or_default().push((request, finding));
        }
        let mut rules = Vec::new();
        for ((index, ..), requests) in servers {
            for (rule, of) in rules_of(&requests, &mut self.notes) {
                rules.push((policy.http.get(index), rule, of));
            }
        }
        if rules.len() > GRANTS_MAX {
            self.notes.push(format!(
                "it sends requests that need {} rules, and a policy has {GRANTS_MAX} at most: write patterns of hosts",
                rules.len()
            ));
            self.is_complete = false;
            rules.truncate(GRANTS_MAX);
        }
        let is_named = !rules.is_empty();
        for (grant, rule, (finding, why)) in rules {
            self.grant("http", http_toml(grant, &rule), &finding, why);
        }
        if is_named {
            let kept = "kept, for it is not seen which requests went there".to_owned();
            for network in &policy.private_networks {
                let value = quote(&network.to_string());
                self.grant("private_networks", value, &Finding::default(), kept.clone());
            }
        }
        for (want, finding) in &seen.findings {
            let Want::PrivateAddress(host) = want else { continue };
            self.notes.push(format!(
                "`{}` leads to private addresses ({}): name their network in `private_networks`, if it may go there",
                plain(host),
                calls(&finding.calls)
            ));
        }
    }

    fn directories(&mut self, seen: &Seen, policy: &Policy) {
        for directory in &policy.directories {
            let of = |want: fn(String) -> Want| seen.findings.get(&want(directory.guest.clone()));
            let (read, written) = (of(Want::Read), of(Want::Write));
            let Some(finding) = written.or(read) else {
                let rule = plain(&directory.rule());
                self.notes.push(format!("nothing was opened in a directory: `{rule}` is left out"));
                continue;
            };
            let is_written = written.is_some();
            let limits =
                if directory.writable { directory.limits } else { DirectoryLimits::default() };
            let limits = if is_written { limits } else { DirectoryLimits::default() };
            let needed = DirectoryGrant { writable: is_written, limits, ..directory.clone() };
            let why = if is_written { "changed" } else { "only read" };
            self.grant("directories", directory_toml(&needed), finding, why.to_owned());
        }
    }

    fn environment(&mut self, seen: &Seen, policy: &Policy) {
        let Some(finding) = seen.findings.get(&Want::Environment) else {
            if !policy.environment.is_empty() {
                self.notes.push("it never read its environment: it needs no variable".to_owned());
            }
            return;
        };
        for name in &policy.environment {
            let why = "it read its environment, and which variables it meant is not seen";
            self.grant("environment", quote(name), finding, why.to_owned());
        }
        if policy.environment.is_empty() {
            self.notes.push(format!(
                "it read its environment ({}), which has nothing: what it looks for is not seen, and `--allow environment=NAME` shows it a variable",
                calls(&finding.calls)
            ));
        }
    }

    fn tools(&mut self, seen: &Seen, policy: &Policy) {
        let mut named = 0;
        for (want, finding) in &seen.findings {
            let Want::Tool(name) = want else { continue };
            // One that ends in a star is no tool's name, and as a pattern would be more than was asked for.
            if name.ends_with('*') || name.parse::<ToolPattern>().is_err() {
                self.notes.push(format!(
                    "it asked for a tool that no tool is called: `{}` ({})",
                    plain(&name.chars().take(64).collect::<String>()),
                    calls(&finding.calls)
                ));
            } else if named < GRANTS_MAX {
                named += 1;
                self.grant("tools", quote(name), finding, "called, or looked at".to_owned());
            }
        }
        let Some(finding) = seen.findings.get(&Want::Search) else { return };
        if policy.tools.is_empty() {
            self.notes.push(format!(
                "it searched for tools ({}): name in `tools` those that it may find, like `textkit_*`",
                calls(&finding.calls)
            ));
        }
        for pattern in policy.tools.iter().take(GRANTS_MAX - named) {
            let why = "it searched for tools, and finds those only".to_owned();
            self.grant("tools", quote(&pattern.to_string()), finding, why);
        }
    }

    fn others(&mut self, seen: &Seen, settings: &Settings) {
        let (findings, policy) = (&seen.findings, &settings.policy);
        if let Some(finding) = findings.get(&Want::SharedState) {
            let why = "it opened the bucket `tenant`".to_owned();
            self.grant("shared_state", "true".to_owned(), finding, why);
        }
        let kept = Finding::default();
        if policy.clock != Clock::Real {
            let why = "kept: it saw a time that stands still".to_owned();
            self.grant("clock", quote(&policy.clock.to_string()), &kept, why);
        } else if !findings.contains_key(&Want::Clock) {
            self.notes.push(
                "it never asked for the time: `clock = \"2026-01-01T00:00:00Z\"` would take it away"
                    .to_owned(),
            );
        }
        if policy.random != Randomness::Secure {
            let why = "kept: it saw random numbers that repeat".to_owned();
            self.grant("random", quote(&policy.random.to_string()), &kept, why);
        } else if !findings.contains_key(&Want::Random) {
            self.notes.push(
                "it never asked for secure random numbers: `random = \"seed:1\"` would take them away"
                    .to_owned(),
            );
        }
        match (findings.get(&Want::Model), &settings.model) {
            (Some(finding), Some(model)) => self.notes.push(format!(
                "it needs `[model]`: `{}/{}` ({})",
                plain(&model.provider),
                plain(&model.name),
                calls(&finding.calls)
            )),
            (Some(finding), None) => self.notes.push(format!(
                "it asks for a model ({}), and has none: bind one with `provider` and `name` under `[model]`",
                calls(&finding.calls)
            )),
            (None, Some(_)) => self.notes.push("it never used its model: it needs no `[model]`".to_owned()),
            (None, None) => {}
        }
    }

    /// The table, with a comment over every grant.
    pub(super) fn toml(&self) -> String {
        let mut text = String::new();
        for note in &self.notes {
            let _ = writeln!(text, "# {note}");
        }
        text.push_str("[policy]\n");
        let mut open = None;
        for Grant { key, value, calls: of, refused, why } in &self.grants {
            let is_list = !matches!(*key, "shared_state" | "clock" | "random");
            if open.is_some() && open != Some(*key) {
                text.push_str("]\n");
                open = None;
            }
            if is_list && open.is_none() {
                let _ = writeln!(text, "{key} = [");
                open = Some(*key);
            }
            let refused = if *refused { ", and refused while it was watched" } else { "" };
            let of = if of.is_empty() { String::new() } else { format!("{}: ", calls(of)) };
            if is_list {
                let _ = writeln!(text, "  # {of}{why}{refused}\n  {value},");
            } else {
                let _ = writeln!(text, "# {of}{why}{refused}\n{key} = {value}");
            }
        }
        if open.is_some() {
            text.push_str("]\n");
        }
        text
    }
}

impl Request {
    fn parse(&self) -> Option<(Method, Uri)> {
        Some((self.method.parse().ok()?, self.url(&self.path).parse().ok()?))
    }

    fn url(&self, path: &str) -> String {
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}://{}{port}{path}", self.scheme, self.host)
    }

    /// A rule for requests to this server, with that end of its path.
    fn rule(&self, methods: &BTreeSet<&str>, path: &str) -> Option<HttpRule> {
        let address = self.url(path);
        if address.len() > RULE_MAX_BYTES {
            return None;
        }
        // Without methods a rule permits all, which is the only way to permit others than it can name.
        if methods.iter().all(|method| METHODS.contains(method)) {
            let methods = methods.iter().copied().collect::<Vec<_>>().join(",");
            format!("{methods} {address}").parse().ok()
        } else {
            address.parse().ok()
        }
    }
}

/// What a rule is for.
type Reason = (Finding, String);

/// The rules for requests to one server.
fn rules_of(requests: &[(&Request, &Finding)], notes: &mut Vec<String>) -> Vec<(HttpRule, Reason)> {
    let mut paths: BTreeMap<&str, Vec<(&Request, &Finding)>> = BTreeMap::new();
    for (request, finding) in requests {
        paths.entry(&request.path).or_default().push((request, finding));
    }
    let mut rules = Vec::new();
    if paths.len() > PATHS_MAX {
        // By method: one that was seen at one path is not permitted at all of them.
        let mut methods: BTreeMap<&str, Vec<(&Request, &Finding)>> = BTreeMap::new();
        for (request, finding) in requests {
            methods.entry(&request.method).or_default().push((request, finding));
        }
        for (method, requests) in methods.into_iter().filter(|(_, all)| all.len() > PATHS_MAX) {
            let Some(rule) = for_all(&requests) else { continue };
            let why = format!("{} paths, such as {}", requests.len(), plain(&requests[0].0.path));
            rules.push((rule, (together(&requests), why)));
            for of_path in paths.values_mut() {
                of_path.retain(|(request, _)| request.method != method);
            }
        }
        paths.retain(|_, of_path| !of_path.is_empty());
    }
    for (path, requests) in paths {
        let Some(rule) = exactly(&requests).or_else(|| for_all(&requests)) else {
            let request = requests[0].0;
            notes.push(format!(
                "no rule can be written for {} {}",
                plain(&request.method),
                plain(&request.url(path))
            ));
            continue;
        };
        let methods: Vec<_> = requests.iter().map(|(request, _)| plain(&request.method)).collect();
        rules.push((rule, (together(&requests), methods.join(", "))));
    }
    rules
}

/// A rule for one path.
fn exactly(requests: &[(&Request, &Finding)]) -> Option<HttpRule> {
    let (first, _) = requests.first()?;
    let methods = requests.iter().map(|(request, _)| request.method.as_str()).collect();
    let rule = if first.is_cut() { None } else { first.rule(&methods, &first.path) }?;
    permits_all(&rule, requests).then_some(rule)
}

/// A rule for the directory that all paths have in common.
fn for_all(requests: &[(&Request, &Finding)]) -> Option<HttpRule> {
    let (first, _) = requests.first()?;
    let methods = requests.iter().map(|(request, _)| request.method.as_str()).collect();
    let mut common = first.path.as_str();
    for (request, _) in requests {
        let same = common.bytes().zip(request.path.bytes()).take_while(|(a, b)| a == b).count();
        common = &common[..common.floor_char_boundary(same)];
    }
    // A star in a path would be one of the rule's.
    let common = common.split('*').next().unwrap_or_default();
    let directory = &common[..=common.rfind('/')?];
    let rule = first.rule(&methods, &format!("{directory}*"))?;
    permits_all(&rule, requests).then_some(rule)
}

fn permits_all(rule: &HttpRule, requests: &[(&Request, &Finding)]) -> bool {
    let permits = |request: &Request| {
        request.parse().is_some_and(|(method, uri)| rule.permits(&method, &uri))
    };
    requests.iter().all(|(request, _)| permits(request))
}

fn together(requests: &[(&Request, &Finding)]) -> Finding {
    let mut all = Finding::default();
    for (_, finding) in requests {
        all.calls.extend(&finding.calls);
        all.is_refused |= finding.is_refused;
    }
    all
}

/// A rule as an entry of `http`, with what belongs to the grant that permitted its requests.
fn http_toml(grant: Option<&HttpGrant>, rule: &HttpRule) -> String {
    let mut more = Vec::new();
    if let Some(HttpGrant { headers, plaintext, limits, .. }) = grant {
        if !headers.is_empty() {
            let header = |header: &aop_core::policy::http_grant::InjectedHeader| {
                format!("{} = {}", quote(header.name.as_str()), quote(&header.value.to_string()))
            };
            let headers: Vec<_> = headers.iter().map(header).collect();
            more.push(format!("headers = {{ {} }}", headers.join(", ")));
        }
        if *plaintext {
            more.push("plaintext = true".to_owned());
        }
        let size = |bytes| quote(&show_size(bytes));
        more.extend(limits.request_max_bytes.map(|max| format!("request_max = {}", size(max))));
        more.extend(limits.response_max_bytes.map(|max| format!("response_max = {}", size(max))));
        more.extend(limits.timeout.map(|max| format!("timeout = {}", quote(&show_time(max)))));
        more.extend(limits.connections_max.map(|max| format!("connections_max = {max}")));
    }
    let rule = quote(&rule.to_string());
    if more.is_empty() { rule } else { format!("{{ permit = {rule}, {} }}", more.join(", ")) }
}

fn directory_toml(grant: &DirectoryGrant) -> String {
    let rule = quote(&grant.rule());
    let DirectoryLimits { size_max_bytes, files_max } = grant.limits;
    if grant.limits == DirectoryLimits::default() {
        return rule;
    }
    format!(
        "{{ permit = {rule}, size_max = {}, files_max = {files_max} }}",
        quote(&show_size(size_max_bytes))
    )
}

/// A text in TOML, in plain characters only: nothing that a guest chose reaches a terminal or ends a line.
fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            ' '..='~' => quoted.push(c),
            _ => {
                let _ = write!(quoted, "\\U{:08X}", u32::from(c));
            }
        }
    }
    quoted.push('"');
    quoted
}

/// The same for a comment.
fn plain(text: &str) -> String {
    text.chars().map(|c| if matches!(c, ' '..='~') { c } else { '?' }).collect()
}

/// Calls by their places.
fn calls(of: &BTreeSet<usize>) -> String {
    const SHOWN_MAX: usize = 8;
    let shown: Vec<_> = of.iter().take(SHOWN_MAX).map(ToString::to_string).collect();
    let word = if of.len() == 1 { "call" } else { "calls" };
    let more = match of.len().saturating_sub(SHOWN_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{word} {}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests;
