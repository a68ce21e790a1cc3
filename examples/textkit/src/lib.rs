//! An agent that analyses and transforms plain text. Each module is one tool and knows nothing of
//! WIT; this file translates.

mod difference;
mod keywords;
mod readability;
mod redaction;
mod segments;
mod statistics;
mod summary;

wit_bindgen::generate!({ path: "wit/textkit.wit" });
aop_agent::embed_wit!("wit/textkit.wit");

use exports::examples::textkit::text as wit;

/// What `summarize` keeps when it is not told.
const SUMMARY_SENTENCES_DEFAULT: u32 = 3;
/// What `keywords` gives back when it is not told.
const KEYWORDS_DEFAULT: u32 = 10;
/// Unchanged lines around a change when `diff` is not told; the custom of `diff -u`.
const CONTEXT_LINES_DEFAULT: u32 = 3;

struct Textkit;

impl wit::Guest for Textkit {
    fn measure(text: String) -> wit::Statistics {
        let statistics = statistics::measure(&text);
        wit::Statistics {
            characters: count(statistics.characters),
            words: count(statistics.words),
            unique_words: count(statistics.unique_words),
            sentences: count(statistics.sentences),
            paragraphs: count(statistics.paragraphs),
            words_per_sentence: statistics.words_per_sentence(),
            reading_seconds: count(statistics.reading_seconds()),
        }
    }

    fn summarize(text: String, max_sentences: Option<u32>) -> Result<wit::Summary, String> {
        let wanted = max_sentences.unwrap_or(SUMMARY_SENTENCES_DEFAULT);
        if wanted == 0 {
            return Err("max_sentences must be at least 1".into());
        }
        let sentences = segments::sentences(&text);
        if sentences.is_empty() {
            return Err("the text has no sentence".into());
        }
        let chosen = summary::choose(&sentences, wanted as usize);
        Ok(wit::Summary {
            sentences: chosen.iter().map(|&index| sentences[index].to_owned()).collect(),
            of_sentences: count(sentences.len()),
        })
    }

    fn keywords(text: String, limit: Option<u32>) -> Vec<wit::Keyword> {
        let limit = limit.unwrap_or(KEYWORDS_DEFAULT) as usize;
        let found = keywords::extract(&text).into_iter().take(limit);
        found
            .map(|keyword| wit::Keyword {
                phrase: keyword.phrase,
                score: keyword.score,
                occurrences: count(keyword.occurrences),
            })
            .collect()
    }

    fn redact(text: String, kinds: Option<wit::PersonalDataKinds>) -> wit::Redaction {
        let wanted = kinds.unwrap_or(wit::PersonalDataKinds::all());
        let redaction = redaction::redact(&text, |kind| wanted.contains(flag(kind)));
        let findings = redaction.findings.iter().map(|finding| wit::Finding {
            kind: match finding.kind {
                redaction::Kind::Email => wit::PersonalData::Email,
                redaction::Kind::Card => wit::PersonalData::Card,
                redaction::Kind::Iban => wit::PersonalData::Iban,
                redaction::Kind::Phone => wit::PersonalData::Phone,
            },
            start: count(finding.characters.start),
            end: count(finding.characters.end),
        });
        wit::Redaction { findings: findings.collect(), text: redaction.text }
    }

    fn assess_readability(text: String) -> Result<wit::Readability, String> {
        let scores = readability::assess(&text).ok_or("the text has no words")?;
        Ok(wit::Readability {
            flesch_reading_ease: scores.flesch_reading_ease,
            flesch_kincaid_grade: scores.flesch_kincaid_grade,
            gunning_fog: scores.gunning_fog,
            level: level(scores.flesch_reading_ease),
        })
    }

    fn diff(before: String, after: String, context: Option<u32>) -> wit::Difference {
        let context_lines = context.unwrap_or(CONTEXT_LINES_DEFAULT) as usize;
        let difference = difference::compare(&before, &after, context_lines);
        wit::Difference {
            unified: difference.unified,
            added_lines: count(difference.added_lines),
            removed_lines: count(difference.removed_lines),
            similarity: difference.similarity,
        }
    }
}

/// A wasm32 guest cannot hold a text with more than 2^32 of anything.
fn count(items: usize) -> u32 {
    u32::try_from(items).unwrap_or(u32::MAX)
}

fn flag(kind: redaction::Kind) -> wit::PersonalDataKinds {
    match kind {
        redaction::Kind::Email => wit::PersonalDataKinds::EMAIL,
        redaction::Kind::Card => wit::PersonalDataKinds::CARD,
        redaction::Kind::Iban => wit::PersonalDataKinds::IBAN,
        redaction::Kind::Phone => wit::PersonalDataKinds::PHONE,
    }
}

/// The bands are Flesch's own; two neighbours are merged at each end.
fn level(flesch_reading_ease: f64) -> wit::ReadingLevel {
    match flesch_reading_ease {
        ease if ease >= 90.0 => wit::ReadingLevel::VeryEasy,
        ease if ease >= 70.0 => wit::ReadingLevel::Easy,
        ease if ease >= 60.0 => wit::ReadingLevel::Plain,
        ease if ease >= 50.0 => wit::ReadingLevel::FairlyDifficult,
        ease if ease >= 30.0 => wit::ReadingLevel::Difficult,
        _ => wit::ReadingLevel::VeryDifficult,
    }
}

export!(Textkit);
