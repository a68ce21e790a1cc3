//! Which name a function gets: settings first, then the name it was first published under, then
//! `<agent>_<function>` with as much of its interface as it takes to tell it from the others.
//!
//! A name that callers know never moves to another function that is still there, and never becomes
//! shorter or longer because a neighbour appears.

use std::collections::{BTreeMap, BTreeSet};

use super::identifier;
use crate::interface::{Function, Interface, Refusal};
use crate::settings::ToolSettings;
use crate::{AgentName, Settings, ToolName};

/// How much of the interface's name a tool name can carry: none, the interface, the package, the
/// namespace, the version.
const QUALIFICATIONS: usize = 4;

/// Settings of each function, and the mistakes in them.
pub(super) fn assign_settings<'a>(
    interface: &Interface,
    settings: &'a Settings,
    warnings: &mut Vec<String>,
) -> (Vec<Option<&'a ToolSettings>>, Vec<String>) {
    let mut said: Vec<Option<(&str, &ToolSettings)>> = vec![None; interface.functions.len()];
    let mut mistakes = Vec::new();
    for (key, value) in &settings.tools {
        let named = |f: &Function| {
            f.feature().is_none() && (f.path() == *key || f.name == *key || f.spelling() == *key)
        };
        let found: Vec<_> =
            interface.functions.iter().enumerate().filter(|(_, f)| named(f)).collect();
        let exact = found.iter().find(|(_, f)| f.path() == *key);
        match (exact, found.as_slice()) {
            (Some((index, _)), _) | (None, [(index, _)]) => {
                if let Some((other, _)) = said[*index] {
                    mistakes.push(format!(
                        "`[tools.\"{other}\"]` and `[tools.\"{key}\"]` are the same function: keep one of them"
                    ));
                }
                said[*index] = Some((key, value));
            }
            (None, []) => match refusal_of(interface, key) {
                Some(refusal) => warnings.push(format!(
                    "`[tools.\"{key}\"]` has no effect, since the function is refused: {}",
                    refusal.reason
                )),
                None => mistakes.push(unknown_function(interface, key)),
            },
            (None, several) => {
                let paths: Vec<_> =
                    several.iter().map(|(_, f)| format!("`[tools.\"{}\"]`", f.path())).collect();
                mistakes.push(format!(
                    "`[tools.{key}]` could be several functions: write {}",
                    paths.join(" or ")
                ));
            }
        }
    }
    (said.into_iter().map(|found| found.map(|(_, value)| value)).collect(), mistakes)
}

fn refusal_of<'a>(interface: &'a Interface, key: &str) -> Option<&'a Refusal> {
    let short = |path: &str| path.rsplit_once('#').is_some_and(|(_, name)| name == key);
    interface.refused.iter().find(|r| r.function == key || short(&r.function))
}

fn unknown_function(interface: &Interface, key: &str) -> String {
    let names = interface.functions.iter().map(Function::spelling);
    let nearest = names
        .map(|name| (strsim::damerau_levenshtein(&name, key), name))
        .min()
        .filter(|(distance, name)| *distance * 2 <= name.len());
    match nearest {
        Some((_, name)) => format!(
            "`[tools.{key}]`: the component has no function `{key}`; did you mean `{name}`?"
        ),
        None => format!(
            "`[tools.{key}]`: the component has no function `{key}`; `aop inspect` lists what it has"
        ),
    }
}

/// The names of a revision.
#[derive(Default)]
pub(super) struct Names {
    /// Function index and the name it is listed as.
    pub(super) listed: Vec<(usize, ToolName)>,
    pub(super) refused: Vec<Refusal>,
    pub(super) published: BTreeMap<String, Vec<ToolName>>,
    pub(super) mistakes: Vec<String>,
}

