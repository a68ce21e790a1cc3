//! C: wit-bindgen makes bindings, and zig, which brings a compiler, a linker and a libc for WASI, builds
//! them with the sources into a module.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use heck::ToSnakeCase as _;

use super::component::lift;
use super::go::INSTALL_WIT_BINDGEN;
use super::project::{Project, files_with};
use super::toolchain::Toolchain;
use crate::exit::{CommandError, misuse};
use crate::output;

const INSTALL_ZIG: &str =
    "python3 -m venv .venv && .venv/bin/python -m pip install ziglang==0.17.0";
/// Where sources are, below the project.
const SOURCES: [&str; 2] = ["", "src"];

pub(super) async fn build(
    project: &Project,
    toolchain: &Toolchain<'_>,
) -> Result<Vec<u8>, CommandError> {
    let sources = sources(&project.directory);
    if sources.is_empty() {
        return Err(misuse(format!("{} has no C file", project.directory.display())));
    }
    let generator = toolchain.find("wit-bindgen", INSTALL_WIT_BINDGEN)?;
    let zig = zig(toolchain)?;
    let bindings = toolchain.work()?.join("bindings");
    let mut command = toolchain.command(&generator);
    command.arg("c").arg(&project.wit.directory).args(["--world", project.wit.world_name()]);
    command.arg("--out-dir").arg(&bindings);
    toolchain.run(&mut command).await?;

    let output = toolchain.work()?.join("module.wasm");
    let generated = generated(project.wit.world_name());
    let mut command = toolchain.command(&zig);
    command.args(["cc", "-target", "wasm32-wasi", "-mexec-model=reactor", "-Os", "-s"]);
    command.args(["-Wall", "-Wextra", "-I"]).arg(&bindings).args(sources);
    command.args(generated.map(|file| bindings.join(file)));
    command.arg("-o").arg(&output);
    let warnings = toolchain.run(&mut command).await?.said;
    for line in warnings {
        output::note(line);
    }
    let module =
        std::fs::read(&output).with_context(|| format!("cannot read {}", output.display()))?;
    Ok(lift(&module, &project.wit)?)
}

/// The files that wit-bindgen makes for a world.
fn generated(world: &str) -> [String; 2] {
    let world = world.to_snake_case();
    [format!("{world}.c"), format!("{world}_component_type.o")]
}

/// Every C file but those of tests, which bring a `main` of their own.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let is_test = |path: &PathBuf| {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        stem.starts_with("test_") || stem.ends_with("_test")
    };
    let files = SOURCES.iter().flat_map(|part| files_with(&directory.join(part), "c"));
    files.filter(|path| !is_test(path)).collect()
}

/// Zig itself, or the Python package that brings it.
fn zig(toolchain: &Toolchain<'_>) -> Result<PathBuf, CommandError> {
    let found = ["zig", "python-zig"].into_iter().find_map(|name| toolchain.look_for(name));
    found.ok_or_else(|| toolchain.missing("zig", INSTALL_ZIG))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_not_part_of_the_agent() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("src")).unwrap();
        for file in ["a.c", "a_test.c", "test_a.c", "a.h", "src/b.c"] {
            std::fs::write(directory.path().join(file), "").unwrap();
        }
        let names: Vec<_> = sources(directory.path())
            .iter()
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        assert_eq!(names, ["a.c", "b.c"]);
    }

    #[test]
    fn what_is_generated_is_named_as_wit_bindgen_names_it() {
        for (world, file) in [
            ("agent", "agent.c"),
            ("HTTP-kit", "http_kit.c"),
            ("a1-b2c", "a1_b2c.c"),
            ("x-3D", "x_3d.c"),
        ] {
            assert_eq!(generated(world)[0], file);
        }
        assert_eq!(generated("HTTP-kit")[1], "http_kit_component_type.o");
    }
}
