//! `console` for agents in JavaScript: a module of ours, and the imports that it needs.
//!
//! The lines go to the standard streams, as those of every other language do, and not to `wasi:logging`: so
//! components that are built here run in hosts that do not know that interface. The imports are added to a copy of
//! the WIT, since the engine gives modules only what the world imports; the agent's own files stay as they are.

use wit_component::WitPrinter;
use wit_parser::{CloneMaps, PackageName, Resolve};

use crate::command::build::wit::Wit;

/// What the module is called, beside the entry.
pub(super) const MODULE: &str = "console.js";
/// As the author of the file in this repository sees it; the version is filled in.
const SOURCE: &str = include_str!("console.js");
const VERSION: &str = "{{version}}";

/// What the module uses of WASI. Parts of interfaces are enough, and every 0.2 has these.
const IMPORTS: &str = "\
package aop:console;

world console {
    import wasi:cli/stdout@{{version}};
    import wasi:cli/stderr@{{version}};
}

package wasi:io@{{version}} {
    interface error {
        resource error;
    }

    interface streams {
        use error.{error};

        variant stream-error {
            last-operation-failed(error),
            closed,
        }

        resource output-stream {
            blocking-write-and-flush: func(contents: list<u8>) -> result<_, stream-error>;
        }
    }
}

package wasi:cli@{{version}} {
    interface stdout {
        use wasi:io/streams@{{version}}.{output-stream};

        get-stdout: func() -> output-stream;
    }

    interface stderr {
        use wasi:io/streams@{{version}}.{output-stream};

        get-stderr: func() -> output-stream;
    }
}
";

/// The source of the module.
pub(super) fn module(version: &str) -> String {
    SOURCE.replace(VERSION, version)
}

/// The WIT of an agent, with the imports of the module, as one file; and their version.
pub(super) fn with(wit: &Wit) -> anyhow::Result<(String, &'static str)> {
    let mut resolve = wit.resolve.clone();
    let version = free_version(&resolve);
    let ours = resolve.push_source("console.wit", &IMPORTS.replace(VERSION, version))?;
    let world = resolve.packages[ours].worlds["console"];
    resolve.merge_worlds(world, wit.world, &mut CloneMaps::default())?;
    let agent = resolve.worlds[wit.world].package;
    let agent = agent.ok_or_else(|| anyhow::anyhow!("the world of the WIT has no package"))?;
    let others: Vec<_> = resolve.packages.iter().map(|(id, _)| id).collect();
    let others: Vec<_> = others.into_iter().filter(|id| ![agent, ours].contains(id)).collect();
    let mut printer = WitPrinter::default();
    printer.print(&resolve, agent, &others)?;
    Ok((printer.output.to_string(), version))
}

/// A version of WASI that the agent has no package of: what it has may be a part that lacks what the module uses, and of
/// one version there can be one package only. The toolchain joins versions that fit.
fn free_version(resolve: &Resolve) -> &'static str {
    const VERSIONS: [&str; 8] =
        ["0.2.0", "0.2.1", "0.2.2", "0.2.3", "0.2.4", "0.2.5", "0.2.6", "0.2.7"];
    let is_taken = |version: &str| {
        let named = |PackageName { namespace, name, version: found }: &PackageName| {
            namespace == "wasi"
                && ["io", "cli"].contains(&name.as_str())
                && found.as_ref().is_some_and(|found| found.to_string() == version)
        };
        resolve.package_names.keys().any(named)
    };
    // With all of them taken, the last is as good as any: then the WIT is refused, and says why.
    VERSIONS.into_iter().find(|version| !is_taken(version)).unwrap_or(VERSIONS[7])
}