/// Names the functions at `candidates`, given what was published before.
pub(super) fn assign_names(
    interface: &Interface,
    agent: &AgentName,
    said: &[Option<&ToolSettings>],
    candidates: &[usize],
    published: &BTreeMap<String, Vec<ToolName>>,
) -> Names {
    let mut names = Names::default();
    let mut owners: BTreeMap<ToolName, usize> = BTreeMap::new();
    let mut history: BTreeMap<usize, Vec<ToolName>> = BTreeMap::new();
    let mut continued = BTreeSet::new();
    for &index in candidates {
        let function = &interface.functions[index];
        if let Some((path, known)) = known_names(interface, function, published) {
            continued.insert(path.clone());
            // A name that two functions claim belongs to the one that comes first.
            let own: Vec<_> =
                known.iter().filter(|name| !owners.contains_key(*name)).cloned().collect();
            owners.extend(own.iter().map(|name| (name.clone(), index)));
            history.insert(index, own);
        }
    }
    for &index in candidates {
        let Some(name) = said.get(index).copied().flatten().and_then(|s| s.name.as_ref()) else {
            continue;
        };
        match rename(interface, index, name, &owners) {
            Ok(()) => {
                owners.insert(name.clone(), index);
                names.listed.push((index, name.clone()));
            }
            Err(mistake) => names.mistakes.push(mistake),
        }
    }
    for (&index, known) in &history {
        if let Some(first) = known.first()
            && !is_renamed(said, index)
        {
            names.listed.push((index, first.clone()));
        }
    }
    let known = |index: &usize| history.get(index).is_some_and(|names| !names.is_empty());
    let fresh: Vec<_> =
        candidates.iter().copied().filter(|i| !known(i) && !is_renamed(said, *i)).collect();
    let alone = candidates.len() == 1;
    for (index, name) in qualify(interface, agent, &fresh, alone, &owners) {
        match accept(interface, index, &name, &owners) {
            Ok(name) => {
                owners.insert(name.clone(), index);
                names.listed.push((index, name));
            }
            Err(refusal) => names.refused.push(refusal),
        }
    }
    names.record(interface, history, published, &continued, &owners);
    names
}

impl Names {
    /// Writes down what is published now: names only ever get more, except that a function which
    /// is gone gives up a name that another one has taken.
    fn record(
        &mut self,
        interface: &Interface,
        mut history: BTreeMap<usize, Vec<ToolName>>,
        published: &BTreeMap<String, Vec<ToolName>>,
        continued: &BTreeSet<String>,
        owners: &BTreeMap<ToolName, usize>,
    ) {
        for (path, known) in published {
            let free: Vec<_> =
                known.iter().filter(|name| !owners.contains_key(*name)).cloned().collect();
            if !continued.contains(path) && !free.is_empty() {
                self.published.insert(path.clone(), free);
            }
        }
        for (index, name) in &self.listed {
            let mut known = history.remove(index).unwrap_or_default();
            if !known.contains(name) {
                known.push(name.clone());
            }
            self.published.insert(interface.functions[*index].path(), known);
        }
    }
}

fn is_renamed(said: &[Option<&ToolSettings>], index: usize) -> bool {
    said.get(index).copied().flatten().is_some_and(|said| said.name.is_some())
}

/// What a function was published as: under its own path, or that of another version of its
/// interface that is gone.
fn known_names<'a>(
    interface: &Interface,
    function: &Function,
    published: &'a BTreeMap<String, Vec<ToolName>>,
) -> Option<(&'a String, &'a Vec<ToolName>)> {
    if let Some(exact) = published.get_key_value(&function.path()) {
        return Some(exact);
    }
    let same = |path: &str| without_version(path) == without_version(&function.path());
    let is_there = |path: &str| interface.functions.iter().any(|f| f.path() == path);
    let siblings = interface.functions.iter().filter(|f| same(&f.path())).count();
    let mut gone = published.iter().filter(|(path, _)| same(path) && !is_there(path));
    gone.next_back().filter(|_| siblings == 1)
}

fn without_version(path: &str) -> String {
    match (path.find('@'), path.find('#')) {
        (Some(at), Some(hash)) if at < hash => format!("{}{}", &path[..at], &path[hash..]),
        _ => path.to_owned(),
    }
}

