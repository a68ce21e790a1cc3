//! The URIs of notes: `notes://note/<title>` and `notes://tagged/<tag>`, with whatever a URI cannot hold in
//! percent signs.

/// The family of notes that share a tag.
pub(crate) const TAGGED_TEMPLATE: &str = "notes://tagged/{tag}";

const NOTE: &str = "notes://note/";
const TAGGED: &str = "notes://tagged/";

/// The URI of a note.
pub(crate) fn of(title: &str) -> String {
    let mut uri = NOTE.to_owned();
    for byte in title.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri
}

/// The title in the URI of a note.
pub(crate) fn title(uri: &str) -> Option<String> {
    decode(uri.strip_prefix(NOTE)?)
}

/// The tag in the URI of a family.
pub(crate) fn tag(uri: &str) -> Option<String> {
    decode(uri.strip_prefix(TAGGED)?)
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first == b'%' {
            let digits = rest.get(..2).and_then(|digits| std::str::from_utf8(digits).ok())?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &rest[2..];
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_title_comes_back() {
        for text in ["Plans", "Größe & Preis?", "a/b#c", "100 %", "笔记"] {
            let uri = of(text);
            assert!(uri.is_ascii() && !uri[NOTE.len()..].contains(['/', '#', '?', ' ']), "{uri}");
            assert_eq!(title(&uri).unwrap(), text);
        }
        assert_eq!(tag("notes://tagged/work").unwrap(), "work");
    }

    #[test]
    fn what_is_no_address_has_no_title() {
        for uri in [
            "",
            "notes://note/",
            "notes://tagged/a",
            "notes://note/%",
            "notes://note/%zz",
            "notes://note/%ff",
        ] {
            assert_eq!(title(uri), None, "{uri}");
        }
    }
}
