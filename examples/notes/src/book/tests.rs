use aop_agent::testing::Script;

use super::*;

fn note(title: &str, text: &str, tags: &[&str]) -> Note {
    let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
    Note { title: title.to_owned(), text: text.to_owned(), tags }
}

#[test]
fn notes_are_found_by_words_and_tags() {
    let ((), seen) = Script::new().run(|| {
        let book = Book::open().unwrap();
        book.write(&note("Plans", "Paint the shed", &["home"])).unwrap();
        book.write(&note("Budget", "Paint costs 40", &["home", "money"])).unwrap();
        book.write(&note("Plans", "Paint the fence", &["home"])).unwrap();
        let titles = |words, tag| {
            let found = book.find(words, tag).unwrap();
            found.into_iter().map(|note| note.title).collect::<Vec<_>>()
        };
        assert_eq!(titles("", None), ["Budget", "Plans"]);
        assert_eq!(titles("FENCE paint", None), ["Plans"]);
        assert_eq!(titles("paint", Some("money")), ["Budget"]);
        assert_eq!(titles("shed", None), Vec::<String>::new());
        assert_eq!(book.tags().unwrap(), ["home", "money"]);
        book.remove("Plans").unwrap();
        assert_eq!(book.titles().unwrap(), ["Budget"]);
    });
    assert_eq!(seen.updated.len(), 3);
}

#[test]
fn notes_are_bounded() {
    Script::new().run(|| {
        let book = Book::open().unwrap();
        let refused = |note: &Note| book.write(note).unwrap_err();
        assert!(refused(&note(" ", "", &[])).contains("title"));
        assert!(refused(&note(&"t".repeat(121), "", &[])).contains("120"));
        assert!(refused(&note("t", &"x".repeat((64 << 10) + 1), &[])).contains("64 KiB"));
        assert!(refused(&note("t", "", &["Two words"])).contains("lower case"));
        assert!(refused(&note("t", "", &["a"; 17])).contains("16"));
        for number in 0..NOTES_MAX {
            book.0.set(&number.to_string(), &note("t", "", &[])).unwrap();
        }
        assert!(refused(&note("one more", "", &[])).contains("full"));
        // Writing one anew needs no room.
        book.write(&note("7", "again", &[])).unwrap();
        assert_eq!(book.find("", None).unwrap().len(), FOUND_MAX);
    });
}
