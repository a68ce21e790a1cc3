use clap::{CommandFactory as _, Parser as _};

use super::*;

#[test]
fn the_command_line_is_consistent() {
    Arguments::command().debug_assert();
}

#[test]
fn every_subcommand_has_examples() {
    fn check(command: &clap::Command, path: &str) {
        let path = format!("{path} {}", command.get_name());
        let subcommands: Vec<_> =
            command.get_subcommands().filter(|command| !command.is_hide_set()).collect();
        if subcommands.is_empty() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example"), "{path} has no examples");
        }
        for subcommand in subcommands {
            check(subcommand, &path);
        }
    }
    check(&Arguments::command(), "");
}

/// Thumbprints are base64 of a URL, whose alphabet has the hyphen.
#[test]
fn thumbprints_that_begin_with_a_hyphen_are_no_options() {
    for start in ["-0", "--", "-h", "--key", "-V"] {
        let thumbprint = format!("{start:A<43}");
        let read = |line: &[&str]| Arguments::try_parse_from(line).map(|read| format!("{read:?}"));
        let lines = [
            &["aop", "zone", "retire", &thumbprint, "--json"][..],
            &["aop", "zone", "peer", "--anchor", "http://127.0.0.1:1", "--key", &thumbprint],
            &["aop", "zone", "delegate", "eu.acme.example", "--key", &thumbprint, "--json"],
        ];
        for line in lines {
            let read = read(line).unwrap_or_else(|refused| panic!("{line:?}: {refused}"));
            assert!(read.contains(&thumbprint), "{line:?}: {read}");
        }
        read(&["aop", "zone", "peer", "--key", "--json"]).unwrap_err();
    }
}

/// What a person sees, so that a change of wording is reviewed.
#[test]
fn help() {
    let help = |path: &[&str]| {
        let mut command = Arguments::command().term_width(100);
        command.build();
        let mut found = &mut command;
        for name in path {
            found = found.find_subcommand_mut(name).unwrap();
        }
        found.render_help().to_string()
    };
    insta::assert_snapshot!("help_aop", help(&[]));
    insta::assert_snapshot!("help_serve", help(&["serve"]));
    insta::assert_snapshot!("help_run", help(&["run"]));
    insta::assert_snapshot!("help_call", help(&["call"]));
    insta::assert_snapshot!("help_agent", help(&["agent"]));
    insta::assert_snapshot!("help_bench", help(&["bench"]));
}
