use aop_agent::testing::Script;
use exports::examples::notes::notebook::Guest;
use serde_json::json;

use super::*;

fn write(title: &str, text: &str) -> String {
    <Notes as Guest>::write(title.to_owned(), text.to_owned(), Some(vec!["home".to_owned()]))
        .unwrap()
}

fn remove(confirmed: Option<bool>) -> bool {
    <Notes as Guest>::remove("Plans".to_owned(), confirmed).unwrap()
}

#[test]
fn a_note_goes_only_when_the_person_says_so() {
    let host = Script::new()
        .answers(Answer::Declined)
        .answers(Answer::Accepted(json!({ "remove": false })))
        .answers(Answer::Accepted(json!({ "remove": true })));
    let ((), seen) = host.run(|| {
        write("Plans", "Paint");
        // What a caller confirms does not count while a person can be asked.
        assert_eq!([remove(Some(true)), remove(None), remove(None)], [false, false, true]);
        assert!(<Notes as Guest>::remove("Plans".to_owned(), None).is_err());
        write("Plans", "Paint again");
        assert_eq!([remove(None), remove(Some(true))], [false, true]);
    });
    assert!(seen.questions[0].contains("Plans"));
}

#[test]
fn notes_are_resources() {
    Script::new().run(|| {
        let uri = write("Größe", "Two metres");
        let listed = <Notes as Resources>::list().unwrap();
        assert_eq!((listed[0].uri.as_str(), listed[0].name.as_str()), (uri.as_str(), "Größe"));
        let read = <Notes as Resources>::read(&uri).unwrap();
        assert_eq!(read[0].body, Body::text("# Größe\n\nTwo metres"));
        assert_eq!(<Notes as Resources>::read("notes://tagged/home").unwrap(), read);
        for absent in ["notes://note/none", "notes://other", "files://x"] {
            assert_eq!(<Notes as Resources>::read(absent), Err(ReadError::NotFound));
        }
    });
}

#[test]
fn notes_become_prompts() {
    Script::new().run(|| {
        write("Plans", "Paint");
        write("Places", "Rome");
        let arguments =
            |name: &str, value: &str| Arguments::from(vec![(name.to_owned(), value.to_owned())]);
        let review = <Notes as Prompts>::get("review", &arguments("note", "Plans")).unwrap();
        assert_eq!(review.messages.len(), 2);
        assert_eq!(
            <Notes as Prompts>::get("digest", &Arguments::default()).unwrap().messages.len(),
            3
        );
        for wrong in [Arguments::default(), arguments("note", "None")] {
            assert!(matches!(<Notes as Prompts>::get("review", &wrong), Err(GetError::Invalid(_))));
        }
        assert_eq!(
            <Notes as Prompts>::get("other", &Arguments::default()),
            Err(GetError::NotFound)
        );

        let subject = Subject::Prompt("review".to_owned());
        let found = |name, value| {
            Notes::complete(&subject, name, value, &Arguments::default()).unwrap().values
        };
        assert_eq!(found("note", "Pla"), ["Places", "Plans"]);
        assert_eq!(found("tag", ""), ["home"]);
        assert_eq!(found("other", ""), Vec::<String>::new());
    });
}

#[test]
fn minutes_are_a_skill() {
    let minutes = <Notes as Skills>::get("meeting-minutes").unwrap();
    let Body::Text(instructions) = &minutes.files[0].body else { panic!("it is a text") };
    assert!(instructions.starts_with("---\nname: meeting-minutes\n"));
    for file in &minutes.files[1..] {
        assert!(instructions.contains(&file.path), "nobody would read `{}`", file.path);
    }
}
