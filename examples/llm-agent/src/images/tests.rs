use super::*;

#[test]
fn a_data_url_becomes_an_image() {
    let message = attach("What is this?", &["data:image/png;base64,iVBORw==".to_owned()]).unwrap();
    let [Part::Text(text), Part::Image(image)] = &message.parts[..] else { panic!("{message:?}") };
    assert_eq!(text, "What is this?");
    assert_eq!((image.mime_type.as_str(), image.data.as_slice()), ("image/png", &b"\x89PNG"[..]));
}

#[test]
fn a_remote_image_is_mentioned() {
    let message = attach("What is this?", &["https://example.com/a.png".to_owned()]).unwrap();
    let [Part::Text(text)] = &message.parts[..] else { panic!("{message:?}") };
    assert!(text.ends_with("https://example.com/a.png"));
}

#[test]
fn what_is_no_image_is_refused() {
    for wrong in ["data:image/png,x", "data:text/plain;base64,aGk=", "data:image/png;base64,?"] {
        assert!(attach("", &[wrong.to_owned()]).unwrap_err().contains("data:"), "{wrong}");
    }
    assert!(attach("", &["/no/such/file.png".to_owned()]).unwrap_err().contains("policy"));
    assert!(attach("", &vec!["https://a.b/c".to_owned(); 17]).unwrap_err().contains("16"));
}
