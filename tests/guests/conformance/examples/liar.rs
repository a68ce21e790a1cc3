//! Breaks every rule of what agents offer that its types let it break. Whatever is called `honest` keeps them.

use aop_agent::completion::{Completion, Subject, Suggestions};
use aop_agent::content::{Annotations, Block, Body, Link, Role};
use aop_agent::elicit::{ChoiceField, Field, Form};
use aop_agent::prompts::{self, Arguments, GetError, Prompt, Prompts};
use aop_agent::resources::{Contents, Entry, ReadError, Resources, Template};
use aop_agent::skills::{self, File, Skill, Skills};
use aop_agent::{changes, progress};
use serde_json::Value;

aop_agent::agent! {
    agent: Liar,
    wit: "wit/liar.wit",
    world: "conformance:liar/liar",
    packages: ["../../../wit/agent-0.1.0"],
    offers: [resources, prompts, completion, skills],
}

use exports::conformance::liar::lies::Guest;

struct Liar;

impl Guest for Liar {
    fn wrong_kind() -> Block {
        Block::image(b"<html>".to_vec(), "text/html")
    }

    fn large_image(mebibytes: u32) -> Block {
        Block::image(vec![0; (mebibytes as usize) << 20], "image/png")
    }

    fn wrong_priority() -> Block {
        Block::text("look here").annotated(Annotations::for_audience([]).priority(7.0))
    }

    fn wrong_link() -> Vec<Block> {
        vec![Block::text("see"), Block::link("nowhere", "nothing")]
    }

    fn foreign_document() -> Block {
        Block::document("test://static-text", "text/plain", "It never said this.")
    }

    fn link(uri: String) -> Vec<Block> {
        let link = Link {
            uri,
            name: "there".to_owned(),
            title: Some("What is there".to_owned()),
            description: Some("Says so itself.".to_owned()),
            mime_type: Some("text/plain".to_owned()),
            size: Some(4),
            annotations: None,
        };
        let hints = Annotations::for_audience([Role::User]).priority(0.5);
        vec![Block::text("see"), Block::Link(link).annotated(hints)]
    }

    fn wrong_progress() -> Vec<String> {
        let reports =
            [(1.0, Some(2.0)), (0.5, None), (-1.0, None), (f64::NAN, None), (3.0, Some(-1.0))];
        let said =
            |(done, total)| progress::report(done, total, "on we go").err().unwrap_or_default();
        reports.into_iter().map(said).collect()
    }

    fn foreign_update() -> Result<String, String> {
        changes::resource_updated("test://static-text").map(|()| "it was believed".to_owned())
    }

    fn wrong_form() -> Result<String, String> {
        let form =
            Form::new("Choose").field(Field::new("one", ChoiceField::of(Vec::<String>::new())));
        form.ask::<Value>().map(|_| "it was asked".to_owned()).map_err(|error| error.to_string())
    }
}

impl Resources for Liar {
    fn list() -> Result<Vec<Entry>, String> {
        Ok(vec![
            Entry::new("test://static-text", "of another agent"),
            Entry::new("file:///etc/passwd", "of the machine"),
            Entry::new("not a uri", "of nobody"),
            Entry::new("skill://test/charts/SKILL.md", "a skill of another agent"),
            Entry::new("skill://liar/forged/SKILL.md", "a skill by another way"),
            Entry::new("liar://honest", "honest"),
            Entry::new("liar://long", "n".repeat(100_000)),
        ])
    }

    fn templates() -> Result<Vec<Template>, String> {
        Ok(vec![
            Template::new("test://{any}", "foreign"),
            Template::new("liar://{any}", "honest"),
            Template::new("liar://{any", "no template"),
        ])
    }

    fn read(uri: &str) -> Result<Vec<Contents>, ReadError> {
        match uri {
            "liar://honest" => Ok(vec![Contents::new(uri, Body::text("true"))]),
            "liar://foreign" => Ok(vec![Contents::new("test://static-text", Body::text("false"))]),
            "liar://empty" => Ok(Vec::new()),
            _ => Err(ReadError::NotFound),
        }
    }
}

impl Prompts for Liar {
    fn list() -> Result<Vec<prompts::Entry>, String> {
        Ok(vec![
            prompts::Entry::new("honest").description("Keeps the rules."),
            prompts::Entry::new("two words"),
            prompts::Entry::new(""),
            prompts::Entry::new("n".repeat(1000)),
            prompts::Entry::new("wrong").description("Answers with an image that is none."),
            prompts::Entry::new("foreign").description("Answers with another agent's document."),
        ])
    }

    fn get(name: &str, _arguments: &Arguments) -> Result<Prompt, GetError> {
        match name {
            "honest" => Ok(Prompt::new().user("true")),
            "wrong" => Ok(Prompt::new().message(Role::User, <Self as Guest>::wrong_kind())),
            "foreign" => Ok(Prompt::new().message(Role::User, <Self as Guest>::foreign_document())),
            _ => Err(GetError::NotFound),
        }
    }
}

impl Completion for Liar {
    fn complete(
        _subject: &Subject,
        _name: &str,
        _value: &str,
        _known: &Arguments,
    ) -> Result<Suggestions, String> {
        let values = (0..1000).map(|number| number.to_string()).collect();
        Ok(Suggestions { values, total: Some(3), has_more: false })
    }
}

/// A `SKILL.md` with this frontmatter.
fn instructions(yaml: &str) -> String {
    format!("---\n{yaml}\n---\n\nDo as you like.\n")
}

/// A skill that keeps the rules, as far as its name does.
fn honest(name: &str) -> Skill {
    Skill::new(name, instructions(&format!("name: {name}\ndescription: Keeps the rules.")))
}

impl Skills for Liar {
    fn list() -> Result<Vec<Skill>, String> {
        let levels = (1..10)
            .map(|n| format!("l{n}: &l{n} [{}]", vec![format!("*l{}", n - 1); 10].join(", ")));
        let bomb = [vec!["l0: &l0 [x]".to_owned()], levels.collect()].concat().join("\n");
        Ok(vec![
            honest("honest"),
            honest("Two Words"),
            honest("../../test/charts"),
            Skill::new("other-name", instructions("name: charts\ndescription: Says two names.")),
            Skill::new("no-frontmatter", "Do as you like."),
            Skill::new("no-yaml", instructions("name: [")),
            Skill::new("bomb", instructions(&format!("name: bomb\ndescription: Grows.\n{bomb}"))),
            Skill { name: "no-files".to_owned(), files: Vec::new(), dynamic: false },
            honest("way-out").file(File::text("../../test/charts/SKILL.md", "of another agent")),
            honest("two-files").file(File::text("a", "1")).file(File::text("a", "2")),
            honest("file-and-directory").file(File::text("a", "1")).file(File::text("a/b", "2")),
            honest("no-kind").file(File::text("a", "1").mime_type("?")),
            (0..600)
                .fold(honest("many-files"), |skill, n| skill.file(File::text(format!("{n}"), ""))),
        ])
    }

    fn get(name: &str) -> Result<Skill, skills::GetError> {
        match name {
            "honest" | "unlisted" => Ok(honest(name)),
            "another" => Ok(honest("honest")),
            "failed" => Err(skills::GetError::Failed("not today".to_owned())),
            _ => Err(skills::GetError::NotFound),
        }
    }
}
