//! Replaces personal data by placeholders. Patterns propose, check digits decide: a number that merely
//! looks like a card or an account stays.

use std::ops::Range;

use regex_lite::Regex;

/// A kind of personal data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Email,
    Card,
    Iban,
    Phone,
}

impl Kind {
    /// Where two kinds overlap, the first of this list wins: the strictest check comes first.
    const ALL: [Self; 4] = [Self::Email, Self::Iban, Self::Card, Self::Phone];

    fn placeholder(self) -> &'static str {
        match self {
            Self::Email => "[email]",
            Self::Card => "[card]",
            Self::Iban => "[iban]",
            Self::Phone => "[phone]",
        }
    }

    fn pattern(self) -> &'static str {
        match self {
            Self::Email => {
                r"[A-Za-z0-9._%+'-]+@(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z]{2,}"
            }
            Self::Iban => r"[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]){11,30}",
            Self::Card => r"[0-9](?:[ -]?[0-9]){12,18}",
            // International, then North American, then national with a trunk zero.
            Self::Phone => {
                r"(?:\+|00)[1-9](?:[ ./-]?\(?[0-9]\)?){6,13}|(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[ .-])[0-9]{3}[ .-][0-9]{4}|\(?0[1-9][0-9]{0,4}(?:\)[ ]?|[ /-])[0-9](?:[ -]?[0-9]){4,9}"
            }
        }
    }

    /// How many bytes of the match are such data; nothing when the check fails.
    fn check(self, matched: &str) -> Option<usize> {
        match self {
            Self::Email | Self::Phone => Some(matched.len()),
            Self::Card => luhn(matched).then_some(matched.len()),
            Self::Iban => iban_bytes(matched),
        }
    }
}

/// One place that was replaced.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) kind: Kind,
    /// In characters of the original text.
    pub(crate) characters: Range<usize>,
}

/// A text without its personal data.
pub(crate) struct Redaction {
    pub(crate) text: String,
    pub(crate) findings: Vec<Finding>,
}

/// Replaces the kinds of personal data that are `wanted`.
pub(crate) fn redact(text: &str, wanted: impl Fn(Kind) -> bool) -> Redaction {
    let mut places: Vec<(Range<usize>, Kind)> = Vec::new();
    for kind in Kind::ALL.into_iter().filter(|&kind| wanted(kind)) {
        let taken = places.len();
        for place in find(text, kind) {
            let free = places[..taken]
                .iter()
                .all(|(other, _)| place.end <= other.start || other.end <= place.start);
            if free {
                places.push((place, kind));
            }
        }
    }
    places.sort_by_key(|(place, _)| place.start);
    replace(text, &places)
}

fn replace(text: &str, places: &[(Range<usize>, Kind)]) -> Redaction {
    let mut redacted = String::with_capacity(text.len());
    let mut findings = Vec::with_capacity(places.len());
    let mut bytes = 0;
    let mut characters = 0;
    for (place, kind) in places {
        let before = &text[bytes..place.start];
        characters += before.chars().count();
        let end = characters + text[place.clone()].chars().count();
        redacted.push_str(before);
        redacted.push_str(kind.placeholder());
        findings.push(Finding { kind: *kind, characters: characters..end });
        (bytes, characters) = (place.end, end);
    }
    redacted.push_str(&text[bytes..]);
    Redaction { text: redacted, findings }
}

/// The places of one kind, in order, none inside a longer word or number.
fn find(text: &str, kind: Kind) -> Vec<Range<usize>> {
    let Ok(pattern) = Regex::new(kind.pattern()) else {
        return Vec::new();
    };
    let mut places = Vec::new();
    let mut from = 0;
    while let Some(matched) = pattern.find_at(text, from) {
        let length = kind.check(matched.as_str());
        let place = matched.start()..matched.start() + length.unwrap_or_default();
        if length.is_some() && stands_alone(text, &place, kind) {
            from = place.end;
            places.push(place);
        } else {
            from = after_word(text, matched.start());
        }
    }
    places
}

/// Where the word or number that starts at `start` ends: a match that failed there fails again at each
/// of its later characters.
fn after_word(text: &str, start: usize) -> usize {
    let rest = &text[start..];
    let is_inside = |character: char| character.is_alphanumeric();
    let first = rest.chars().next().map_or(1, char::len_utf8);
    let word = rest.find(|character| !is_inside(character)).unwrap_or(rest.len());
    start + word.max(first)
}

