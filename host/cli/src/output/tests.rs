use super::*;

#[test]
fn json_is_indented_and_nothing_in_it_changes() {
    insta::assert_snapshot!(
        pretty(r#"{"b":[1.0,{"k":"a{b,\"c\"}:\\"},[]],"a":{},"n":12345678901234567890123}"#),
        @r#"
    {
      "b": [
        1.0,
        {
          "k": "a{b,\"c\"}:\\"
        },
        []
      ],
      "a": {},
      "n": 12345678901234567890123
    }
    "#
    );
    assert_eq!(pretty(" [ 1 ,\n 2 ] "), "[\n  1,\n  2\n]");
    assert_eq!(pretty("[ ]"), "[]");
}

#[test]
fn control_characters_do_not_reach_a_terminal() {
    assert_eq!(printable("a\x1b[2Jb\u{9b}c\r\nd\te"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}\nd\te");
    assert!(matches!(printable("plain é"), Cow::Borrowed(_)));
    let turned = "a\u{202e}b\u{2066}c\u{2069}d\u{200f}e\u{61c}f\u{2028}g\u{2029}h";
    assert_eq!(printable(turned), ["a", "b", "c", "d", "e", "f", "g", "h"].join("\u{fffd}"));
}

#[test]
fn a_size_is_rounded_to_a_tenth() {
    let cases = [
        (0, "0B"),
        (1023, "1023B"),
        (1024, "1KiB"),
        (1_075, "1KiB"),
        (1_076, "1.1KiB"),
        (49_000, "47.9KiB"),
        (1_048_524, "1023.9KiB"),
        (1_048_525, "1MiB"),
        (1_637_705, "1.6MiB"),
        (17 << 20, "17MiB"),
        (u64::MAX, "16777216TiB"),
    ];
    for (bytes, shown) in cases {
        assert_eq!(rounded(bytes), shown, "{bytes}");
    }
}

#[test]
fn a_summary_is_one_short_sentence() {
    assert_eq!(summary("Counts words. Then more.\nSecond line"), "Counts words.");
    assert_eq!(summary(" One line\n  and another.\n\nMore"), "One line and another.");
    assert_eq!(summary(&"é".repeat(200)).chars().count(), 100);
    assert_eq!(summary(""), "");
}

#[test]
fn a_table_is_columns_without_borders() {
    let rows = [["textkit".to_owned(), "1".to_owned()], ["x\x07".to_owned(), "100".to_owned()]];
    insta::assert_snapshot!(table(["AGENT", "TOOLS"], rows), @r"
    AGENT    TOOLS
    textkit  1
    x�       100
    ");
}

#[test]
fn an_envelope_decides_the_exit_code() {
    assert!(envelope(r#"{"success":true,"result":null}"#, true).is_ok());
    assert!(matches!(
        envelope(r#"{"success":false,"error":"no","code":"guest_error"}"#, true),
        Err(CommandError::Reported)
    ));
    assert!(matches!(envelope(r#"{"result":1}"#, true), Err(CommandError::Failure(_))));
}

#[test]
fn words_are_quoted_for_a_shell_where_they_have_to_be() {
    for (word, quoted) in [
        ("agents/größe-1.0", "agents/größe-1.0"),
        ("--out=a:b", "--out=a:b"),
        ("", "''"),
        ("my agents/one", "'my agents/one'"),
        ("$HOME", "'$HOME'"),
        ("it's", r"'it'\''s'"),
    ] {
        assert_eq!(shell_word(word), quoted);
    }
}
