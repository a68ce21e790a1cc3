//! An agent that keeps notes, and shows what an agent can be besides tools: its notes are resources that
//! clients read and subscribe to, its prompts put them into conversations, its skill tells models how to take minutes,
//! and it asks before it removes one.

mod address;
mod book;

use aop_agent::completion::{Completion, Subject, Suggestions};
use aop_agent::content::{Block, Body, Role};
use aop_agent::elicit::{Answer, AskError, Field, Form};
use aop_agent::prompts::{self, Arguments, GetError, Prompt, Prompts};
use aop_agent::resources::{Contents, Entry, ReadError, Resources, Template};
use aop_agent::skills::{File, Skill, Skills};
use serde::Deserialize;

use book::{Book, Note};

aop_agent::agent! {
    agent: Notes,
    wit: "wit/notes.wit",
    world: "examples:notes/notes",
    packages: ["../../wit/agent-0.1.0"],
    offers: [resources, prompts, completion, skills],
}

use exports::examples::notes::notebook as wit;

/// What notes are written in.
const MIME_TYPE: &str = "text/markdown";

struct Notes;

impl wit::Guest for Notes {
    fn write(title: String, text: String, tags: Option<Vec<String>>) -> Result<String, String> {
        let note = Note { title, text, tags: tags.unwrap_or_default() };
        Book::open()?.write(&note)?;
        Ok(address::of(&note.title))
    }

    fn find(words: Option<String>, tag: Option<String>) -> Result<Vec<wit::Note>, String> {
        let found = Book::open()?.find(words.as_deref().unwrap_or_default(), tag.as_deref())?;
        let note = |Note { title, text, tags }| wit::Note { title, text, tags };
        Ok(found.into_iter().map(note).collect())
    }

    fn remove(title: String, confirmed: Option<bool>) -> Result<bool, String> {
        let book = Book::open()?;
        if book.read(&title)?.is_none() {
            return Err(format!("there is no note `{title}`"));
        }
        let is_wanted = match ask(&title) {
            Ok(said) => said,
            Err(AskError::Unsupported(_)) => confirmed == Some(true),
            Err(error) => return Err(error.to_string()),
        };
        if is_wanted {
            book.remove(&title)?;
        }
        Ok(is_wanted)
    }
}

/// Whether the person wants a note gone.
fn ask(title: &str) -> Result<bool, AskError> {
    #[derive(Deserialize)]
    struct Said {
        remove: bool,
    }
    let form = Form::new(format!("Remove the note \"{title}\" for good?"))
        .field(Field::yes_no("remove", false).title("Remove it").required());
    Ok(matches!(form.ask::<Said>()?, Answer::Accepted(Said { remove: true })))
}

impl Resources for Notes {
    fn list() -> Result<Vec<Entry>, String> {
        let titles = Book::open()?.titles()?;
        let entry = |title: String| Entry::new(address::of(&title), title).mime_type(MIME_TYPE);
        Ok(titles.into_iter().map(entry).collect())
    }

    fn templates() -> Result<Vec<Template>, String> {
        let by_tag = Template::new(address::TAGGED_TEMPLATE, "notes by tag")
            .description("All notes that have a tag.")
            .mime_type(MIME_TYPE);
        Ok(vec![by_tag])
    }

    fn read(uri: &str) -> Result<Vec<Contents>, ReadError> {
        let book = Book::open().map_err(ReadError::Failed)?;
        let contents = |note: Note| {
            let body = Body::text(format!("# {}\n\n{}", note.title, note.text));
            Contents::new(address::of(&note.title), body).mime_type(MIME_TYPE)
        };
        if let Some(tag) = address::tag(uri) {
            let notes = book.find("", Some(&tag)).map_err(ReadError::Failed)?;
            return Ok(notes.into_iter().map(contents).collect());
        }
        let title = address::title(uri).ok_or(ReadError::NotFound)?;
        let note = book.read(&title).map_err(ReadError::Failed)?;
        Ok(vec![contents(note.ok_or(ReadError::NotFound)?)])
    }
}

impl Prompts for Notes {
    fn list() -> Result<Vec<prompts::Entry>, String> {
        let review = prompts::Entry::new("review")
            .title("Review a note")
            .description("Looks for what is unclear, wrong or missing in a note.")
            .required("note", "Its title");
        let digest = prompts::Entry::new("digest")
            .title("Sum up notes")
            .description("Sums up all notes, or those of one tag.")
            .optional("tag", "Only notes that have this tag");
        Ok(vec![review, digest])
    }

    fn get(name: &str, arguments: &Arguments) -> Result<Prompt, GetError> {
        let book = Book::open().map_err(GetError::Failed)?;
        let notes = match name {
            "review" => {
                let title = arguments.require("note")?;
                let note = book.read(title).map_err(GetError::Failed)?;
                vec![note.ok_or_else(|| GetError::Invalid(format!("there is no note `{title}`")))?]
            }
            "digest" => book.find("", arguments.get("tag")).map_err(GetError::Failed)?,
            _ => return Err(GetError::NotFound),
        };
        let request = match name {
            "review" => "What in this note is unclear, wrong or missing? Quote what you mean.",
            _ => "Sum up these notes: what was decided, and what is still open?",
        };
        let shown = notes.into_iter().fold(Prompt::new(), |prompt, note| {
            let uri = address::of(&note.title);
            prompt.message(Role::User, Block::document(uri, MIME_TYPE, note.text))
        });
        Ok(shown.user(request))
    }
}

impl Completion for Notes {
    fn complete(
        _subject: &Subject,
        name: &str,
        value: &str,
        _known: &Arguments,
    ) -> Result<Suggestions, String> {
        let book = Book::open()?;
        Ok(match name {
            "note" => Suggestions::beginning_with(value, book.titles()?),
            "tag" => Suggestions::beginning_with(value, book.tags()?),
            _ => Suggestions::default(),
        })
    }
}

impl Skills for Notes {
    fn list() -> Result<Vec<Skill>, String> {
        let template = include_str!("../skills/meeting-minutes/templates/minutes.md");
        let minutes = include_str!("../skills/meeting-minutes/SKILL.md");
        let template = File::text("templates/minutes.md", template).mime_type(MIME_TYPE);
        Ok(vec![Skill::new("meeting-minutes", minutes).file(template)])
    }
}

#[cfg(test)]
mod tests;