/// Whether a place is no part of something longer. A telephone number has no check digits, so it may not
/// continue a spaced number either.
fn stands_alone(text: &str, place: &Range<usize>, kind: Kind) -> bool {
    let mut before = text[..place.start].chars().rev();
    let after = text[place.end..].chars().next();
    let previous = before.next();
    let continues_number = kind == Kind::Phone
        && previous.is_some_and(|separator| " -./".contains(separator))
        && before.next().is_some_and(|character| character.is_ascii_digit());
    !continues_number
        && !previous.is_some_and(char::is_alphanumeric)
        && !after.is_some_and(char::is_alphanumeric)
}

/// The check of payment card numbers (ISO/IEC 7812).
fn luhn(number: &str) -> bool {
    let digits =
        number.bytes().rev().filter(u8::is_ascii_digit).map(|digit| u32::from(digit - b'0'));
    let sum: u32 = digits
        .enumerate()
        .map(|(position, digit)| match (position % 2, digit) {
            (0, digit) => digit,
            (_, digit) if digit > 4 => digit * 2 - 9,
            (_, digit) => digit * 2,
        })
        .sum();
    sum > 0 && sum.is_multiple_of(10)
}

/// The shortest account number in the IBAN registry (Norway).
const IBAN_CHARACTERS_MIN: usize = 15;

/// The longest beginning of a candidate that is an IBAN. The pattern may run on into the next
/// capitalised word, so every end at a space is tried.
fn iban_bytes(candidate: &str) -> Option<usize> {
    let ends = candidate.match_indices(' ').map(|(index, _)| index).chain([candidate.len()]);
    let mut ends: Vec<usize> = ends.collect();
    ends.reverse();
    ends.into_iter().find(|&end| is_iban(&candidate[..end]))
}

/// ISO 13616: the first four characters move to the end, letters become 10 to 35, and the remainder by 97
/// is 1.
fn is_iban(account: &str) -> bool {
    let characters: Vec<char> = account.chars().filter(|character| *character != ' ').collect();
    if characters.len() < IBAN_CHARACTERS_MIN {
        return false;
    }
    let (head, body) = characters.split_at(4);
    let remainder = body
        .iter()
        .chain(head)
        .filter_map(|character| character.to_digit(36))
        .fold(0, |sum, value| (sum * if value < 10 { 10 } else { 100 } + value) % 97);
    remainder == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(text: &str) -> String {
        redact(text, |_| true).text
    }

    #[test]
    fn every_kind_is_found() {
        let cases = [
            ("mail ada.lovelace+x@maths.example.org, now", "mail [email], now"),
            ("card 4111 1111 1111 1111.", "card [card]."),
            ("card 5500-0000-0000-0004", "card [card]"),
            ("to DE89 3704 0044 0532 0130 00 BY noon", "to [iban] BY noon"),
            ("to GB29NWBK60161331926819", "to [iban]"),
            ("call +44 20 7946 0958 or (212) 555-0123", "call [phone] or [phone]"),
            ("call 030 1234567 or 0049 (0)30 1234567", "call [phone] or [phone]"),
        ];
        for (text, expected) in cases {
            assert_eq!(redacted(text), expected, "{text}");
        }
    }

    #[test]
    fn what_only_looks_similar_stays() {
        for text in [
            "4111 1111 1111 1112",
            "DE88 3704 0044 0532 0130 00",
            "on 2026-11-20 at 12:30",
            "0000 0000 0000 0000",
            "version 1.2.3, 1,000,000 items",
            "a@b and @home",
            "order 123456789012345678901234567890",
        ] {
            assert_eq!(redacted(text), text);
        }
    }

    #[test]
    fn positions_count_characters_not_bytes() {
        let redaction = redact("é ada@example.org ü bob@example.org", |_| true);
        let places: Vec<_> =
            redaction.findings.iter().map(|finding| finding.characters.clone()).collect();
        assert_eq!(places, [2..17, 20..35]);
        assert_eq!(redaction.text, "é [email] ü [email]");
    }

    #[test]
    fn only_what_is_wanted_is_replaced() {
        let text = "ada@example.org +44 20 7946 0958";
        assert_eq!(redact(text, |kind| kind == Kind::Phone).text, "ada@example.org [phone]");
        assert_eq!(redact(text, |_| false).text, text);
    }

    #[test]
    fn all_patterns_compile() {
        for kind in Kind::ALL {
            Regex::new(kind.pattern()).unwrap();
        }
    }
}
