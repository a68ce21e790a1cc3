//! The images of a task: `data:` URLs and files become images for the model, other URLs are mentioned.
//!
//! An agent that should fetch pictures by itself needs a tool for it: what may be fetched is its operator's
//! choice, and a model is quick to follow any URL.

use aop_agent::model::{Image, Message, Part, Role};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Images of one task.
const IMAGES_MAX: usize = 16;

/// What begins files of the kinds that models read.
const KINDS: [(&[u8], &str); 4] = [
    (b"\x89PNG", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"RIFF", "image/webp"),
];

/// The task with its images as one message.
pub(crate) fn attach(task: &str, images: &[String]) -> Result<Message, String> {
    if images.len() > IMAGES_MAX {
        return Err(format!("a task has {IMAGES_MAX} images at most"));
    }
    let mut text = task.to_owned();
    let mut parts = Vec::with_capacity(images.len() + 1);
    for address in images {
        if is_remote(address) {
            text.push_str(&format!("\n\nThere is an image at {address}"));
        } else if let Some(rest) = address.strip_prefix("data:") {
            parts.push(Part::Image(inline(rest)?));
        } else {
            parts.push(Part::Image(file(address)?));
        }
    }
    parts.insert(0, Part::Text(text));
    Ok(Message { role: Role::User, parts })
}

fn is_remote(address: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| address.starts_with(scheme))
}

/// `image/png;base64,…`, which is what follows `data:`.
fn inline(rest: &str) -> Result<Image, String> {
    let wrong = || "an image's data: URL must look like data:image/png;base64,…".to_owned();
    let (kind, data) = rest.split_once(',').ok_or_else(wrong)?;
    let mime_type = kind.strip_suffix(";base64").ok_or_else(wrong)?;
    if !mime_type.starts_with("image/") {
        return Err(wrong());
    }
    let data = STANDARD.decode(data.trim()).map_err(|_| wrong())?;
    Ok(Image { data, mime_type: mime_type.to_owned() })
}

/// A file in a directory that the policy grants.
fn file(path: &str) -> Result<Image, String> {
    let data = std::fs::read(path).map_err(|error| {
        format!("the image {path} cannot be read ({error}): the agent sees the directories of its policy only")
    })?;
    let kind = KINDS.iter().find(|(beginning, _)| data.starts_with(beginning));
    let (_, mime_type) = kind.ok_or_else(|| format!("{path} is no PNG, JPEG, GIF or WebP"))?;
    Ok(Image { data, mime_type: (*mime_type).to_owned() })
}

#[cfg(test)]
mod tests;
