use super::*;

fn args(packages: &[&str], out: &Path) -> WitArgs {
    let packages = packages.iter().map(|name| (*name).to_owned()).collect();
    WitArgs { packages, out: Some(out.to_owned()), json: false }
}

fn refused(packages: &[&str], out: &Path) -> String {
    run(&args(packages, out)).unwrap_err().conclusion().0.unwrap()
}

/// The files below a directory, relative to it.
fn files_below(directory: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            files.extend(files_below(&path).into_iter().map(|file| format!("{name}/{file}")));
        } else {
            files.push(path.file_name().unwrap().to_str().unwrap().to_owned());
        }
    }
    files.sort();
    files
}

#[test]
fn every_file_of_the_repository_is_part_of_the_binary() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
    let mut ours: Vec<_> = PACKAGES
        .iter()
        .flat_map(|package| {
            package.files.iter().map(|(file, _)| format!("{}/{file}", package.directory))
        })
        .collect();
    ours.sort();
    let mut theirs: Vec<_> = files_below(&root)
        .into_iter()
        .filter(|file| file.ends_with(".wit"))
        .map(|file| file.strip_prefix("deps/").unwrap_or(&file).to_owned())
        .collect();
    theirs.sort();
    assert_eq!(ours, theirs);
}

#[test]
fn every_package_resolves_with_what_it_needs_and_is_named_as_it_says() {
    for package in &PACKAGES {
        let (resolve, id) = package.resolved().unwrap();
        assert_eq!(resolve.packages[id].name.to_string(), package.full_name());
    }
}

#[test]
fn a_world_can_use_what_was_written() {
    let directory = tempfile::tempdir().unwrap();
    let wit = directory.path().join("wit");
    std::fs::create_dir(&wit).unwrap();
    let world = "package a:b;\nworld w {\n    import aop:agent/model@0.1.0;\n    import wasi:http/client@0.3.0;\n}\n";
    std::fs::write(wit.join("w.wit"), world).unwrap();
    let deps = wit.join("deps");
    run(&args(&["aop:agent", "wasi:http", "wasi:keyvalue@0.2.0-draft2"], &deps)).unwrap();
    Resolve::new().push_dir(&wit).unwrap();
    assert!(deps.join("clocks/clocks.wit").is_file(), "what is needed comes along");
    assert!(deps.join("keyvalue-draft2").is_dir() && !deps.join("keyvalue").exists());
    // Again, and more: what is the same stays.
    run(&args(&["aop:agent", "wasi:keyvalue"], &deps)).unwrap();
    assert!(deps.join("keyvalue/keyvalue.wit").is_file());
}

#[test]
fn nothing_is_overwritten_and_then_nothing_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let deps = directory.path();
    std::fs::create_dir(deps.join("agent-0.1.0")).unwrap();
    let mine = deps.join("agent-0.1.0/task.wit");
    std::fs::write(&mine, "mine").unwrap();
    let error = refused(&["wasi:config", "aop:agent"], deps);
    assert!(error.contains("task.wit is there already") && error.contains("--out"), "{error}");
    assert_eq!(files_below(deps), ["agent-0.1.0/task.wit"]);
    assert_eq!(std::fs::read_to_string(mine).unwrap(), "mine");
}

#[test]
fn what_is_not_known_is_said() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["wasi:nn", "aop:agent@9.0.0", "agent", ""] {
        let error = refused(&["wasi:config", name], directory.path());
        assert!(error.contains(&format!("`{name}`")) && error.contains("`aop wit`"), "{error}");
    }
    assert!(files_below(directory.path()).is_empty());
}
