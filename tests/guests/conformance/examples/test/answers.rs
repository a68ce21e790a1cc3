//! Tools that answer in every form that MCP has.

use aop_agent::content::Block;

use crate::exports::conformance::test::answers::Guest;
use crate::media::{PNG, wav};

impl Guest for crate::Test {
    fn simple_text() -> String {
        "This is a simple text response for testing.".to_owned()
    }

    fn image_content() -> Block {
        Block::image(PNG.to_vec(), "image/png")
    }

    fn audio_content() -> Block {
        Block::audio(wav(), "audio/wav")
    }

    fn embedded_resource() -> Block {
        let text = "This is an embedded resource content.";
        Block::document("test://embedded-resource", "text/plain", text)
    }

    fn multiple_content_types() -> Vec<Block> {
        let json = r#"{"test":"data","value":123}"#;
        vec![
            Block::text("Multiple content types test:"),
            Block::image(PNG.to_vec(), "image/png"),
            Block::document("test://mixed-content-resource", "application/json", json),
        ]
    }

    fn error_handling() -> Result<String, String> {
        Err("This tool intentionally returns an error for testing".to_owned())
    }
}