fn rename(
    interface: &Interface,
    index: usize,
    name: &ToolName,
    owners: &BTreeMap<ToolName, usize>,
) -> Result<(), String> {
    let path = interface.functions[index].path();
    if name.as_str() == "aop" || name.starts_with("aop_") {
        return Err(format!(
            "`[tools.\"{path}\"] name = \"{name}\"`: names that start with `aop_` are reserved for the host; choose another one"
        ));
    }
    match owners.get(name) {
        Some(owner) if *owner != index => Err(format!(
            "`[tools.\"{path}\"] name = \"{name}\"`: the function `{}` is or was called so; choose another name",
            interface.functions[*owner].path()
        )),
        _ => Ok(()),
    }
}

fn accept(
    interface: &Interface,
    index: usize,
    name: &str,
    owners: &BTreeMap<ToolName, usize>,
) -> Result<ToolName, Refusal> {
    let function = interface.functions[index].path();
    let fix = format!("set another one with `[tools.\"{function}\"] name = \"…\"`");
    let reason = match ToolName::new(name) {
        Ok(name) => match owners.get(&name) {
            None => return Ok(name),
            Some(owner) => format!(
                "its tool name `{name}` is that of `{}`: {fix}",
                interface.functions[*owner].path()
            ),
        },
        Err(_) if name.len() > ToolName::LENGTH_MAX => format!(
            "its tool name `{name}` has {} characters, and model APIs accept {}: {fix}",
            name.len(),
            ToolName::LENGTH_MAX
        ),
        Err(_) => format!("its tool name `{name}` is not one that model APIs accept: {fix}"),
    };
    Err(Refusal { function, reason })
}

/// Spells the names of new functions, each with the least of its interface that tells it apart.
fn qualify(
    interface: &Interface,
    agent: &AgentName,
    fresh: &[usize],
    alone: bool,
    owners: &BTreeMap<ToolName, usize>,
) -> Vec<(usize, String)> {
    let function = |index: usize| &interface.functions[index];
    if let [index] = fresh
        && alone
        && function(*index).name == "run"
    {
        return vec![(*index, agent.to_string())];
    }
    let spell = |index: usize, level: usize| spelling(agent, function(index), level);
    let mut levels = vec![0; fresh.len()];
    for _ in 0..QUALIFICATIONS {
        let mut uses: BTreeMap<String, usize> = BTreeMap::new();
        for (&index, &level) in fresh.iter().zip(&levels) {
            *uses.entry(spell(index, level)).or_default() += 1;
        }
        let taken =
            |name: &str| uses.get(name).is_some_and(|n| *n > 1) || owners.contains_key(name);
        let mut changed = false;
        for (&index, level) in fresh.iter().zip(&mut levels) {
            if function(index).interface.is_some() && taken(&spell(index, *level)) {
                *level += 1;
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    fresh.iter().zip(levels).map(|(&index, level)| (index, spell(index, level))).collect()
}

/// `<agent>_<function>` with `level` parts of the interface in between, the nearest first.
fn spelling(agent: &AgentName, function: &Function, level: usize) -> String {
    let mut parts = vec![agent.to_string()];
    if let Some(path) = &function.interface {
        let (path, version) = path.split_once('@').unwrap_or((path, ""));
        let (package, interface) = path.rsplit_once('/').unwrap_or(("", path));
        let (namespace, package) = package.rsplit_once(':').unwrap_or(("", package));
        if level >= 4 {
            // A version's other characters cannot stand in a tool name.
            parts.push(format!("v{}", version.replace(|c: char| !c.is_ascii_alphanumeric(), "_")));
        }
        let qualifiers = [interface, package, namespace];
        let used = qualifiers.iter().take(level).rev().filter(|part| !part.is_empty());
        parts.extend(used.map(|part| identifier(&part.replace(':', "-"))));
    }
    parts.push(identifier(&function.spelling()));
    parts.join("_")
}
