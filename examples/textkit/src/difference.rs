//! Compares two texts line by line.

use similar::{Algorithm, ChangeTag, TextDiff};

/// How two texts differ.
pub(crate) struct Difference {
    pub(crate) unified: String,
    pub(crate) added_lines: usize,
    pub(crate) removed_lines: usize,
    pub(crate) similarity: f64,
}

/// Compares, showing `context_lines` unchanged lines around each change.
pub(crate) fn compare(before: &str, after: &str, context_lines: usize) -> Difference {
    let diff = TextDiff::configure().algorithm(Algorithm::Patience).diff_lines(before, after);
    let lines_with = |tag| diff.iter_all_changes().filter(|change| change.tag() == tag).count();
    Difference {
        added_lines: lines_with(ChangeTag::Insert),
        removed_lines: lines_with(ChangeTag::Delete),
        similarity: f64::from(diff.ratio()),
        unified: diff
            .unified_diff()
            .context_radius(context_lines)
            .header("before", "after")
            .to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_what_changed() {
        let difference = compare("a\nb\nc\nd\n", "a\nB\nc\nd\ne\n", 0);
        assert_eq!(
            difference.unified,
            "--- before\n+++ after\n@@ -2 +2 @@\n-b\n+B\n@@ -4,0 +5 @@\n+e\n"
        );
        assert_eq!((difference.added_lines, difference.removed_lines), (2, 1));
        assert!(difference.similarity > 0.6 && difference.similarity < 0.7);
    }

    #[test]
    fn equal_texts_have_no_difference() {
        let difference = compare("same\n", "same\n", 3);
        assert_eq!(difference.unified, "");
        assert_eq!(difference.similarity, 1.0);
    }

    #[test]
    fn an_enormous_context_is_harmless() {
        let difference = compare("a\nb\n", "a\nc\n", u32::MAX as usize);
        assert_eq!((difference.added_lines, difference.removed_lines), (1, 1));
    }
}
