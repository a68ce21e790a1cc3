use super::{Line, Lines};

async fn all(input: &[u8], length_max: usize) -> Vec<Line> {
    let mut lines = Lines::new(input, length_max);
    let mut seen = Vec::new();
    loop {
        let line = lines.next().await.unwrap();
        let end = line == Line::End;
        seen.push(line);
        if end {
            return seen;
        }
    }
}

fn message(text: &'static str) -> Line {
    Line::Message(text.as_bytes().into())
}

#[tokio::test]
async fn lines_come_without_their_ends_and_blanks() {
    let input = "\u{feff}{}\r\n\n  \n {\"a\":1} \nrest";
    assert_eq!(all(input.as_bytes(), 100).await, [message("{}"), message("{\"a\":1}"), Line::End]);
}

#[tokio::test]
async fn a_line_may_have_exactly_its_length() {
    assert_eq!(
        all(b"12345\n123456\n12\n", 5).await,
        [message("12345"), Line::TooLong, message("12"), Line::End]
    );
}

#[tokio::test]
async fn a_line_longer_than_any_buffer_is_dropped_whole() {
    let mut input = vec![b'x'; 1 << 20];
    input.extend_from_slice(b"\nok\n");
    assert_eq!(all(&input, 1000).await, [Line::TooLong, message("ok"), Line::End]);
}

#[tokio::test]
async fn a_reader_never_holds_much_more_than_a_line() {
    let input = vec![b'x'; 1 << 20];
    let mut lines = Lines::new(&*input, 1000);
    assert_eq!(lines.next().await.unwrap(), Line::TooLong);
    assert_eq!(lines.next().await.unwrap(), Line::End);
    assert!(lines.buffer.capacity() <= 4 * super::READ_BYTES);
}
